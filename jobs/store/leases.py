"""Leases: who works on what, until when, and under which fence.

A lease is taken by raising the fence, so that every write of a former holder names a fence that is no
longer there. Its end is judged by the database's time. A lease that expired and that nobody took can
still be renewed with its own fence, and nobody takes one over before heartbeats have come through for as long
as a lease lasts: an outage of the database alone takes nothing from anybody.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, false, func, or_, select, update
from sqlalchemy.orm import Session

from jobs import money
from jobs.migrations import CODE
from jobs.models import Attempt, Installation, Instance, Job, Leader, Worker
from jobs.states import ENDED, State
from jobs.store.database import Database
from jobs.store.transitions import AttemptLease, JobLease, Lead
from jobs.views import WorkerView

LEASE = timedelta(seconds=15)
ADMISSION = timedelta(seconds=60)
"""A job's lease is not renewed: admission asks the API a few things, and is over, or was forgotten."""
FORGOTTEN = timedelta(days=1)
"""How long the row of a worker that never signed off is kept."""
STARTED = (State.RUNNING.value, State.FINISHING.value)
"""Whoever takes these over needs no seat: they are on machines that cost, and soon over or under way."""
WORKER_LOST = timedelta(seconds=45)
"""A worker that has not been heard of for three leases is taken for dead in what people see."""


@dataclass(frozen=True)
class Held:
    """What the holder of an attempt needs to hear at each heartbeat."""

    attempt_id: str
    fence: int
    state: str
    cancel_requested: bool
    deadline_at: datetime | None
    deadline_cause: str | None
    outputs_until: datetime | None = None
    grace: int = money.GRACE_SECONDS
    expires_at: datetime | None = None
    """When its machine must be gone, by its row as it is now."""


def one_admission(session: Session) -> str:
    """Wait until no other admission is under way: what it counts must not grow before it commits.

    Returns the installation's id.
    """
    query = select(Installation.installation_id).where(Installation.id == 1).with_for_update()
    return session.execute(query).scalar_one()


def free_job(now: datetime) -> ColumnElement[bool]:
    """Whether nobody is deciding about a queued job. Its lease is never renewed: one that is over is over."""
    return or_(Job.lease_owner.is_(None), Job.lease_until < now)


def take_job(db: Database, job_id: str, owner: str) -> JobLease | None:
    """Take a queued job whose time has come, or whose end was asked for; None where somebody holds it."""
    with db.write(news=False) as session:
        now = db.now(session)
        due = or_(Job.not_before <= now, Job.cancel_requested_at.is_not(None))
        statement = (
            update(Job)
            .where(Job.id == job_id, Job.state == State.QUEUED, due, free_job(now))
            .values(lease_owner=owner, lease_until=now + ADMISSION, fence=Job.fence + 1)
            .returning(Job.fence)
        )
        fence = session.execute(statement).scalar()
    return None if fence is None else JobLease(owner, fence)


def release_job(db: Database, job_id: str, lease: JobLease) -> None:
    """Give a queued job back untouched."""
    with db.write(news=False) as session:
        session.execute(
            update(Job)
            .where(Job.id == job_id, Job.lease_owner == lease.owner, Job.fence == lease.fence)
            .values(lease_owner=None, lease_until=None)
        )


def free(db: Database, table: type[Attempt] | type[Leader], now: datetime) -> ColumnElement[bool]:
    """Whether a lease may be taken: nobody has it, or its owner let it run out although it could renew it."""
    owner, until = (
        (table.owner, table.until) if issubclass(table, Leader) else (table.lease_owner, table.lease_until)
    )
    could_renew = db.sqlite or db.contact.seconds() >= LEASE.total_seconds()
    # Nobody has one for so long: a server's clock has been set back since it was taken.
    over = or_(until < now, until > now + 2 * LEASE)
    return or_(owner.is_(None), over if could_renew else false())


def take_attempts(
    db: Database, attempt_ids: Collection[str], owner: str, room: int
) -> dict[str, AttemptLease]:
    """Take those of *attempt_ids* that nobody holds and that have not ended, all in one statement.

    *room*: for how many. A command that runs needs none, also where the worker that had it is dead: one
    more than a worker wants is better than nobody.
    """
    with db.write(news=False) as session:
        now = db.now(session)
        rows = session.execute(
            select(Attempt.id, Attempt.state)
            .where(Attempt.id.in_(attempt_ids), Attempt.state != ENDED, free(db, Attempt, now))
            .order_by(Attempt.id)
            .with_for_update()
        ).all()
        running = [row.id for row in rows if row.state in STARTED]
        others = [row.id for row in rows if row.state not in STARTED]
        taken = running + others[: max(0, room - len(running))]
        if not taken:
            return {}
        statement = (
            update(Attempt)
            .where(Attempt.id.in_(taken))
            .values(lease_owner=owner, lease_until=now + LEASE, fence=Attempt.fence + 1)
            .returning(Attempt.id, Attempt.fence, Attempt.job_id)
        )
        return {row.id: AttemptLease(owner, row.fence, row.job_id) for row in session.execute(statement)}


