"""What time itself brings about: limits that have passed, jobs that can be settled, work that waits.

All of it is read from the database and written under the leader's fence; none of it needs the cloud.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from jobs import money
from jobs.backoff import doubling
from jobs.errors import DatabaseError
from jobs.forecast import FREE_RETRIES
from jobs.models import Attempt, Instance, Job
from jobs.states import UNREACHABLE_MINUTES, Event, State, final_event
from jobs.store import (
    admission,
    attempts,
    budgets,
    catalog,
    costs,
    deadlines,
    doom,
    files,
    leases,
    limits,
    outbox,
)
from jobs.store.admission import Limits
from jobs.store.database import Database
from jobs.store.transitions import Change, Lead, Stale, move
from jobs.subject import about

log = logging.getLogger(__name__)

SEAL = timedelta(seconds=money.SEAL_SECONDS)
HOLDER_FIRST = timedelta(seconds=5)
"""How much longer the leader waits where somebody attends: the attendant may still learn the exit code."""
ENDING = timedelta(seconds=money.ending_seconds(money.GRACE_SECONDS))
LONGEST_ENDING = timedelta(seconds=money.ending_seconds(money.LONGEST_GRACE_SECONDS))
SUCCESSION = leases.LEASE + timedelta(seconds=25)
"""How long it may take until somebody else attends to what the one who died has left, and knows its end."""
UNREACHABLE = timedelta(minutes=UNREACHABLE_MINUTES)
FRONT = 8
"""How many of a product's waiting jobs are tried again at once."""
BAD_BOOTS = 2
"""After so many boots that failed a product is passed over where the job takes another one."""
DEAR = "waiting_for_price"
"""The reason of a job whose products all cost more than it pays."""
SLOT = "waiting_for_slot"
"""The reason of a job for which there is no room."""
SETTLED = ("gone", "refused", "absent")


@dataclass(frozen=True)
class Wanted:
    """What waits for somebody to do it, and how soon the observer should look again."""

    admit: list[str]
    attend: list[str]
    terminate: bool
    live: int
    hurried: bool
    notify: bool
    leaks: bool


def after_stop(grace: int) -> timedelta:
    """How long after its deadline or its stop a command may take to end before its machine is taken away."""
    return timedelta(seconds=grace) + SEAL


def enforce(db: Database, lead: Lead, awake_since: datetime | None = None) -> int:
    """End every attempt whose time is over or whose cancel nobody else serves. Returns how many.

    *awake_since*: since when somebody has been there to serve. What passed before it is not held against a
    machine on which a command was started: its end may lie there, and is to be fetched first.
    """
    ended = 0
    for attempt_id in _overdue(db, awake_since):
        with _one(db, attempt_id) as session:
            ended += _end_one(session, db.now(session), lead, attempt_id, awake_since)
    for attempt_id in files.late(db):
        with _one(db, attempt_id) as session:
            ended += files.give_up_late(session, db.now(session), lead, attempt_id)
    return ended


def settle(db: Database, lead: Lead) -> int:
    """Give every finishing job whose machine is gone its final state, or its next try. Returns how many."""
    with db.read() as session:
        ids = list(
            session.execute(
                select(Attempt.id)
                .join(Instance, Instance.attempt_id == Attempt.id)
                .where(Attempt.state == State.FINISHING, Instance.state.in_(SETTLED))
            ).scalars()
        )
    settled = 0
    prices = catalog.prices(db) if ids else {}
    for attempt_id in ids:
        with _one(db, attempt_id) as session:
            _settle_one(session, db.now(session), lead, attempt_id, prices)
            settled += 1
    return settled


def wanted(db: Database, bounds: Limits, limit: int = 200) -> Wanted:
    """The doorbells to ring now."""
    prices = catalog.prices(db)
    with db.read() as session:
        now = db.now(session)
        admit = _to_admit(session, now, bounds, limit, prices)
        attend = _to_attend(db, session, now, limit)
        rows = session.execute(
            select(Attempt.state, func.count()).where(Attempt.state != "ended").group_by(Attempt.state)
        )
        states: dict[str, int] = {row[0]: row[1] for row in rows}
        restless = session.execute(
            select(func.count())
            .select_from(Instance)
            .where(Instance.state.in_(("intended", "unknown", "doomed")))
        ).scalar_one()
        held = session.execute(
            select(func.count())
            .select_from(Instance)
            .where(Instance.state.in_(("live", "warm", "doomed", "unknown")))
        ).scalar_one()
        return Wanted(
            admit=admit,
            attend=attend,
            terminate=doom.any_due(session, now),
            live=held,
            hurried=bool(restless or set(states) - {State.RUNNING.value}),
            notify=outbox.any_due(session, now),
            leaks=outbox.any_leak(session, now),
        )


