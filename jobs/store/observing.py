"""What the observer that leads writes: the difference between the account's listing and our rows.

Everything is written under the leader's fence. The listing was asked for before our rows are read here,
so a row that is younger than the listing is never taken for a missing machine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from jobs.models import Instance
from jobs.store import sightings
from jobs.store.database import Database
from jobs.store.sightings import RENTED, Findings, Listed, Look, Sighting
from jobs.store.transitions import Lead, Stale, confirm_lead

log = logging.getLogger(__name__)

__all__ = ["Findings", "Listed", "Sighting", "apply", "proved_alive", "proved_gone"]


def apply(
    db: Database,
    lead: Lead,
    listed: Listed,
    *,
    fleet: str,
    quarantine: timedelta,
    first_seen: Mapping[str, datetime],
) -> Findings:
    """Write what a listing says. ``first_seen``: since when the leader knows each uuid.

    Raises Stale where the caller does not lead any more.
    """
    rules = _Rules(lead, listed, fleet, quarantine, first_seen)
    with db.write(news=False) as session:
        confirm_lead(session, lead)
        try:
            with session.begin_nested():
                return _judge(session, db.now(session), rules, _all_together)
        except Stale:
            raise
        except Exception as error:
            if isinstance(error, DBAPIError) and not isinstance(error, IntegrityError | DataError):
                raise  # the database as a whole
            log.info("the listing makes no sense as a whole, and is written machine by machine: %s", error)
        session.expunge_all()  # what was judged is gone with the savepoint
        return _judge(session, db.now(session), rules, _one)


@dataclass(frozen=True)
class _Rules:
    """What a listing is judged by."""

    lead: Lead
    listed: Listed
    fleet: str
    quarantine: timedelta
    first_seen: Mapping[str, datetime]


def _judge(session: Session, now: datetime, rules: _Rules, part: _Part) -> Findings:
    """Compare all rows with the listing. *part* is entered for what concerns one machine."""
    look, listed = Look(session, now, rules.lead), rules.listed
    by_uuid = {sighting.uuid: sighting for sighting in listed.sightings}
    by_name: dict[str, Sighting] = {}
    for sighting in sorted(listed.sightings, key=lambda sighting: sighting.over):
        by_name.setdefault(sighting.name, sighting)
    rows = _watched(session, by_uuid, by_name)
    look.load_attempts(rows)
    proves = listed.complete and not _suspicious(rows, by_uuid)
    claimed: set[str] = set()
    doubted: list[tuple[datetime, int, str]] = []
    for row in rows:
        found = by_uuid.get(row.uuid) if row.uuid is not None else by_name.get(row.name)
        with part(session, row.name):
            if found is not None and found.uuid not in claimed:
                claimed.add(found.uuid)
                sightings.seen(look, row, found)
            elif row.uuid is None:
                sightings.never_seen(look, row, listed, rules.quarantine, proves=proves)
            elif sightings.unseen(look, row, listed, proves=proves):
                doubted.append((row.seen_at or row.requested_at or look.now, row.id, row.uuid))
    look.findings.doubted = [(id_, uuid) for _, id_, uuid in sorted(doubted)]
    for sighting in listed.sightings:
        if sighting.uuid not in claimed and not sighting.over:
            since = rules.first_seen.get(sighting.uuid, look.now)
            with part(session, sighting.name):
                sightings.unclaimed(look, sighting, listed, rules.fleet, since)
    return look.findings


_Part = Callable[[Session, str], AbstractContextManager[None]]


def _all_together(session: Session, name: str) -> AbstractContextManager[None]:
    """No part of its own: a savepoint and an update for each of hundreds of machines is most of the work."""
    return nullcontext()


@contextmanager
def _one(session: Session, name: str) -> Iterator[None]:
    """A part of the transaction for one machine: what is wrong with it must not hide all the others."""
    try:
        with session.begin_nested():
            yield
    except Stale:
        raise
    except DBAPIError as error:
        if not isinstance(error, IntegrityError | DataError):
            raise  # the database as a whole
        log.exception("what the account shows of machine %s makes no sense to the database", name)
    except Exception:
        log.exception("what the account shows of machine %s cannot be written; the others are", name)


def proved_gone(db: Database, lead: Lead, instance_id: int, proof: str) -> None:
    """A question by uuid has shown that this machine is gone."""
    with db.write() as session:
        confirm_lead(session, lead)
        row = session.get(Instance, instance_id)
        if row is not None and row.state in RENTED:
            look = Look(session, db.now(session), lead)
            look.load_attempts([row])
            sightings.gone(look, row, proof)
            session.flush()


def proved_alive(db: Database, lead: Lead, instance_id: int, sight: Sighting) -> None:
    """A question by uuid has shown this machine, whatever the listing said."""
    with db.write() as session:
        confirm_lead(session, lead)
        row = session.get(Instance, instance_id)
        if row is not None:
            look = Look(session, db.now(session), lead)
            look.load_attempts([row])
            sightings.seen(look, row, sight)
            session.flush()


def _watched(
    session: Session, by_uuid: Mapping[str, Sighting], by_name: Mapping[str, Sighting]
) -> Sequence[Instance]:
    held = Instance.state.in_(("intended", "unknown", *RENTED))
    turned_up = (Instance.state == "absent") & Instance.name.in_(list(by_name))
    gone_but_listed = (Instance.state == "gone") & Instance.uuid.in_(list(by_uuid))
    # Rows that know their uuid first, so that they claim it before one that knows only the name.
    query = (
        select(Instance)
        .where(or_(held, turned_up, gone_but_listed))
        .order_by(Instance.uuid.is_(None), Instance.attempt_id, Instance.id)
    )
    return session.execute(query).scalars().all()


def _suspicious(rows: Sequence[Instance], by_uuid: Mapping[str, Sighting]) -> bool:
    """Whether a listing lacks more than half of the machines that should be there: then it proves nothing."""
    expected = [
        row.uuid
        for row in rows
        if row.state in RENTED and row.seen_at is not None and row.terminate_accepted_at is None
    ]
    return 2 * sum(uuid not in by_uuid for uuid in expected) > len(expected)
