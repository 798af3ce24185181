"""How long a job's ceilings let its machine live and its command run: the one place that reckons it.

A machine expires when its name says, or earlier: its price may rise, and what else was rented for its job is
paid by the same ceiling. It never expires later.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from jobs import meter, money
from jobs.ids import parse_instance_name
from jobs.models import Attempt, Instance, Job
from jobs.money import Micros
from jobs.store import costs

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def expiry(session: Session, now: datetime, job: Job, row: Instance) -> tuple[datetime, str]:
    """When a job's present machine must be gone, and which of its ceilings that is."""
    return _within(costs.left(session, now, job, but=row.id), row)


def _within(left: Micros, row: Instance) -> tuple[datetime, str]:
    """:func:`expiry` where its job may still spend so much, in micro-dollars, this machine included."""
    paid = meter.paid_until(row, left)
    named = parse_instance_name(row.name)
    as_named = named is None or row.expires_at + SECOND > datetime.fromtimestamp(named.expires_at, UTC)
    if as_named and (paid is None or paid > row.expires_at + MINUTE):
        return row.expires_at, "max_runtime"
    return min(row.expires_at, paid or row.expires_at), "max_cost"


def request(session: Session, now: datetime, job: Job, attempt: Attempt, row: Instance) -> bool:
    """Have a machine that is requested now expire as its job's ceilings want it by now.

    Returns whether that is worth it: what is left pays for it, and would leave time for a command.
    """
    left = costs.left(session, now, job, but=row.id)
    row.expires_at, _ = _within(left, row)
    outputs, price = bool(job.outputs), row.price or 0
    small = money.too_little(left, price, row.minimum_minutes, grace_seconds=job.grace, outputs=outputs)
    return not small and _stop(row.expires_at, job, attempt) > now


def start(session: Session, now: datetime, job: Job, attempt: Attempt, row: Instance) -> tuple[datetime, str]:
    """When a command that is started now is to be stopped, and which of its job's ceilings that is.

    Its machine expires from here on as the ceilings want it by now.
    """
    # Up to the next whole second: the machine counts in them, and a command must not lose a part of its time.
    by_time = (now + timedelta(seconds=job.max_runtime, microseconds=999_999)).replace(microsecond=0)
    row.expires_at, cause = expiry(session, now, job, row)
    last = _stop(row.expires_at, job, attempt)
    return (by_time, "max_runtime") if by_time <= last else (last, cause)


def shorten(session: Session, now: datetime, job: Job, attempt: Attempt, row: Instance) -> None:
    """Have a machine end as early as the ceiling of its job wants by now, and its command before it."""
    row.expires_at = expiry(session, now, job, row)[0]
    if attempt.outputs_until is not None:
        last = row.expires_at - timedelta(seconds=money.TERMINATE_SECONDS)
        attempt.outputs_until = min(attempt.outputs_until, last)
    deadline = _stop(row.expires_at, job, attempt)
    if attempt.deadline_at is not None and deadline < attempt.deadline_at:
        attempt.deadline_at, attempt.deadline_cause = deadline, "max_cost"


def _stop(expires_at: datetime, job: Job, attempt: Attempt) -> datetime:
    """When a command is stopped, so that all that follows is over when its machine expires."""
    return expires_at - timedelta(seconds=money.ending_seconds(job.grace) + attempt.outputs_seconds)