def to_attend(db: Database, limit: int) -> list[str]:
    """The first attempts that wait for an attendant, and nobody has."""
    with db.read() as session:
        return _to_attend(db, session, db.now(session), limit)


def _to_attend(db: Database, session: Session, now: datetime, limit: int) -> list[str]:
    rows = session.execute(
        select(Attempt.id)
        .join(Instance, Instance.attempt_id == Attempt.id)
        .where(
            leases.free(db, Attempt, now),
            or_(
                Attempt.state == State.RUNNING,
                (Attempt.state == State.BOOTING) & Instance.ready & (Instance.state == "live"),
                (Attempt.state == State.FINISHING)
                & (Attempt.outputs_until > now)
                & (Instance.state == "live"),
            ),
        )
        .order_by(Attempt.state == State.BOOTING, Attempt.created_at)
        .limit(limit)
    )
    return list(rows.scalars())


def _to_admit(
    session: Session, now: datetime, bounds: Limits, limit: int, prices: Mapping[str, int]
) -> list[str]:
    """The queued jobs to ring for, the first ones first: as many as there is room for.

    A job that cannot be rented for is rung for once, to be told why it waits. After that only the front of
    its product's queue is tried again, and only where there is room and stock: a thousand more cost nothing.
    """
    waits = Job.cancel_requested_at.is_(None)
    told = Job.reason.in_((SLOT, "no_capacity")) & waits
    known = Job.reason.in_((SLOT, "no_capacity", DEAR, budgets.WAITING)) & waits
    queued = and_(
        Job.state == State.QUEUED,
        or_(Job.not_before <= now, Job.cancel_requested_at.is_not(None)),
        leases.free_job(now),
    )
    room = admission.room(session, now, bounds)
    fresh = select(Job.seq, Job.id).where(queued, or_(Job.reason.is_(None), ~known)).order_by(Job.seq)
    found = [(row[0], row[1]) for row in session.execute(fresh.limit(min(limit, room or limit)))]
    if room:
        product = Job.products[0].as_string()
        place = func.row_number().over(partition_by=product, order_by=Job.seq)
        waiting = select(Job.seq, Job.id, place.label("place")).where(queued, told)
        left = admission.burn_left(session, bounds)
        dear = [name for name, price in prices.items() if left is not None and price > left]
        if hopeless := [*limits.out_of_stock(session, now), *dear]:
            # One that takes several products, or any, or has a coupon, may have hope all the same.
            several = func.json_array_length(Job.products) != 1
            waiting = waiting.where(or_(several, Job.coupon.is_not(None), product.not_in(hopeless)))
        fronts = waiting.subquery()
        rows = session.execute(select(fronts.c.seq, fronts.c.id).where(fronts.c.place <= FRONT))
        found += [(row[0], row[1]) for row in rows]
        found += _cheap_enough(session, queued & waits, prices)
        fits, stale = budgets.to_admit(session, now, queued & waits, FRONT)
        found = [*sorted([*found, *fits]), *stale][: min(limit, room)]
    return [job_id for _, job_id in found]


def _cheap_enough(session: Session, queued: Any, prices: Mapping[str, int]) -> list[tuple[int, str]]:
    """Of the jobs that wait for a price, those for which one of their products is cheap enough by now.

    And the first one of all, whose turn makes that the prices are asked for again.
    """
    query = select(Job.seq, Job.id, Job.products, Job.max_price, Job.coupon).where(queued, Job.reason == DEAR)
    found: list[tuple[int, str]] = []
    for seq, job_id, products, most, coupon in session.execute(query.order_by(Job.seq)):
        cheap = any(prices.get(name, math.inf) <= (most or 0) for name in products or prices)
        # With a coupon it may be cheaper than the inventory says.
        if cheap or coupon is not None or not found:
            found.append((seq, job_id))
        if len(found) > FRONT:
            break
    return found


@contextmanager
def _one(db: Database, attempt_id: str) -> Iterator[Session]:
    """A transaction of one attempt's own. What is wrong with one must not keep the ends of all the others."""
    with about(attempt=attempt_id):
        try:
            with db.write() as session:
                yield session
        except Stale:
            pass  # it moved on by itself, or somebody else leads: the next look says which
        except DatabaseError:
            raise
        except Exception:
            log.exception("attempt %s cannot be ended; the others are", attempt_id)


