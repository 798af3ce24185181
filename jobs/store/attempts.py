"""What the holder of an attempt writes on its way from the deploy to the end of the command.

Every function here is guarded by the attempt's id, state and fence and raises Stale where they no longer
hold. What goes out to the cloud or to a machine is preceded by a write of the intent (``order_…``) and
followed by a write of what came of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from jobs import money
from jobs.models import Attempt, Instance, Job
from jobs.states import CAUSES, LIVE, Event, State
from jobs.store import budgets, costs, deadlines, doom, limits
from jobs.store.database import Database, concern
from jobs.store.leases import LEASE
from jobs.store.transitions import RELEASED, AttemptLease, Change, Stale, move

NO_TIME = "booting and bringing files took all the time that its ceilings leave"


@dataclass(frozen=True)
class Work:
    """All that a holder needs to know of an attempt, its job and its instance.

    ``ceiling`` in micro-dollars; ``budget``: whether that is what it took of its budget; prices in those an
    hour; ``price_final``: whether the service has said what is charged.
    ``workdir``, ``outputs``, ``outputs_part`` and ``resumes`` are keys of trees in the artifact store; the
    last is what an earlier attempt of the job left. ``fallbacks``: the other products that the job takes, or
    None where it takes any.
    """

    attempt_id: str
    job_id: str
    number: int
    state: State
    job_name: str | None
    command: str | tuple[str, ...]
    env: dict[str, str]
    max_runtime: int
    grace: int
    idle_timeout: int | None
    ceiling: int
    budget: bool
    max_price: int | None
    coupon: str | None
    product: str
    fallbacks: tuple[str, ...] | None
    image_id: int
    key_fields: tuple[str, ...]
    attestation_key: bytes
    host_key: str | None
    host_key_check: str | None
    boot_deadline_at: datetime
    deadline_at: datetime | None
    deadline_cause: str | None
    unreachable_since: datetime | None
    guard: dict[str, Any] | None
    deploy_ordered_at: datetime | None
    go_ordered_at: datetime | None
    stop_cause: str | None
    stop_ordered_at: datetime | None
    cancel_requested: bool
    log_bytes: int
    protocol: int
    workdir: str | None
    setup: str | None
    output_globs: tuple[str, ...]
    sync_every: int | None
    outputs_seconds: int
    outputs_until: datetime | None
    outputs: str | None
    outputs_part: str | None
    resumes: str | None
    instance_name: str
    instance_state: str
    uuid: str | None
    price: int | None
    full_price: int | None
    price_final: bool
    expires_at: datetime
    ready: bool
    host: str | None
    port: int | None
    username: str | None
    secrets: str | None = field(default=None, repr=False)

    @property
    def private(self) -> bool:
        """Whether secrets or files go to the machine, or come from it: then it must prove that it is ours."""
        files = self.workdir is not None or self.resumes is not None or bool(self.output_globs)
        return files or self.secrets is not None

    @property
    def told(self) -> bool:
        """Whether the guard token may have reached the machine."""
        return self.guard is not None and bool(self.guard.get("told"))

    @property
    def confided(self) -> bool:
        """Whether the machine may know secrets or a token by now: then what it says stands in no error."""
        return self.told or (self.secrets is not None and self.go_ordered_at is not None)


def load(db: Database, attempt_id: str) -> Work | None:
    """An attempt that has not ended; None where it has."""
    with db.read() as session:
        row = session.execute(
            select(Attempt, Job, Instance)
            .join(Job, Job.id == Attempt.job_id)
            .join(Instance, Instance.attempt_id == Attempt.id)
            .where(Attempt.id == attempt_id, Attempt.state.in_([state.value for state in LIVE]))
        ).first()
        if row is None:
            return None
        attempt, job, instance = row
        command = job.command
        return Work(
            attempt_id=attempt.id,
            job_id=job.id,
            number=attempt.number or 0,
            state=State(attempt.state),
            job_name=job.name,
            command=command["shell"] if "shell" in command else tuple(command["argv"]),
            env=dict(job.env),
            max_runtime=job.max_runtime,
            grace=job.grace,
            idle_timeout=job.idle_timeout,
            ceiling=costs.ceiling(job),
            budget=costs.ceiling(job) < job.max_cost,
            max_price=job.max_price,
            coupon=job.coupon,
            product=attempt.product,
            fallbacks=fallbacks(job, attempt.product),
            image_id=attempt.image_id,
            key_fields=tuple(field for field in attempt.key_fields.split(",") if field),
            attestation_key=bytes.fromhex(attempt.attestation_key),
            host_key=attempt.host_key,
            host_key_check=attempt.host_key_check,
            boot_deadline_at=attempt.boot_deadline_at,
            deadline_at=attempt.deadline_at,
            deadline_cause=attempt.deadline_cause,
            unreachable_since=attempt.unreachable_since,
            guard=attempt.guard,
            deploy_ordered_at=attempt.deploy_ordered_at,
            go_ordered_at=attempt.go_ordered_at,
            stop_cause=attempt.stop_cause,
            stop_ordered_at=attempt.stop_ordered_at,
            cancel_requested=job.cancel_requested_at is not None,
            log_bytes=attempt.log_bytes,
            protocol=attempt.protocol,
            workdir=job.workdir,
            setup=job.setup,
            output_globs=tuple(job.outputs or ()),
            sync_every=job.sync_every,
            outputs_seconds=attempt.outputs_seconds,
            outputs_until=attempt.outputs_until,
            outputs=attempt.outputs,
            outputs_part=attempt.outputs_part,
            resumes=_left_behind(session, job, attempt),
            instance_name=instance.name,
            instance_state=instance.state,
            uuid=instance.uuid,
            price=instance.price,
            full_price=instance.full_price,
            price_final=instance.prices is not None and bool(instance.prices["final"]),
            expires_at=instance.expires_at,
            ready=instance.ready,
            host=instance.host,
            port=instance.port,
            username=instance.username,
            secrets=job.secrets,
        )


def fallbacks(job: Job, product: str) -> tuple[str, ...] | None:
    """The products that a job would take instead of this one; None where it takes any."""
    if job.cheapest and not job.products:
        return None
    over = {product, *(job.passed_over or ())}
    return tuple(name for name in job.products if name not in over)


def _passed_over(session: Session, job_id: str, product: str) -> list[str]:
    """The products that a job is not tried with any more, this one among them."""
    had = session.execute(select(Job.passed_over).where(Job.id == job_id)).scalar()
    return [*(had or []), product]


def _left_behind(session: Session, job: Job, attempt: Attempt) -> str | None:
    """The outputs of the last attempt before this one that left any, where they are synced."""
    if job.sync_every is None:
        return None
    return session.execute(
        select(Attempt.outputs)
        .where(Attempt.job_id == job.id, Attempt.outputs.is_not(None), Attempt.number < attempt.number)
        .order_by(Attempt.number.desc())
        .limit(1)
    ).scalar()


class Outdated(Exception):
    """What an attempt was planned with does not hold any more: its job is to be admitted anew."""


def order_deploy(db: Database, work: Work, lease: AttemptLease) -> None:
    """Commit that the one deploy of this attempt is about to be sent. Raises Stale if it ever was before.

    From here on its machine expires as the ceiling wants it by now, which may have paid for a stray since the
    attempt was planned. Raises Outdated where too little is left for a command.
    """
    with db.write() as session:
        now = db.now(session)
        write(
            session,
            work,
            lease,
            State.DEPLOYING,
            Attempt.deploy_ordered_at.is_(None),
            deploy_ordered_at=now,
            lease_until=now + LEASE,  # the request must be over before anybody may doubt this holder
        )
        _write_instance(session, work, "intended", requested_at=now)
        job, attempt, row = session.execute(
            select(Job, Attempt, Instance)
            .join(Attempt, Attempt.job_id == Job.id)
            .join(Instance, Instance.attempt_id == Attempt.id)
            .where(Attempt.id == work.attempt_id)
        ).one()
        if job.cancel_requested_at is not None:
            raise Stale
        if not deadlines.request(session, now, job, attempt, row):
            raise Outdated("its ceiling pays for too little of the machine by now")


def deployed(db: Database, work: Work, lease: AttemptLease, uuid: str) -> None:
    """The API answered with the new machine's uuid; whoever attends to it takes a lease of his own."""
    with db.write() as session:
        now = db.now(session)
        change = Change(None, f"{work.product} is booting", attempt=RELEASED)
        _move(session, now, Event.DEPLOYED, work, lease, State.DEPLOYING, change)
        _write_instance(session, work, ("intended", "unknown"), state="live", uuid=uuid)


