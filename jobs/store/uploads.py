"""Folders on their way into the artifact store, and the end of what they leave where nothing comes of it.

An upload has a row before its first piece is written, and is settled in the transaction of the jobs that
name its tree. One whose process died leaves pieces that nobody names. They are removed, and an upload skips
what is stored already: so the two must exclude each other, also where one stands still for a day in between.

What is to be removed is *condemned* first: a row that names it, in a transaction that has found no job that
does. An upload that begins later knows what is condemned, and neither uses nor writes anything under such a
name. One that had begun before is refused when its jobs are to be queued, and done again. Only what is
condemned is removed, at any later time, by anybody, as often as it takes. So no clock decides what a job
loses, but for one: when the row of what was removed is purged (``effects.KEEP``), its name may come into use
again, and who was about to remove it and has stood still for so long would remove it then.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, case, exists, func, insert, select, tuple_, update
from sqlalchemy.orm import Session

from jobs.errors import UploadOver
from jobs.models import Effect, Job
from jobs.spec import Begun
from jobs.store import effects
from jobs.store.database import Database
from jobs.store.effects import REMOVAL, UPLOAD
from jobs.store.schema import installation_id
from jobs.store.transitions import Lead, confirm_lead

AGE = timedelta(days=1)
"""How old, by the store's own times, an object must be in the eyes of the database's clock to be removed."""
SLACK = timedelta(hours=2)
"""How far apart these clocks may be, and how much earlier than its last object a sign of life."""
DEAD_AFTER = AGE + SLACK
"""How long an upload may give no sign of life. All that it wrote is older than a day by then."""
SIGN_SECONDS = 60.0
"""How often an upload gives one."""
FORSAKEN = timedelta(days=2)
"""What a dead upload left should be gone by then, where anybody serves this database."""


@dataclass(frozen=True)
class Upload:
    """One that may write. ``place``: where what it stores goes; ``condemned``: names not to be used."""

    begun: Begun
    place: str
    condemned: frozenset[str] = field(default=frozenset(), repr=False)


@dataclass(frozen=True)
class Dead:
    """Uploads that come to nothing any more. ``before``: what was written by then is of none that lives."""

    ids: list[int]
    before: datetime


@dataclass(frozen=True)
class Named:
    """The tree of a folder of jobs. ``final``: all of them are."""

    key: str
    jobs: int
    final: bool


def place_of(installation: str) -> str:
    """Where in the store the folders of one installation are; several may share a store."""
    return f"workdirs/{installation}/"


def begin(db: Database) -> Upload:
    """Write down that folders are about to be stored."""
    with db.write(news=False) as session:
        now, place = db.now(session), place_of(installation_id(session))
        begun = Begun(effects.begin(session, UPLOAD, place, now), now)
    # What was condemned before it began is there by now, for that has its turn alone as well; what is
    # condemned from now on refuses it. So nobody waits while there is much to be read.
    with db.read() as session:
        condemned = session.execute(select(Effect.subject).where(Effect.kind == REMOVAL)).scalars()
        return Upload(begun, place, frozenset(condemned))


def sign(db: Database, upload: Begun) -> None:
    """It is still under way. Raises UploadOver where it was given up."""
    with db.write(alone=False, news=False) as session:
        known = session.execute(
            update(Effect).where(_open([upload])).values(seen_at=db.now(session)).returning(Effect.id)
        ).scalar()
    if known is None:
        raise UploadOver


def settle(session: Session, now: datetime, uploads: Collection[Begun]) -> None:
    """In the transaction, alone, of the jobs that name what these uploads stored.

    Raises UploadOver where something was condemned meanwhile: it may be what they found in the store.
    """
    if not uploads:
        return
    later = exists().where(Effect.kind == REMOVAL, Effect.id > min(upload.id for upload in uploads))
    ids = list(session.execute(select(Effect.id).where(_open(uploads))).scalars())
    if session.execute(select(later)).scalar() or len(ids) != len(uploads):
        raise UploadOver
    effects.settle(session, now, ids, "named")


def dead(db: Database, limit: int = 1000) -> Dead:
    """What may be swept up after now: *limit* uploads at most."""
    with db.read() as session:
        before = _before(session, db.now(session))
        return Dead(
            list(session.execute(select(Effect.id).where(_dead(before)).limit(limit)).scalars()), before
        )


def forsaken(db: Database) -> tuple[int, str | None]:
    """How many uploads should have been swept up after and were not; who did the first one."""
    with db.read() as session:
        now = db.now(session)
        old = _dead(_before(session, now)) & (Effect.seen_at < now - FORSAKEN)
        number = session.execute(select(func.count()).where(old)).scalar_one()
        who = session.execute(select(Effect.who).where(old).order_by(Effect.id).limit(1)).scalar()
        return number, who


def named(db: Database) -> tuple[str, list[Named]]:
    """The place of this installation, and the trees there that jobs name."""
    with db.read() as session:
        place = place_of(installation_id(session))
        return place, _named(session, place)


def condemn(
    db: Database,
    lead: Lead,
    keys: Sequence[str],
    read: Collection[str],
    absent: Collection[Named],
    dead_ids: Sequence[int],
) -> bool:
    """Have these objects removed, of which no tree in *read* has any; the dead uploads are settled with it.

    False, with nothing done, where a job names another tree. Of one that was *absent* from the store and of
    final jobs only, no other job may have come: it would have been stored again for that one. Raises Stale.
    """
    with db.write(news=False) as session:
        confirm_lead(session, lead)
        now = db.now(session)
        for tree in _named(session, place_of(installation_id(session))):
            if tree.key not in read and tree not in absent:
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


def _open(uploads: Collection[Begun]) -> ColumnElement[bool]:
    those = tuple_(Effect.id, Effect.began_at).in_([(upload.id, upload.at) for upload in uploads])
    return effects.unsettled(UPLOAD) & those


def _before(session: Session, now: datetime) -> datetime:
    """Until when what may be removed was written: an upload may take days, and needs its first pieces."""
    lives = effects.unsettled(UPLOAD) & (Effect.seen_at >= now - DEAD_AFTER)
    began = session.execute(select(func.min(Effect.began_at)).where(lives)).scalar()
    return now - AGE if began is None else min(now - AGE, began - SLACK)


def _dead(before: datetime) -> ColumnElement[bool]:
    """Of which all that they wrote was written before that, so that one look finds it."""
    return effects.unsettled(UPLOAD) & (Effect.seen_at < before - SLACK)


def _named(session: Session, place: str) -> list[Named]:
    goes_on = func.max(case((Job.finished_at.is_(None), 1), else_=0))
    here = Job.workdir.startswith(place, autoescape=True)
    rows = session.execute(select(Job.workdir, func.count(), goes_on).where(here).group_by(Job.workdir))
    return [Named(row[0] or "", row[1], final=not row[2]) for row in rows]