def _overdue(db: Database, awake_since: datetime | None) -> list[str]:
    with db.read() as session:
        now = db.now(session)
        cancelled = Job.cancel_requested_at.is_not(None)
        conditions = or_(
            (Attempt.state == State.BOOTING)
            & or_(
                Attempt.boot_deadline_at < now,
                Instance.expires_at < now + ENDING,
                (Job.grace > money.GRACE_SECONDS) & (Instance.expires_at < now + LONGEST_ENDING),
                Job.coupon.is_not(None),
                cancelled,
            ),
            (Attempt.state == State.RUNNING)
            & or_(
                Attempt.deadline_at < now - SEAL,
                Attempt.stop_ordered_at < now - SEAL,
                Job.cancel_requested_at < now - SEAL,
                Attempt.unreachable_since < now - UNREACHABLE,
            ),
        )
        query = (
            select(Attempt, Job, Instance)
            .join(Job, Job.id == Attempt.job_id)
            .join(Instance, Instance.attempt_id == Attempt.id)
            .where(conditions)
        )
        # How long a command may take to end stands with its job: the conditions only leave out most of them.
        return [
            attempt.id
            for attempt, job, instance in session.execute(query)
            if _verdict(_Case(session, now, attempt, job, instance, awake_since)) is not None
        ]


def _end_one(
    session: Session, now: datetime, lead: Lead, attempt_id: str, awake_since: datetime | None
) -> int:
    attempt = session.execute(select(Attempt).where(Attempt.id == attempt_id)).scalar_one()
    job = session.execute(select(Job).where(Job.id == attempt.job_id)).scalar_one()
    instance = session.execute(select(Instance).where(Instance.attempt_id == attempt_id)).scalar_one()
    verdict = _verdict(_Case(session, now, attempt, job, instance, awake_since))
    if verdict is None:
        return 0
    event, cause, detail, retryable = verdict
    values: dict[str, object] = {"retryable": retryable}
    if attempt.go_ordered_at is not None:
        values["log_end"] = "incomplete: the machine was ended before the rest was read"
    move(
        session,
        now,
        event,
        job_id=job.id,
        state=State(attempt.state),
        attempt_id=attempt_id,
        guard=lead,
        change=Change(cause, detail, attempt=values),
    )
    doom.of_attempt(session, now, attempt_id, cause)
    return 1


@dataclass(frozen=True)
class _Case:
    """An attempt that may have to end, and what it is judged by; ``awake_since`` as for :func:`enforce`."""

    session: Session
    now: datetime
    attempt: Attempt
    job: Job
    instance: Instance
    awake_since: datetime | None


def _verdict(case: _Case) -> tuple[Event, str, str, bool] | None:
    now, attempt, job = case.now, case.attempt, case.job
    if attempt.state == State.BOOTING:
        return _verdict_booting(case)
    if attempt.state != State.RUNNING:
        return None
    patience = after_stop(job.grace)
    if case.instance.expires_at > now + timedelta(seconds=money.TERMINATE_SECONDS):
        # Whoever attended to it may have died just then: as far as the ceiling pays, the next one has the
        # time to take over and to read how it ended.
        patience = max(patience, SUCCESSION)
    if attempt.lease_until is not None and attempt.lease_until > now:
        patience += HOLDER_FIRST

    def passed(moment: datetime | None, patience: timedelta) -> bool:
        return moment is not None and max(moment, case.awake_since or moment) < now - patience

    cause = attempt.stop_cause or ("cancelled_by_user" if job.cancel_requested_at is not None else None)
    if cause is not None and passed(attempt.stop_ordered_at or job.cancel_requested_at, patience):
        return Event.OVERDUE, cause, "the command did not end in time; its machine was taken away", False
    if passed(attempt.deadline_at, patience):
        cause = attempt.deadline_cause or "max_runtime"
        return Event.OVERDUE, cause, "the command did not end in time; its machine was taken away", False
    if passed(attempt.unreachable_since, UNREACHABLE):
        return Event.GONE, "lost", "nobody could reach the machine for 15 minutes", False
    return None


