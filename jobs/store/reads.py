"""Pictures of jobs for people: finding one by what a person calls it, and showing it with its costs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from jobs import ids, meter
from jobs.errors import AmbiguousJob, JobNotFound
from jobs.models import Attempt, Budget, Instance, Job, JobEvent
from jobs.states import ENDED, FINAL, State
from jobs.store.database import Database
from jobs.views import AttemptView, EventView, JobView, Share

_PREFIX = re.compile(rf"[{ids.ALPHABET}]{{1,{ids.JOB_LENGTH}}}")


def find(db: Database, reference: str) -> str:
    """The id of the job that a person calls *reference*.

    An exact id, else the newest job of exactly that name, else the one job whose id begins so.
    Raises JobNotFound or AmbiguousJob.
    """
    if (
        not reference.isprintable()
    ):  # neither ids nor names hold such, and a NUL PostgreSQL would not even take
        raise JobNotFound(f"No job is called {reference!r}; `runner ls` shows those that there are.")
    with db.read() as session:
        exact = session.execute(select(Job.id).where(Job.id == reference)).scalar()
        if exact is None:
            exact = session.execute(
                select(Job.id).where(Job.name == reference).order_by(Job.seq.desc()).limit(1)
            ).scalar()
        if exact is not None:
            return exact
        if _PREFIX.fullmatch(reference):
            # A range, because LIKE ignores case on SQLite and no index serves it.
            last = reference.ljust(ids.JOB_LENGTH, ids.ALPHABET[-1])
            begins = (Job.id >= reference) & (Job.id <= last)
            found = list(session.execute(select(Job.id).where(begins).order_by(Job.id).limit(4)).scalars())
            if len(found) == 1:
                return found[0]
            if found:
                shown = ", ".join(found[:3]) + (" and others" if len(found) > 3 else "")
                raise AmbiguousJob(f"Several jobs begin with {reference!r}: {shown}; give more characters.")
    raise JobNotFound(f"No job is called {reference!r}; `runner ls` shows those that there are.")


def show(db: Database, job_id: str) -> JobView:
    """One job as it stands. Raises JobNotFound."""
    found = some(db, [job_id])
    if not found:
        raise JobNotFound(f"No job has the id {job_id!r}; `runner ls` shows those that there are.")
    return found[0]


def listing(
    db: Database, *, states: Iterable[State] | None = None, limit: int | None = None
) -> list[JobView]:
    """Jobs, the newest first; only those in *states* where any are named."""
    with db.read() as session:
        query = select(Job.id).order_by(Job.seq.desc())
        if states is not None:
            query = query.where(Job.state.in_([state.value for state in states]))
        if limit is not None:
            query = query.limit(limit)
        found = list(session.execute(query).scalars())
    return some(db, found)


def history(db: Database, job_id: str) -> list[EventView]:
    """All that happened to a job, in order."""
    with db.read() as session:
        rows = session.execute(
            select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.id)
        ).scalars()
        return [EventView(e.at, e.event, e.from_state, e.to_state, e.reason, e.detail, e.who) for e in rows]


def counts(db: Database) -> dict[State, int]:
    """How many jobs are in each state."""
    with db.read() as session:
        rows = session.execute(select(Job.state, func.count()).group_by(Job.state))
        return {State(state): count for state, count in rows}


def unfinished(db: Database) -> int:
    """How many jobs are not final yet."""
    with db.read() as session:
        final = [state.value for state in FINAL]
        return session.execute(
            select(func.count()).select_from(Job).where(Job.state.not_in(final))
        ).scalar_one()


def jobs_on(db: Database, uuids: Sequence[str]) -> dict[str, str]:
    """The jobs whose attempt has one of these machines and is not over: their ids by the machine's uuid."""
    with db.read() as session:
        rows = session.execute(
            select(Instance.uuid, Attempt.job_id)
            .join(Attempt, Instance.attempt_id == Attempt.id)
            .where(Instance.uuid.in_(uuids), Attempt.state != ENDED)
        )
        return {uuid: job_id for uuid, job_id in rows if uuid is not None}


def some(db: Database, job_ids: Sequence[str]) -> list[JobView]:
    """The jobs of these ids, in their order; those that do not exist are left out."""
    views: list[JobView] = []
    for start in range(0, len(job_ids), 500):
        with db.read() as session:
            views += _some(session, db.now(session), job_ids[start : start + 500])
    return views