def deploy_unknown(db: Database, work: Work, lease: AttemptLease) -> None:
    """The deploy had no answer: the listing will tell what happened."""
    with db.write() as session:
        now = db.now(session)
        write(session, work, lease, State.DEPLOYING, lease_owner=None, lease_until=None)
        _write_instance(session, work, "intended", state="unknown", unknown_at=now)


def deploy_void(
    db: Database,
    work: Work,
    lease: AttemptLease,
    event: Event,
    *,
    reason: str | None,
    detail: str,
    pause: timedelta,
) -> None:
    """Nothing was rented, and the job goes back into the queue as if this attempt had not been.

    Where another product may be had instead of this one, that is tried at once.
    """
    with db.write() as session:
        now = db.now(session)
        job: dict[str, Any] = {"not_before": now + pause, "waits": Job.waits + 1}
        job |= budgets.given_back(work.number)
        if event in (Event.NO_CAPACITY, Event.IMAGE_REFUSED) and work.fallbacks != ():
            job["not_before"] = now
        if event is Event.IMAGE_REFUSED:
            job["passed_over"] = _passed_over(session, work.job_id, work.product)
        if event is Event.NO_CAPACITY:
            what = limits.stock(work.product) if reason == "no_capacity" else limits.QUOTA
            limits.block(session, now, what, now + pause)
        _move(session, now, event, work, lease, State.DEPLOYING, Change(reason, detail, job=job))
        _write_instance(session, work, ("intended", "unknown"), state="refused")


