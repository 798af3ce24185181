"""What is known of the guard on an attempt's machine, with which the machine ends itself before its expiry.

A note is a JSON object: ``at``, when the machine ends itself; ``why_not``, why it does not or may not;
``told``, whether the token may have reached it, which is written before it is sent.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select

from jobs import money
from jobs.models import Instance
from jobs.store.attempts import Work, write
from jobs.store.database import Database
from jobs.store.transitions import AttemptLease

UNANSWERED = "it was told to, and its answer is not known"


def due(db: Database, work: Work) -> tuple[datetime, float]:
    """When the machine is to end itself, and in how many seconds that is.

    Before it expires, so that its bill keeps to the ceiling; by its row as it is now, which may say an
    earlier time than its name.
    """
    with db.read() as session:
        query = select(Instance.expires_at).where(Instance.attempt_id == work.attempt_id)
        at = session.execute(query).scalar_one() - timedelta(seconds=money.GUARD_SECONDS)
        return at, (at - db.now(session)).total_seconds()


def telling(db: Database, work: Work, lease: AttemptLease) -> None:
    """The token is about to be sent; what an earlier holder achieved stands until there is an answer."""
    if work.told:
        return
    note = {"at": None, "why_not": UNANSWERED, **(work.guard or {}), "told": True}
    with db.write() as session:
        write(session, work, lease, None, guard=note)


def armed(db: Database, work: Work, lease: AttemptLease, at: datetime) -> None:
    """The machine ends itself then. Where that is known, as to most who take over, nothing is written."""
    if (work.guard or {}).get("at") == at.isoformat():
        return
    with db.write() as session:
        write(session, work, lease, None, guard={"at": at.isoformat(), "why_not": None, "told": True})


def unarmed(db: Database, work: Work, lease: AttemptLease, why_not: str, *, told: bool) -> None:
    """The machine has no guard, as far as is known."""
    with db.write() as session:
        write(session, work, lease, None, guard={"at": None, "why_not": why_not, "told": told})