def running(db: Database, attempt_ids: Collection[str]) -> set[str]:
    """Those whose command has been started, and of which something is still on its machine."""
    with db.read() as session:
        found = select(Attempt.id).where(Attempt.id.in_(attempt_ids), Attempt.state.in_(STARTED))
        return set(session.execute(found).scalars())


def release_attempts(db: Database, owner: str, attempt_ids: Collection[str] | None = None) -> None:
    """Give attempts back (all of *owner* where none are named): another worker may take them at once."""
    with db.write() as session:
        held = Attempt.lease_owner == owner
        if attempt_ids is not None:
            held &= Attempt.id.in_(attempt_ids)
        _release_attempts(session, held)


def _release_attempts(session: Session, held: ColumnElement[bool]) -> None:
    session.execute(
        update(Attempt).where(Attempt.id.in_(_in_order(held))).values(lease_owner=None, lease_until=None)
    )


def heartbeat(db: Database, owner: str, attempt_ids: Collection[str]) -> list[Held]:
    """Say that *owner* lives, renew what it attends to, in one statement, and hear what has become of it.

    Only of *attempt_ids* the leases are renewed: one that was forgotten, because a thread died or could not
    give it back, must run out although its owner lives.
    """
    with db.write(alone=False, news=False) as session:
        now = db.now(session)
        if attempt_ids:
            ours = Attempt.id.in_(attempt_ids) & (Attempt.lease_owner == owner) & (Attempt.state != ENDED)
            session.execute(
                update(Attempt).where(Attempt.id.in_(_in_order(ours))).values(lease_until=now + LEASE)
            )
        session.execute(update(Worker).where(Worker.id == owner).values(heartbeat_at=now))
        found = _held(session, owner)
    db.contact.made()
    return found


def _in_order(condition: ColumnElement[bool]) -> Select[Any]:
    """The attempts, locked in the order in which a log's writer locks them: neither waits for the other."""
    return select(Attempt.id).where(condition).order_by(Attempt.id).with_for_update()


def held(db: Database, owner: str) -> list[Held]:
    """What a heartbeat would hear, without renewing anything."""
    with db.read() as session:
        return _held(session, owner)


def _held(session: Session, owner: str) -> list[Held]:
    rows = session.execute(
        select(
            Attempt.id,
            Attempt.fence,
            Attempt.state,
            Job.cancel_requested_at,
            Attempt.deadline_at,
            Attempt.deadline_cause,
            Attempt.outputs_until,
            Job.grace,
            Instance.expires_at,
        )
        .join(Job, Job.id == Attempt.job_id)
        .outerjoin(Instance, Instance.attempt_id == Attempt.id)
        .where(Attempt.lease_owner == owner)
    )
    return [Held(r[0], r[1], r[2], r[3] is not None, r[4], r[5], r[6], r[7], r[8]) for r in rows]


def lead(db: Database, owner: str) -> Lead | None:
    """Take or renew the lead; None where another observer has it."""
    with db.read() as session:
        # Nothing is written while much of it is left: a write is a sync of the disk.
        row = session.execute(select(Leader.owner, Leader.until, Leader.fence).where(Leader.id == 1)).one()
        left = None if row.until is None else row.until - db.now(session)
        if row.owner == owner and left is not None and LEASE * 2 / 3 < left <= LEASE:
            return Lead(owner, row.fence)
    with db.write(alone=False, news=False) as session:
        now = db.now(session)
        renewed = session.execute(
            update(Leader)
            .where(Leader.id == 1, Leader.owner == owner)
            .values(until=now + LEASE)
            .returning(Leader.fence)
        ).scalar()
        if renewed is not None:
            return Lead(owner, renewed)
        fence = session.execute(
            update(Leader)
            .where(Leader.id == 1, free(db, Leader, now))
            .values(owner=owner, until=now + LEASE, fence=Leader.fence + 1)
            .returning(Leader.fence)
        ).scalar()
    return None if fence is None else Lead(owner, fence)


def next_end(db: Database, owner: str) -> float | None:
    """In how many seconds the first lease of another worker is over, if not renewed; None: none is held."""
    with db.read() as session:
        attempts = select(func.min(Attempt.lease_until)).where(
            Attempt.lease_owner != owner, Attempt.state.in_((State.BOOTING, *STARTED))
        )
        leader = select(func.min(Leader.until)).where(Leader.owner != owner)
        ends = [session.execute(query).scalar() for query in (attempts, leader)]
        known = [end for end in ends if end is not None]
        return (min(known) - db.now(session)).total_seconds() if known else None