def deploy_refused(db: Database, work: Work, lease: AttemptLease, detail: str, *, retryable: bool) -> None:
    """Nothing was rented, and this attempt has failed."""
    with db.write() as session:
        now = db.now(session)
        change = Change("deploy_failed", detail, attempt={"retryable": retryable})
        _move(session, now, Event.REFUSED, work, lease, State.DEPLOYING, change)
        _write_instance(session, work, ("intended", "unknown"), state="refused")


def stop_unsent(db: Database, work: Work, lease: AttemptLease, cause: str, detail: str) -> None:
    """A cancel or a ceiling met an attempt whose deploy was provably never sent."""
    with db.write() as session:
        now = db.now(session)
        write(session, work, lease, State.DEPLOYING, Attempt.deploy_ordered_at.is_(None))
        _move(session, now, Event.STOPPED, work, lease, State.DEPLOYING, Change(cause, detail))
        _write_instance(session, work, "intended", state="refused")


def pin(db: Database, work: Work, lease: AttemptLease, host_key: str, check: str) -> None:
    """Keep the host key that later connections of this attempt must show."""
    with db.write() as session:
        write(session, work, lease, State.BOOTING, host_key=host_key, host_key_check=check)


class CannotStart(Exception):
    """A command is not started, because that would break a ceiling: what is to be written instead."""

    def __init__(self, event: Event, cause: str, detail: str) -> None:
        super().__init__(detail)
        self.event, self.cause, self.detail = event, cause, detail


def order_go(db: Database, work: Work, lease: AttemptLease) -> tuple[datetime, datetime, str]:
    """Commit that the command is about to be started: from here on the attempt counts as started.

    Returns when that was, and the command's deadline with its cause. Raises CannotStart, and Stale also where
    the job is cancelled.
    """
    with db.write() as session:
        now = db.now(session)
        job, attempt, row = session.execute(
            select(Job, Attempt, Instance)
            .join(Attempt, Attempt.job_id == Job.id)
            .join(Instance, Instance.attempt_id == Attempt.id)
            .where(Attempt.id == work.attempt_id)
            .with_for_update(of=(Attempt, Instance))  # whoever lists may shorten it at the same moment
        ).one()
        if job.cancel_requested_at is not None:
            raise Stale
        if money.too_dear(row.price, job.max_price):
            detail = money.dearer("the machine", row.price, job.max_price)
            if job.coupon is not None and not (row.prices or {}).get("final"):
                detail += f": the service does not tell what {job.coupon!r} takes off"
            raise CannotStart(Event.BOOT_FAILED, "deploy_failed", detail)
        deadline_at, cause = deadlines.start(session, now, job, attempt, row)
        if deadline_at <= now:
            raise CannotStart(Event.STOPPED, cause, NO_TIME)
        write(
            session,
            work,
            lease,
            State.BOOTING,
            go_ordered_at=work.go_ordered_at or now,
            deadline_at=deadline_at,
            deadline_cause=cause,
        )
        return now, deadline_at, cause


