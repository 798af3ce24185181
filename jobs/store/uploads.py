"""Folders on their way into the artifact store, and the end of what they leave where nothing comes of it.

An upload has a row before its first piece is written, and is settled in the transaction of the jobs that
name its tree. One whose process died leaves pieces that nobody names. They are removed, and an upload skips
what is stored already: so the two must exclude each other, also where one stands still for a day in between.

What is to be removed is *condemned* first: a row that names it, in a transaction that has found no job that
does. An upload that begins later knows what is condemned, and neither uses nor writes anything under such a
name. One that had begun before is refused when its jobs are to be queued, and done again. Only what is
condemned is removed, at any later time, by anybody, as often as it takes. No clock decides any of this.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, case, exists, func, insert, select, update
from sqlalchemy.orm import Session

from jobs.errors import UploadOver
from jobs.models import Effect, Job
from jobs.store import effects
from jobs.store.database import Database
from jobs.store.effects import REMOVAL, UPLOAD
from jobs.store.schema import installation_id
from jobs.store.transitions import Lead, confirm_lead

DEAD_AFTER = timedelta(hours=26)
"""How long an upload may give no sign of life. All that it wrote is older than a day by then."""
SIGN_SECONDS = 60.0
"""How often an upload gives one."""
FORSAKEN = timedelta(days=2)
"""What a dead upload left should be gone by then, where anybody serves this database."""


@dataclass(frozen=True)
class Upload:
    """One that may write. ``place``: where what it stores goes; ``condemned``: names not to be used."""

    id: int
    place: str
    condemned: frozenset[str] = field(default=frozenset(), repr=False)


@dataclass(frozen=True)
class Named:
    """The tree of a job's folder. ``final``: all jobs that name it are."""

    key: str
    final: bool


def place_of(installation: str) -> str:
    """Where in the store the folders of one installation are; several may share a store."""
    return f"workdirs/{installation}/"


def begin(db: Database) -> Upload:
    """Write down that folders are about to be stored."""
    with db.write(news=False) as session:
        place = place_of(installation_id(session))
        upload_id = effects.begin(session, UPLOAD, place, db.now(session))
        condemned = session.execute(select(Effect.subject).where(Effect.kind == REMOVAL)).scalars()
        return Upload(upload_id, place, frozenset(condemned))


def sign(db: Database, upload_id: int) -> None:
    """It is still under way. Raises UploadOver where it was given up."""
    with db.write(alone=False, news=False) as session:
        known = session.execute(
            update(Effect)
            .where(Effect.id == upload_id, effects.unsettled(UPLOAD))
            .values(seen_at=db.now(session))
            .returning(Effect.id)
        ).scalar()
    if known is None:
        raise UploadOver


def settle(session: Session, now: datetime, ids: Collection[int]) -> None:
    """In the transaction, alone, of the jobs that name what these uploads stored.

    Raises UploadOver where something was condemned meanwhile: it may be what they found in the store.
    """
    if not ids:
        return
    later = exists().where(Effect.kind == REMOVAL, Effect.id > min(ids))
    if session.execute(select(later)).scalar() or effects.settle(session, now, list(ids), "named") != len(
        ids
    ):
        raise UploadOver


def dead(db: Database, limit: int = 1000) -> list[int]:
    """The uploads, *limit* at most, that will come to nothing any more."""
    with db.read() as session:
        return list(session.execute(select(Effect.id).where(_dead(db.now(session))).limit(limit)).scalars())


def forsaken(db: Database) -> tuple[int, str | None]:
    """How many uploads should have been swept up after and were not; who did the first one."""
    with db.read() as session:
        old = _dead(db.now(session)) & (Effect.seen_at < db.now(session) - FORSAKEN)
        number = session.execute(select(func.count()).where(old)).scalar_one()
        who = session.execute(select(Effect.who).where(old).order_by(Effect.id).limit(1)).scalar()
        return number, who


def named(db: Database) -> tuple[str, list[Named]]:
    """The place of this installation, and the trees there that jobs name."""
    with db.read() as session:
        place = place_of(installation_id(session))
        goes_on = func.max(case((Job.finished_at.is_(None), 1), else_=0))
        rows = session.execute(select(Job.workdir, goes_on).where(_here(place)).group_by(Job.workdir))
        return place, [Named(row[0] or "", final=not row[1]) for row in rows]


def condemn(
    db: Database, lead: Lead, keys: Sequence[str], known: Collection[str], dead_ids: Sequence[int]
) -> bool:
    """Have these objects removed, of which no tree in *known* has any; the dead uploads are settled with it.

    False, with nothing done, where a job names a tree that is not in *known*. Raises Stale.
    """
    with db.write(news=False) as session:
        confirm_lead(session, lead)
        now, place = db.now(session), place_of(installation_id(session))
        if not set(session.execute(select(Job.workdir).where(_here(place)).distinct()).scalars()) <= set(
            known
        ):
            return False
        if keys:
            session.execute(insert(Effect), [effects.row(REMOVAL, key, now) for key in keys])
        effects.settle(session, now, dead_ids, "swept")
    return True


def condemned(db: Database, limit: int = 100) -> list[tuple[int, str]]:
    """What is to be removed now: the ids of the rows, and the names of the objects."""
    with db.read() as session:
        query = select(Effect.id, Effect.subject).where(effects.unsettled(REMOVAL)).order_by(Effect.id)
        return [(row.id, row.subject) for row in session.execute(query.limit(limit))]


def removed(db: Database, lead: Lead, ids: Sequence[int]) -> None:
    """These objects are gone. Raises Stale."""
    with db.write(news=False) as session:
        confirm_lead(session, lead)
        effects.settle(session, db.now(session), ids, "removed")


def _dead(now: datetime) -> ColumnElement[bool]:
    return effects.unsettled(UPLOAD) & (Effect.seen_at < now - DEAD_AFTER)


def _here(place: str) -> ColumnElement[bool]:
    return Job.workdir.startswith(place, autoescape=True)