def release_lead(db: Database, owner: str) -> None:
    """Give up the lead: another observer may take it at once."""
    with db.write() as session:
        _release_lead(session, owner)


def _release_lead(session: Session, owner: str) -> None:
    session.execute(update(Leader).where(Leader.owner == owner).values(owner=None, until=None))


def leave(db: Database, owner: str) -> None:
    """Give up the lead and all leases of *owner*, and sign off."""
    with db.write() as session:
        _release_lead(session, owner)
        _release_attempts(session, Attempt.lease_owner == owner)
        session.execute(
            update(Job).where(Job.lease_owner == owner).values(lease_owner=None, lease_until=None)
        )
        session.execute(delete(Worker).where(Worker.id == owner))


def bury_the_dead(db: Database) -> None:
    """Take every lease back at once: only for who knows, by the service's lock, that no owner lives."""
    with db.write() as session:
        for table in (Attempt, Job):
            session.execute(
                update(table)
                .where(table.lease_owner.is_not(None))
                .values(lease_owner=None, lease_until=None, fence=table.fence + 1)
            )
        session.execute(
            update(Leader)
            .where(Leader.owner.is_not(None))
            .values(owner=None, until=None, fence=Leader.fence + 1)
        )
        session.execute(delete(Worker))
        # A terminate that the dead had under way is nobody's now; its machine is billed until it is repeated.
        session.execute(
            update(Instance)
            .where(Instance.state == "doomed", Instance.terminate_accepted_at.is_(None))
            .values(terminate_next_at=None)
        )


@dataclass(frozen=True)
class Process:
    """What the others see of a worker's process. ``version``: of its code."""

    host: str
    pid: int
    version: str


def sign_on(db: Database, owner: str, process: Process, seats: int) -> None:
    """Tell the others that this worker lives."""
    with db.write() as session:
        add_worker(session, db.now(session), owner, process, seats)


def add_worker(session: Session, now: datetime, owner: str, process: Process, seats: int) -> None:
    """The row of a worker that lives from now on; those of workers that are long dead go."""
    session.execute(delete(Worker).where(Worker.heartbeat_at < now - FORGOTTEN))
    session.add(
        Worker(
            id=owner,
            host=process.host,
            pid=process.pid,
            version=process.version,
            seats=seats,
            started_at=now,
            heartbeat_at=now,
            note=None,
            code=CODE,
        )
    )


def note(db: Database, owner: str, text: str | None) -> None:
    """Say for people what this worker cannot do at present; None: all is well."""
    with db.write(alone=False) as session:
        session.execute(update(Worker).where(Worker.id == owner).values(note=text))


def alive(now: datetime) -> ColumnElement[bool]:
    """Whether a worker has been heard of lately."""
    return Worker.heartbeat_at > now - WORKER_LOST


def workers(db: Database) -> list[WorkerView]:
    """The workers that have been heard of lately, the oldest first."""
    with db.read() as session:
        leader = session.execute(select(Leader.owner)).scalar()
        rows = session.execute(
            select(Worker).where(alive(db.now(session))).order_by(Worker.started_at)
        ).scalars()
        busy: dict[str | None, int] = {
            row[0]: row[1]
            for row in session.execute(
                select(Attempt.lease_owner, func.count())
                .where(Attempt.lease_owner.is_not(None), Attempt.state != ENDED)
                .group_by(Attempt.lease_owner)
            )
        }
        return [
            WorkerView(
                id=row.id,
                host=row.host,
                pid=row.pid,
                version=row.version,
                seats=row.seats,
                busy=busy.get(row.id, 0),
                leads=row.id == leader,
                started_at=row.started_at,
                heartbeat_at=row.heartbeat_at,
                note=row.note,
            )
            for row in rows
        ]


def seats(session: Session, now: datetime) -> int:
    """How many attempts the living workers can attend to."""
    total = session.execute(select(func.coalesce(func.sum(Worker.seats), 0)).where(alive(now))).scalar_one()
    return int(total)


def upsert(session: Session, table: type, values: dict[str, object], key: str) -> None:
    """Insert a row, or overwrite the one that has the same *key*, in both databases."""
    if session.get_bind().dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        statement = postgresql.insert(table).values(**values)
    else:
        from sqlalchemy.dialects import sqlite

        statement = sqlite.insert(table).values(**values)  # type: ignore[assignment]
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[key], set_={name: statement.excluded[name] for name in values if name != key}
        )
    )