def started(db: Database, work: Work, lease: AttemptLease) -> None:
    """The machine accepted ``go``."""
    with db.write() as session:
        now = db.now(session)
        first = session.execute(select(Job.started_at).where(Job.id == work.job_id)).scalar() or now
        change = Change(
            None,
            "the command is running",
            job={"started_at": first},
            attempt={"started_at": now, "transfer": None},
        )
        _move(session, now, Event.STARTED, work, lease, State.BOOTING, change)


def order_stop(db: Database, work: Work, lease: AttemptLease, cause: str) -> datetime:
    """Commit that the command is to be stopped; the first cause stays. Returns when it was ordered."""
    with db.write() as session:
        now = db.now(session)
        write(
            session,
            work,
            lease,
            State.RUNNING,
            stop_cause=work.stop_cause or cause,
            stop_ordered_at=work.stop_ordered_at or now,
        )
        return work.stop_ordered_at or now


def finish(
    db: Database,
    work: Work,
    lease: AttemptLease,
    event: Event,
    *,
    state: State,
    cause: str,
    detail: str,
    exit_code: int | None = None,
    log_end: str | None = None,
    retryable: bool = False,
    with_outputs: bool = False,
) -> None:
    """The attempt's end, and the doom of its machine with it; *with_outputs*: after these have come."""
    if cause not in CAUSES:  # a machine's own words are not ours to trust
        cause, detail = "lost", detail if work.secrets or work.confided else f"{detail} ({cause})"
    with db.write() as session:
        now = db.now(session)
        attempt: dict[str, Any] = {"exit_code": exit_code, "retryable": retryable}
        if log_end is not None:
            attempt["log_end"] = log_end
        attempt["transfer"] = None
        if with_outputs:
            expires_at = session.execute(
                select(Instance.expires_at).where(Instance.attempt_id == work.attempt_id)
            ).scalar_one()
            last = expires_at - timedelta(seconds=money.TERMINATE_SECONDS)
            attempt["outputs_until"] = min(now + timedelta(seconds=work.outputs_seconds), last)
        change = Change(cause, detail, job={"exit_code": exit_code}, attempt=attempt)
        _move(session, now, event, work, lease, state, change)
        if not with_outputs:
            doom.of_attempt(session, now, work.attempt_id, cause)


def note_unreachable(db: Database, work: Work, lease: AttemptLease, since: datetime | None) -> None:
    """Remember across holders since when nobody reaches the machine; None: it answers."""
    with db.write() as session:
        write(session, work, lease, None, unreachable_since=since)


def unreachable_since(db: Database, attempt_id: str) -> datetime | None:
    """Since when nobody reaches the machine; None where somebody does."""
    with db.read() as session:
        return session.execute(select(Attempt.unreachable_since).where(Attempt.id == attempt_id)).scalar()


def _move(
    session: Session,
    now: datetime,
    event: Event,
    work: Work,
    lease: AttemptLease,
    state: State,
    change: Change,
) -> None:
    move(
        session,
        now,
        event,
        job_id=work.job_id,
        state=state,
        attempt_id=work.attempt_id,
        guard=lease,
        change=change,
    )


def write(
    session: Session, work: Work, lease: AttemptLease, state: State | None, *conditions: Any, **values: Any
) -> None:
    """Change an attempt that its holder still holds. Raises Stale."""
    statement = update(Attempt).where(
        Attempt.id == work.attempt_id,
        Attempt.lease_owner == lease.owner,
        Attempt.fence == lease.fence,
        *conditions,
    )
    if state is not None:
        statement = statement.where(Attempt.state == state.value)
    result = session.execute(statement.values(**(values or {"fence": lease.fence})))
    if result.rowcount != 1:  # type: ignore[attr-defined]
        raise Stale
    concern(session, work.job_id)


def _write_instance(session: Session, work: Work, states: str | tuple[str, ...], **values: Any) -> None:
    allowed = (states,) if isinstance(states, str) else states
    result = session.execute(
        update(Instance)
        .where(Instance.attempt_id == work.attempt_id, Instance.state.in_(allowed))
        .values(**values)
    )
    if result.rowcount != 1:  # type: ignore[attr-defined]
        raise Stale
