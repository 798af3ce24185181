"""The outbox: what RUNNER_NOTIFY_URL is to hear of, until it has heard.

A row is written in the transaction of what happened: of a final state by ``jobs.store.transitions``, of a
suspected leak here. So neither is lost where a process dies, and neither is told that did not happen. It is
sent at least once, always under the same id. A row that was taken is put off, so that nobody else sends it
meanwhile; whoever took it and died has only delayed it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from jobs import ids, meter
from jobs.backoff import doubling
from jobs.models import Instance, Notification
from jobs.store.database import Database
from jobs.store.transitions import Lead, confirm_lead

SENDING = timedelta(seconds=60)
"""How long one process has a notification to itself before another one may send it."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 3600.0
PATIENCE = timedelta(days=3)
"""How old a notification may become: the next failure after that is its last one."""
KEEP = timedelta(days=7)
"""How long what has come to its end is kept, for people who look."""
ABSENCE = timedelta(minutes=10)
"""How long the only worker with RUNNER_NOTIFY_URL may be away without what is to be told being given up."""
NO_URL = "RUNNER_NOTIFY_URL is not set"

_WAITING = Notification.sent_at.is_(None) & Notification.given_up_at.is_(None)


@dataclass(frozen=True)
class Taken:
    """A notification to be sent now. ``instance``: the name of the machine that does not end."""

    id: str
    event: str
    job_id: str | None
    instance: str | None
    created_at: datetime
    tries: int


@dataclass(frozen=True)
class Backlog:
    """How it stands, for people. ``given_up``: how many were tried in vain. ``error``: the last one's."""

    waiting: int
    oldest: datetime | None
    given_up: int
    error: str | None


def any_leak(session: Session, now: datetime) -> bool:
    """Whether a leak is suspected of which nobody was told."""
    return bool(_leaks(session, now, 1))


def leaks(db: Database, lead: Lead, limit: int = 100) -> int:
    """Have it told of each leak that is suspected, once per machine. Returns of how many."""
    with db.write() as session:
        confirm_lead(session, lead)
        now = db.now(session)
        rows = [
            {
                "id": ids.new_notification_id(),
                "event": "leak",
                "job_id": instance.job_id,
                "instance_id": instance.id,
                "created_at": now,
                "next_at": now,
                "tries": 0,
            }
            for instance in _leaks(session, now, limit)
        ]
        if rows:
            session.execute(insert(Notification), rows)
    return len(rows)


def any_due(session: Session, now: datetime) -> bool:
    """Whether a notification waits to be sent."""
    return session.execute(select(Notification.id).where(_due(now)).limit(1)).first() is not None


def take(db: Database) -> Taken | None:
    """Take the one that is due for longest; whoever calls meanwhile gets another one. None: none is."""
    with db.write() as session:
        now = db.now(session)
        row = session.execute(
            select(Notification)
            .where(_due(now))
            .order_by(Notification.next_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).scalar()
        if row is None:
            return None
        row.next_at, row.tries = now + SENDING, row.tries + 1
        session.flush()
        name = select(Instance.name).where(Instance.id == row.instance_id)
        instance = None if row.instance_id is None else session.execute(name).scalar_one()
        return Taken(row.id, row.event, row.job_id, instance, row.created_at, row.tries)


def sent(db: Database, taken: Taken) -> None:
    """It was taken in over there. That holds also where another process has it by now."""
    with db.write() as session:
        session.execute(
            update(Notification)
            .where(Notification.id == taken.id, _WAITING)
            .values(sent_at=db.now(session), error=None)
        )


def failed(db: Database, taken: Taken, error: str, *, for_good: bool = False) -> bool:
    """It could not be sent, and is tried again later; not where it is too old, or it failed *for_good*.

    Returns whether it was given up.
    """
    with db.write() as session:
        now = db.now(session)
        over = for_good or now - taken.created_at >= PATIENCE
        values = {"given_up_at": now} if over else {"next_at": now + pause(taken.tries)}
        session.execute(
            update(Notification)
            .where(Notification.id == taken.id, _WAITING, Notification.tries == taken.tries)
            .values(error=error, **values)
        )
    return over


def give_up(db: Database, lead: Lead) -> int:
    """Settle all that waits, since there is nobody to tell; who comes later gets no old news.

    On a server's database only what has waited for ABSENCE: who has the address may just be away.
    """
    absence = timedelta(0) if db.sqlite else ABSENCE
    with db.read() as session:
        old = Notification.created_at <= db.now(session) - absence
        if session.execute(select(Notification.id).where(_WAITING, old).limit(1)).first() is None:
            return 0
    with db.write() as session:
        confirm_lead(session, lead)
        now = db.now(session)
        settled = session.execute(
            update(Notification)
            .where(_WAITING, Notification.created_at <= now - absence)
            .values(given_up_at=now, error=func.coalesce(Notification.error, NO_URL))
            .returning(Notification.id)
        )
        return len(settled.all())


def purge(db: Database, lead: Lead, limit: int = 1000) -> int:
    """Forget what came to its end long ago, *limit* at most. Returns how many."""
    with db.write() as session:
        confirm_lead(session, lead)
        before = db.now(session) - KEEP
        # The row of a machine that still leaks is what keeps it from being told of once more.
        leaking = select(Instance.id).where(Instance.state == "doomed")
        old = (
            select(Notification.id)
            .where(
                or_(Notification.sent_at < before, Notification.given_up_at < before),
                or_(Notification.instance_id.is_(None), Notification.instance_id.not_in(leaking)),
            )
            .limit(limit)
        )
        found = list(session.execute(old).scalars())
        session.execute(delete(Notification).where(Notification.id.in_(found)))
    return len(found)


def backlog(db: Database) -> Backlog:
    """What waits, and what was tried in vain."""
    with db.read() as session:
        waiting, oldest = session.execute(
            select(func.count(), func.min(Notification.created_at)).where(_WAITING)
        ).one()
        in_vain = Notification.given_up_at.is_not(None) & (Notification.tries > 0)
        given_up = session.execute(select(func.count()).where(in_vain)).scalar_one()
        error = session.execute(
            select(Notification.error)
            .where(or_(_WAITING, in_vain), Notification.error.is_not(None))
            .order_by(Notification.created_at.desc())
            .limit(1)
        ).scalar()
        return Backlog(waiting, oldest, given_up, error)


def pause(tries: int) -> timedelta:
    """5 s doubling to an hour."""
    return timedelta(seconds=doubling(FIRST_PAUSE, LONGEST_PAUSE, tries - 1))


def _due(now: datetime) -> ColumnElement[bool]:
    return _WAITING & (Notification.next_at <= now)


def _leaks(session: Session, now: datetime, limit: int) -> Sequence[Instance]:
    """The machines that ``meter.leak_suspected`` is true for, and that have no row yet."""
    told = select(Notification.id).where(Notification.instance_id == Instance.id)
    query = (
        select(Instance)
        .where(Instance.state == "doomed", Instance.doomed_at < now - meter.LEAK_AFTER, ~told.exists())
        .order_by(Instance.id)
        .limit(limit)
    )
    return session.execute(query).scalars().all()
