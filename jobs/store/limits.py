"""What all workers share about the API: its few requests a second, and what it said lately.

The tickets are one row: the moment at which the next call may begin. Who is urgent may book ahead of
now, who is not must find the row near it; so a share is always left for terminate and list, however
many deploys wait.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from jobs.models import Fact, Ticket
from jobs.store.database import Database
from jobs.store.leases import upsert

A_SECOND = 2
"""Requests: clients of the live service that stay at it are not refused."""

BOOK_AHEAD = (8, 4, 1, 0)
"""How many turns ahead of now a call may book, in the order terminate, list, deploy, rest."""


def take_ticket(db: Database, priority: int, a_second: int = A_SECOND) -> tuple[bool, float]:
    """Try for a turn, of which there are *a_second*.

    Returns (True, seconds until it) or (False, seconds until a try makes sense).
    """
    interval = timedelta(seconds=1) / a_second
    ahead = interval * BOOK_AHEAD[min(priority, len(BOOK_AHEAD) - 1)]
    with db.write() as session:
        now = db.now(session)
        next_at = session.execute(select(Ticket.next_at).where(Ticket.id == 1).with_for_update()).scalar_one()
        if next_at - now > interval * (BOOK_AHEAD[0] + 1):
            next_at = now  # nobody books so far ahead: a clock was set back
        turn = max(next_at, now)  # a quiet second is not saved up
        if turn - now > ahead:
            return False, (turn - now - ahead).total_seconds()
        session.execute(update(Ticket).where(Ticket.id == 1).values(next_at=turn + interval))
        return True, (turn - now).total_seconds()


def remember(db: Database, key: str, value: dict[str, Any]) -> None:
    """Keep what the API said."""
    with db.write() as session:
        upsert(session, Fact, {"key": key, "value": value, "at": db.now(session)}, "key")


def recall(db: Database, key: str) -> tuple[dict[str, Any], timedelta] | None:
    """What the API said, and how long ago; None where it was never asked."""
    with db.read() as session:
        fact = session.get(Fact, key)
        # A fact from the future was kept under a clock that has been set back: as old as it is far away.
        return None if fact is None else (fact.value, abs(db.now(session) - fact.at))


def forget(db: Database, prefix: str) -> None:
    """Drop all that is kept under keys that begin with *prefix*."""
    with db.write() as session:
        session.execute(delete(Fact).where(Fact.key.startswith(prefix, autoescape=True)))


def out_of_stock_until(session: Session, product: str) -> datetime | None:
    """Until when it makes no sense to ask for *product* again."""
    fact = session.get(Fact, f"stock:{product}")
    return None if fact is None else datetime.fromisoformat(fact.value["until"])


def set_out_of_stock(session: Session, now: datetime, product: str, until: datetime) -> None:
    """Spare every worker the same refusal for a while."""
    upsert(
        session, Fact, {"key": f"stock:{product}", "value": {"until": until.isoformat()}, "at": now}, "key"
    )