def _verdict_booting(case: _Case) -> tuple[Event, str, str, bool] | None:
    now, attempt, job = case.now, case.attempt, case.job
    if job.cancel_requested_at is not None:
        return Event.STOPPED, "cancelled_by_user", "cancelled while the machine was booting", False
    before_go = attempt.go_ordered_at is None
    woken = case.awake_since
    if not before_go and woken is not None and woken > now - after_stop(job.grace):
        return None  # it may have been started, and have ended: somebody should ask there first
    if attempt.boot_deadline_at < now and attempt.transfer is not None:
        return (
            Event.BOOT_FAILED,
            "upload_failed",
            "the files did not get on to the machine in time",
            before_go,
        )
    if attempt.boot_deadline_at < now:
        return Event.BOOT_FAILED, "boot_timeout", "the machine could not be reached in time", before_go
    # With a coupon it may be metered at the full price, until the listing says what is charged.
    expires_at, cause = deadlines.expiry(case.session, now, job, case.instance)
    if expires_at < now + timedelta(seconds=money.ending_seconds(job.grace)):
        return Event.STOPPED, cause, attempts.NO_TIME, False
    return None


def _settle_one(
    session: Session, now: datetime, lead: Lead, attempt_id: str, prices: Mapping[str, int]
) -> None:
    attempt = session.execute(select(Attempt).where(Attempt.id == attempt_id)).scalar_one()
    job = session.execute(select(Job).where(Job.id == attempt.job_id)).scalar_one()
    cause = attempt.outcome or "lost"
    files.lose(session, now, attempt_id, "the machine was gone before all of them were here")
    session.refresh(attempt)
    if _may_retry(session, now, attempt, job, prices):
        pause = _pause(attempt.number or 1)
        job_values: dict[str, Any] = {"not_before": now + pause, "exit_code": None}
        if _boots_badly(session, attempt) and attempts.fallbacks(job, attempt.product) != ():
            job_values["passed_over"] = [*(job.passed_over or ()), attempt.product]
        change = Change(
            None,
            f"attempt {attempt.number} ended ({cause}: {attempt.detail}); the next one follows",
            job=job_values,
        )
        event = Event.RETRIED
    else:
        event = final_event(cause, attempt.exit_code)
        change = Change(cause, attempt.detail)
    move(
        session,
        now,
        event,
        job_id=job.id,
        state=State.FINISHING,
        attempt_id=attempt_id,
        guard=lead,
        change=change,
    )


def _may_retry(
    session: Session, now: datetime, attempt: Attempt, job: Job, prices: Mapping[str, int]
) -> bool:
    if job.cancel_requested_at is not None:
        return False
    started = attempt.go_ordered_at is not None
    if not (_failed_as_wanted(attempt, job) if started else attempt.retryable):
        return False
    alike = Attempt.go_ordered_at.is_not(None) if started else Attempt.go_ordered_at.is_(None)
    tries = session.execute(
        select(func.count()).where(Attempt.job_id == job.id, Attempt.number.is_not(None), alike)
    ).scalar_one()
    if tries > (job.retries if started else FREE_RETRIES):
        return False
    left = costs.left(session, now, job)
    row = session.execute(select(Instance).where(Instance.attempt_id == attempt.id)).scalar_one()
    others = attempts.fallbacks(job, attempt.product)
    known = [prices[name] for name in (prices if others is None else others) if name in prices]
    found = [*known, *([row.price] if row.price else [])]  # the next one may cost less than this one did
    return bool(found) and not money.too_little(
        left, min(found), row.minimum_minutes, grace_seconds=job.grace, outputs=bool(job.outputs)
    )


def _boots_badly(session: Session, attempt: Attempt) -> bool:
    """Whether machines of an attempt's product have failed to boot as often as one may for one job."""
    failed = (
        select(func.count())
        .select_from(Attempt)
        .join(Instance, Instance.attempt_id == Attempt.id)
        .where(
            Attempt.job_id == attempt.job_id,
            Attempt.product == attempt.product,
            Attempt.go_ordered_at.is_(None),
            Attempt.outcome.in_(("boot_timeout", "deploy_failed")),
            Instance.uuid.is_not(None),
        )
    )
    return session.execute(failed).scalar_one() >= BAD_BOOTS


def _failed_as_wanted(attempt: Attempt, job: Job) -> bool:
    """Whether a command that was started ended in a way in which its job is to be tried again.

    One that was told to stop and then lost its machine was to end anyway. Where a machine got the order to
    start it and was never heard of again, it counts as lost.
    """
    cause = "lost" if attempt.outcome == "boot_timeout" else attempt.outcome
    succeeded = cause == "exit_code" and attempt.exit_code == 0
    return cause in job.retry_on.split(",") and not succeeded and attempt.stop_cause is None


def _pause(tries: int) -> timedelta:
    """5 s doubling to 60 s."""
    return timedelta(seconds=doubling(5.0, 60.0, tries - 1))
