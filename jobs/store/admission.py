"""Admission: the intent to rent a machine, committed together with all that it reserves."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from jobs import ids
from jobs.models import Attempt, Instance, Job
from jobs.states import Event, State
from jobs.store import budgets, costs, leases, limits
from jobs.store.budgets import Lacks
from jobs.store.database import Database
from jobs.store.transitions import AttemptLease, Change, JobLease, Stale, move

HOLDING = ("intended", "unknown", "live", "warm", "doomed")
"""States of an instance in which it takes a slot: it is rented, or may be."""


SEATED = (State.DEPLOYING.value, State.BOOTING.value, State.RUNNING.value)
"""States of an attempt that needs an attendant, or will."""


@dataclass(frozen=True)
class Plan:
    """What is to be rented, and until when. Prices in micro-dollars an hour, ``full_price`` before a coupon.

    ``minimum_minutes``: what is billed at least. It is kept with the instance, for all who read its costs.
    ``most``: what the job can cost at most, in micro-dollars. ``outputs_seconds``: what is reserved for its
    outputs before it expires; ``instead``: why it is not an earlier one of the job's products.
    """

    product: str
    price: int
    full_price: int
    image_id: int
    key_fields: str
    fleet: str
    expires_at: datetime
    boot_deadline_at: datetime
    protocol: int
    minimum_minutes: int
    most: int
    outputs_seconds: int = 0
    instead: str | None = None


@dataclass(frozen=True)
class Limits:
    """What holds for all instances together. ``max_burn``: micro-dollars an hour, or None."""

    max_instances: int
    max_burn: int | None


@dataclass(frozen=True)
class Admitted:
    """An attempt whose intent stands in the database; its deploy has not been ordered yet."""

    attempt_id: str
    lease: AttemptLease
    instance_name: str


@dataclass(frozen=True)
class Full:
    """Why there is no room, as a sentence."""

    detail: str


@dataclass(frozen=True)
class Candidate:
    """A queued job as admission sees it. ``spent``, ``left``: what it has cost, and may still cost.

    Money in micro-dollars; ``max_price``: micro-dollars an hour; ``grace``: seconds.
    """

    job_id: str
    products: tuple[str, ...]
    cheapest: bool
    passed_over: frozenset[str]
    image: str
    max_cost: int
    max_runtime: int
    max_price: int | None
    coupon: str | None
    grace: int
    with_files: bool
    with_outputs: bool
    retries: int
    spent: int
    left: int
    waits: int
    cancel_requested: bool
    secrets: str | None = field(default=None, repr=False)


def candidate(db: Database, job_id: str) -> Candidate | None:
    """What admission has to know of a queued job; None where it is not queued any more."""
    with db.read() as session:
        now = db.now(session)
        job = session.execute(select(Job).where(Job.id == job_id, Job.state == State.QUEUED)).scalar()
        if job is None:
            return None
        spent = costs.spent(session, now, job_id)
        return Candidate(
            job.id,
            tuple(job.products),
            job.cheapest,
            frozenset(job.passed_over or ()),
            job.image,
            job.max_cost,
            job.max_runtime,
            job.max_price,
            job.coupon,
            job.grace,
            job.workdir is not None or job.sync_every is not None,
            bool(job.outputs),
            job.retries,
            spent,
            costs.ceiling(job) - spent,
            job.waits,
            job.cancel_requested_at is not None,
            job.secrets,
        )


def admit(db: Database, job_id: str, lease: JobLease, plan: Plan, bounds: Limits) -> Admitted | Full | Lacks:
    """Commit the intent and its reservations; or say why there is no room, or no money.

    Raises Stale where the job is not the caller's any more or was cancelled meanwhile.
    """
    with db.write() as session:
        installation = leases.one_admission(session)
        now = db.now(session)
        full = _no_room(session, now, plan, bounds)
        if full is not None:
            return full
        job = session.execute(select(Job).where(Job.id == job_id)).scalar_one()
        ours = job.state == State.QUEUED and (job.lease_owner, job.fence) == (lease.owner, lease.fence)
        if not ours or job.cancel_requested_at is not None:
            raise Stale
        taken = budgets.take(session, now, job, plan.most)
        if isinstance(taken, Lacks):
            return taken
        made = session.execute(
            select(func.coalesce(func.max(Attempt.number), 0)).where(Attempt.job_id == job_id)
        ).scalar_one()
        attempt_id = ids.new_attempt_id(installation)
        name = str(ids.InstanceName(plan.fleet, attempt_id, int(plan.expires_at.timestamp())))
        session.add(
            Attempt(
                id=attempt_id,
                job_id=job_id,
                number=(made or 0) + 1,
                state=State.DEPLOYING.value,
                product=plan.product,
                image_id=plan.image_id,
                key_fields=plan.key_fields,
                attestation_key=secrets.token_hex(32),
                protocol=plan.protocol,
                created_at=now,
                boot_deadline_at=plan.boot_deadline_at,
                outputs_seconds=plan.outputs_seconds,
                lease_owner=lease.owner,
                lease_until=now + leases.LEASE,
                fence=1,
            )
        )
        session.flush()
        session.add(
            Instance(
                attempt_id=attempt_id,
                job_id=job_id,
                name=name,
                state="intended",
                product=plan.product,
                price=plan.price,
                full_price=plan.full_price,
                minimum_minutes=plan.minimum_minutes,
                expires_at=plan.expires_at,
            )
        )
        session.flush()
        move(
            session,
            now,
            Event.ADMITTED,
            job_id=job_id,
            state=State.QUEUED,
            attempt_id=attempt_id,
            guard=lease,
            change=Change(
                None, " · ".join(filter(None, (f"renting {plan.product}", plan.instead))), job=taken
            ),
        )
    return Admitted(attempt_id, AttemptLease(lease.owner, 1), name)


def wait(
    db: Database,
    job_id: str,
    lease: JobLease,
    *,
    reason: str | None,
    detail: str,
    pause: timedelta,
    product: str | None = None,
    need: int | None = None,
) -> bool:
    """Leave a job queued, with its reason, for at least *pause*; remember where *product* is out of stock.

    *need*: what it needs in its budget, in micro-dollars. Returns whether the reason is news.
    """
    with db.write() as session:
        now = db.now(session)
        until = now + pause
        if product is not None:
            limits.block(session, now, limits.stock(product), until)
        same = session.execute(select(Job.reason, Job.detail, Job.waits).where(Job.id == job_id)).one()
        values = {"not_before": until, "waits": same.waits + 1, "budget_need": need}
        if (same.reason, same.detail) == (reason, detail):  # no news: nothing for the job's history
            changed = session.execute(
                update(Job)
                .where(
                    Job.id == job_id,
                    Job.state == State.QUEUED,
                    Job.lease_owner == lease.owner,
                    Job.fence == lease.fence,
                )
                .values(**values, lease_owner=None, lease_until=None)
            )
            if not changed.rowcount:  # type: ignore[attr-defined]
                raise Stale
            return False
        move(
            session,
            now,
            Event.WAITS,
            job_id=job_id,
            state=State.QUEUED,
            attempt_id=None,
            guard=lease,
            change=Change(reason, detail, job=values),
        )
    return True


def refuse(db: Database, job_id: str, lease: JobLease, event: Event, reason: str, detail: str) -> None:
    """End a queued job for which nothing will be rented."""
    with db.write() as session:
        move(
            session,
            db.now(session),
            event,
            job_id=job_id,
            state=State.QUEUED,
            attempt_id=None,
            guard=lease,
            change=Change(reason, detail),
        )


def room(session: Session, now: datetime, bounds: Limits) -> int:
    """How many more instances may be rented now, as far as that is the same for all products."""
    held, _ = _held(session)
    left = burn_left(session, bounds)
    blocked = any(limits.blocked_until(session, now, what) for what in (limits.QUOTA, limits.CALLS))
    if blocked or (left is not None and left <= 0):
        return 0
    return max(0, min(bounds.max_instances - held, leases.seats(session, now) - _seated(session)))


def burn_left(session: Session, bounds: Limits) -> int | None:
    """What may still be spent, in micro-dollars an hour; None: there is no limit."""
    return None if bounds.max_burn is None else bounds.max_burn - _held(session)[1]


def _held(session: Session) -> tuple[int, int]:
    """How many instances there are, or may be, and what all of them cost an hour."""
    held, burn = session.execute(
        select(func.count(), func.coalesce(func.sum(Instance.price), 0)).where(Instance.state.in_(HOLDING))
    ).one()
    return int(held or 0), int(burn or 0)


def _seated(session: Session) -> int:
    return session.execute(
        select(func.count()).select_from(Attempt).where(Attempt.state.in_(SEATED))
    ).scalar_one()


def _no_room(session: Session, now: datetime, plan: Plan, bounds: Limits) -> Full | None:
    held, burn = _held(session)
    if held >= bounds.max_instances:
        return Full(f"{held} instances are in use, and RUNNER_MAX_INSTANCES allows {bounds.max_instances}")
    if bounds.max_burn is not None and burn + plan.price > bounds.max_burn:
        return Full(
            "the instances in use and this one together would cost more an hour than RUNNER_MAX_BURN allows"
        )
    if _seated(session) >= leases.seats(session, now):
        return Full("every worker attends to as many jobs as it can")
    if limits.blocked_until(session, now, limits.QUOTA) is not None:
        return Full("the account allows no more instances at present")
    return None
