"""The end of machines: marked as doomed once and for ever, terminated until it succeeds, then gone.

``doomed`` is a one-way mark. Only doomed instances are terminated, and a terminate is repeated with
backoff for ever: nothing here gives up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session

from jobs import meter, money
from jobs.backoff import doubling
from jobs.models import Instance
from jobs.store.admission import HOLDING
from jobs.store.database import Database

ASKING_SECONDS = 30.0
"""How long one process has a terminate to itself before another one may repeat it."""

HURRIED_SECONDS = 5.0
"""The same, and the longest pause after a failure, while a machine's ceiling can still be held."""

LAG = timedelta(seconds=90)
"""How far the listing may be behind what happened."""

DOOMABLE = ("live", "warm")


@dataclass(frozen=True)
class Doomed:
    """A machine to be terminated."""

    id: int
    uuid: str
    name: str


def of_attempt(session: Session, now: datetime, attempt_id: str, why: str) -> None:
    """Mark the machine of an attempt; one of which nothing is known yet is marked when it is found."""
    session.execute(
        update(Instance)
        .where(Instance.attempt_id == attempt_id, Instance.state.in_(DOOMABLE))
        .values(state="doomed", doomed_at=now, doomed_why=why, terminate_next_at=now)
    )


def due(db: Database, limit: int = 100) -> list[Doomed]:
    """Take what is to be terminated now; whoever calls meanwhile gets the others."""
    with db.write(news=False) as session:
        now = db.now(session)
        rows = session.execute(
            select(Instance)
            .where(_due(now))
            .order_by(Instance.terminate_next_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        ).scalars()
        found = []
        for row in rows:
            found.append(Doomed(row.id, row.uuid or "", row.name))
            row.terminate_tries += 1
            row.terminate_next_at = _again(row, now, ASKING_SECONDS)
        session.flush()
    return found


def accepted(db: Database, uuids: Sequence[str]) -> None:
    """The API acknowledged the end of these machines: their meters stop."""
    with db.write() as session:
        now = db.now(session)
        query = select(Instance).where(Instance.uuid.in_(uuids), Instance.state == "doomed")
        for row in session.execute(query.with_for_update()).scalars():
            if row.terminate_accepted_at is None or meter.lived_on(row):
                row.terminate_accepted_at = now
            row.terminate_error = None
            row.terminate_next_at = now + LAG
        session.flush()


def refused(db: Database, uuids: Sequence[str], error: str) -> None:
    """The terminate of these machines failed; each is repeated after the pause that its own tries want."""
    with db.write() as session:
        now = db.now(session)
        query = select(Instance).where(Instance.uuid.in_(uuids), Instance.state == "doomed")
        for row in session.execute(query.with_for_update()).scalars():
            row.terminate_error = error
            row.terminate_next_at = _again(row, now, doubling(1.0, 60.0, row.terminate_tries - 1))
        session.flush()


def any_due(session: Session, now: datetime) -> bool:
    """Whether a terminate waits to be sent."""
    found = session.execute(select(Instance.id).where(_due(now)).limit(1)).first()
    return found is not None


def _again(row: Instance, now: datetime, seconds: float) -> datetime:
    """When to ask for a machine's end once more: sooner while that may keep its bill within the ceiling."""
    last = row.expires_at - timedelta(seconds=money.GUARD_SECONDS)
    hurried = min(seconds, HURRIED_SECONDS)
    return min(now + timedelta(seconds=seconds), max(now + timedelta(seconds=hurried), last))


def _due(now: datetime) -> ColumnElement[bool]:
    """Never accepted yet; or accepted, and the machine is still listed long after that."""
    lives_on = (
        (Instance.terminate_accepted_at < now - LAG)
        & (Instance.seen_at > Instance.terminate_accepted_at)
        & Instance.missing_since.is_(None)
    )
    return (
        (Instance.state == "doomed")
        & or_(Instance.terminate_next_at.is_(None), Instance.terminate_next_at <= now)
        & or_(Instance.terminate_accepted_at.is_(None), lives_on)
    )


def instances(db: Database) -> list[Instance]:
    """All instances that are, or may be, on the account."""
    with db.read() as session:
        return list(
            session.execute(
                select(Instance).where(Instance.state.in_(HOLDING)).order_by(Instance.id)
            ).scalars()
        )


def by_uuid(db: Database) -> dict[str | None, Instance]:
    """The same, each by its uuid, as far as that is known."""
    return {row.uuid: row for row in instances(db)}


def any_rented(session: Session) -> bool:
    """Whether any instance is, or may be, on the account."""
    found = session.execute(select(Instance.id).where(Instance.state.in_(HOLDING)).limit(1)).first()
    return found is not None
