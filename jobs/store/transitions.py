"""The one place where a state changes.

:func:`move` asks the table (``jobs.states``), writes the attempt and the job under a guard, and leaves
an event row, and where the state is final a notification, all in the caller's transaction. A guard that no
longer holds changes nothing and raises :class:`Stale`: somebody else has the job now, and the caller stops.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from jobs import ids
from jobs.models import Attempt, Job, JobEvent, Leader, Notification
from jobs.states import ENDED, LIVE, REASONS, Event, IllegalMove, State, Who, next_state
from jobs.store import costs
from jobs.store.database import concern


class Stale(Exception):
    """Zero rows changed: the state, the lease or the lead is no longer what the caller believed."""


@dataclass(frozen=True)
class JobLease:
    """The right of a worker at admission to move one queued job."""

    owner: str
    fence: int
    who = Who.ADMISSION


@dataclass(frozen=True)
class AttemptLease:
    """The right of the holder of an attempt's lease to move it. ``job_id``: of its job, where it is known."""

    owner: str
    fence: int
    job_id: str | None = field(default=None, compare=False)
    who = Who.HOLDER


@dataclass(frozen=True)
class Lead:
    """The right of the observer that leads."""

    owner: str
    fence: int
    who = Who.OBSERVER


@dataclass(frozen=True)
class Person:
    """A person may cancel what is still queued."""

    who = Who.PERSON


RELEASED: Mapping[str, Any] = {"lease_owner": None, "lease_until": None}
"""What a move writes into an attempt that somebody else goes on with."""

Guard = JobLease | AttemptLease | Lead | Person


@dataclass(frozen=True)
class Change:
    """What a move writes besides the states: columns of the job and of its attempt."""

    reason: str | None = None
    detail: str | None = None
    job: Mapping[str, Any] | None = None
    attempt: Mapping[str, Any] | None = None


def move(
    session: Session,
    now: datetime,
    event: Event,
    *,
    job_id: str,
    state: State,
    attempt_id: str | None,
    guard: Guard,
    change: Change = Change(),
) -> State:
    """Move one job, and its attempt with it, from *state* by *event*; return the new state.

    ``attempt_id`` is the attempt that the move concerns: the current one, or at admission the new one.
    Raises Stale where the guard does not hold and IllegalMove where the table has no such line.
    """
    new = next_state(state, event, guard.who)
    if new.final and change.reason not in REASONS[new]:
        raise IllegalMove(f"{change.reason!r} is no reason for a job to be {new}")
    if isinstance(guard, Lead):
        confirm_lead(session, guard)
    if attempt_id is not None and state in LIVE:
        _move_attempt(session, now, state, new, attempt_id, guard, change)
    _move_job(session, now, state, new, job_id, attempt_id, guard, change)
    if new.final:
        costs.settle(session, now, job_id)
    session.execute(
        insert(JobEvent).values(
            job_id=job_id,
            attempt_id=attempt_id,
            at=now,
            event=event.value,
            from_state=state.value,
            to_state=new.value,
            reason=change.reason,
            detail=change.detail,
            who=guard.who.value,
            budget_charged=select(Job.budget_charged).where(Job.id == job_id).scalar_subquery(),
        )
    )
    if new.final:
        # Whether somebody wants to hear of it, only a service knows: what people do is noted all the same.
        notification = {"id": ids.new_notification_id(), "event": "final", "job_id": job_id, "tries": 0}
        session.execute(insert(Notification).values(created_at=now, next_at=now, **notification))
    concern(session, job_id)
    return new


def confirm_lead(session: Session, lead: Lead) -> None:
    """Raise Stale unless *lead* still leads; on PostgreSQL this also locks the row until the commit."""
    touched = session.execute(
        update(Leader)
        .where(Leader.id == 1, Leader.owner == lead.owner, Leader.fence == lead.fence)
        .values(id=1)
    )
    _exactly_one(touched)


def _move_attempt(
    session: Session, now: datetime, state: State, new: State, attempt_id: str, guard: Guard, change: Change
) -> None:
    values: dict[str, Any] = dict(change.attempt or {})
    if new in LIVE:
        values["state"] = new.value
    else:
        values |= {"state": ENDED, "lease_owner": None, "lease_until": None}
        if "ended_at" not in values and state is not State.FINISHING:
            values["ended_at"] = now
    if new is State.FINISHING:
        values |= {"outcome": change.reason, "detail": change.detail}
        values.setdefault("ended_at", now)
    elif new is State.QUEUED and state is not State.FINISHING:
        values |= {"outcome": change.reason or "deploy_failed", "detail": change.detail, "number": None}
    statement = update(Attempt).where(Attempt.id == attempt_id, Attempt.state == state.value)
    if isinstance(guard, AttemptLease):
        statement = statement.where(Attempt.lease_owner == guard.owner, Attempt.fence == guard.fence)
    _exactly_one(session.execute(statement.values(**values)))


def _move_job(
    session: Session,
    now: datetime,
    state: State,
    new: State,
    job_id: str,
    attempt_id: str | None,
    guard: Guard,
    change: Change,
) -> None:
    values: dict[str, Any] = {"state": new.value, "reason": change.reason, "detail": change.detail}
    if new.final:
        values |= {"finished_at": now, "attempt_id": None, "lease_owner": None, "lease_until": None}
        values["secrets"] = None  # nobody needs them any more
    elif new is State.QUEUED:
        values |= {"attempt_id": None, "lease_owner": None, "lease_until": None}
    elif state is State.QUEUED:
        values |= {"attempt_id": attempt_id, "lease_owner": None, "lease_until": None}
    elif new is State.BOOTING:
        values["waits"] = 0
    values |= change.job or {}
    statement = update(Job).where(Job.id == job_id, Job.state == state.value)
    if state in LIVE:
        statement = statement.where(Job.attempt_id == attempt_id)
    if isinstance(guard, JobLease):
        statement = statement.where(Job.lease_owner == guard.owner, Job.fence == guard.fence)
    _exactly_one(session.execute(statement.values(**values)))


def _exactly_one(result: Any) -> None:
    if result.rowcount != 1:
        raise Stale