def _some(session: Session, now: datetime, job_ids: Sequence[str]) -> list[JobView]:
    jobs = {job.id: job for job in session.execute(select(Job).where(Job.id.in_(job_ids))).scalars()}
    attempts: dict[str, list[tuple[Attempt, Instance]]] = {}
    rows = session.execute(
        select(Attempt, Instance)
        .join(Instance, Instance.attempt_id == Attempt.id)
        .where(Attempt.job_id.in_(job_ids), Attempt.number.is_not(None))
        .order_by(Attempt.number)
    )
    shown = set()
    for attempt, instance in rows:
        attempts.setdefault(attempt.job_id, []).append((attempt, instance))
        shown.add(instance.id)
    # What was rented for a job is on its receipt, also where its attempt is not shown.
    strays: dict[str, list[Instance]] = {}
    charged = Instance.state.not_in(meter.UNCHARGED)
    for instance in session.execute(select(Instance).where(Instance.job_id.in_(job_ids), charged)).scalars():
        if instance.id not in shown:
            strays.setdefault(instance.job_id or "", []).append(instance)
    since: dict[str, datetime] = {
        row.job_id: row.at
        for row in session.execute(
            select(JobEvent.job_id, func.max(JobEvent.at).label("at"))
            .where(JobEvent.job_id.in_(job_ids), JobEvent.from_state.is_distinct_from(JobEvent.to_state))
            .group_by(JobEvent.job_id)
        )
    }
    paid_by: dict[str, str] = {}
    if any(job.budget_id is not None for job in jobs.values()):
        named = select(Job.id, Budget.name).join(Budget, Budget.id == Job.budget_id)
        paid_by = {row[0]: row[1] for row in session.execute(named.where(Job.id.in_(job_ids)))}
    return [
        _job(jobs[id_], attempts.get(id_, []), strays.get(id_, []), since.get(id_), paid_by.get(id_), now)
        for id_ in job_ids
        if id_ in jobs
    ]


def _job(
    job: Job,
    attempts: list[tuple[Attempt, Instance]],
    strays: list[Instance],
    since: datetime | None,
    budget: str | None,
    now: datetime,
) -> JobView:
    parts = [
        meter.phases(instance, attempt.started_at, attempt.ended_at, now) for attempt, instance in attempts
    ]
    stray = [meter.charge(instance, now) for instance in strays]
    charges = [*(charge for phases in parts for charge in phases.values()), *stray]
    costs = iter(meter.shares(charges))
    shares = [
        {name: Share(charge.minutes, next(costs)) for name, charge in phases.items()} for phases in parts
    ]
    command = job.command["shell"] if "shell" in job.command else tuple(job.command["argv"])
    return JobView(
        id=job.id,
        name=job.name,
        state=State(job.state),
        reason=job.reason,
        detail=job.detail,
        command=command,
        products=tuple(job.products),
        cheapest=job.cheapest,
        image=job.image,
        exit_code=job.exit_code,
        cost=meter.total(charges),
        max_cost=job.max_cost,
        max_cost_source=job.max_cost_source,
        max_runtime=job.max_runtime,
        max_runtime_source=job.max_runtime_source,
        max_price=job.max_price,
        coupon=job.coupon,
        budget=budget,
        reserved=None if State(job.state).final else job.budget_charged,
        grace=job.grace,
        idle_timeout=job.idle_timeout,
        retries=job.retries,
        retry_on=tuple(job.retry_on.split(",")),
        workdir=None
        if job.workdir is None
        else {"files": job.workdir_files or 0, "bytes": job.workdir_bytes or 0},
        setup=job.setup,
        outputs=tuple(job.outputs or ()),
        sync_every=job.sync_every,
        cancel_requested=job.cancel_requested_at is not None,
        submitted_at=job.submitted_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        since=since or job.submitted_at,
        attempts=tuple(
            _attempt(attempt, instance, phases, now)
            for (attempt, instance), phases in zip(attempts, shares, strict=True)
        ),
        strays=Share(sum(charge.minutes for charge in stray), sum(costs)),
        cost_estimated=any(charge.estimated for charge in charges),
        secrets=tuple(job.secret_names or ()),
    )


def _attempt(attempt: Attempt, instance: Instance, phases: dict[str, Share], now: datetime) -> AttemptView:
    whole = meter.charge(instance, now)
    return AttemptView(
        id=attempt.id,
        number=attempt.number or 0,
        state=attempt.state,
        outcome=attempt.outcome,
        detail=attempt.detail,
        exit_code=attempt.exit_code,
        product=attempt.product,
        price=instance.price,
        full_price=instance.full_price,
        instance_uuid=instance.uuid,
        instance_name=instance.name,
        instance_state=instance.state,
        deployed_at=instance.requested_at,
        ready_at=attempt.ready_at,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        terminated_at=instance.terminate_accepted_at or instance.gone_at,
        cost=sum(share.cost for share in phases.values()),
        cost_estimated=whole.estimated,
        minutes=whole.minutes,
        prices=whole.parts,
        phases=phases,
        expires_at=instance.expires_at,
        deadline_at=attempt.deadline_at,
        log_bytes=attempt.log_bytes,
        log_end=attempt.log_end,
        host_key_check=attempt.host_key_check,
        guard=attempt.guard,
        unreachable_since=attempt.unreachable_since,
        leak_suspected=meter.leak_suspected(instance, now),
        outputs=attempt.outputs,
        outputs_state=attempt.outputs_state,
        transfer=attempt.transfer,
    )
