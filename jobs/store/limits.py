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

TERMINATE = 0
WIDER = 1.025
"""How much further apart turns are than the rate says: a minute must not hold more than it may, either, where
requests fall into it that were held up before it, by half a second on a busy computer."""
BOOK_AHEAD = (8, 4, 1, 0)
"""How many turns ahead of now a call may book, in the order terminate, list, deploy, rest."""

BLOCKED = "blocked:"
QUOTA = "quota"
"""The account's own limit was reached: another machine is refused, whichever job it is for."""
CALLS = "calls"
"""The API asked for silence, of the whole account."""
LONGEST_SILENCE = timedelta(minutes=1)


def stock(product: str) -> str:
    """What is blocked where a product is out of stock."""
    return f"stock:{product}"


def between_turns(a_second: int = A_SECOND) -> timedelta:
    """How far apart the turns of *a_second* are."""
    return timedelta(seconds=WIDER) / a_second


def take_ticket(db: Database, priority: int, a_second: int = A_SECOND) -> tuple[bool, float]:
    """Try for a turn, of which there are *a_second*; while the API wants silence, only for a terminate.

    Returns (True, seconds until it) or (False, seconds until a try makes sense).
    """
    interval = between_turns(a_second)
    ahead = interval * BOOK_AHEAD[min(priority, len(BOOK_AHEAD) - 1)]
    with db.write(alone=False, news=False) as session:
        next_at = session.execute(select(Ticket.next_at).where(Ticket.id == 1).with_for_update()).scalar_one()
        now = db.now(session)  # after the row could be had
        silence = blocked_until(session, now, CALLS)
        if silence is not None and priority > TERMINATE:
            return False, (silence - now).total_seconds()
        if next_at - now > interval * (BOOK_AHEAD[0] + 1):
            next_at = now  # nobody books so far ahead: a clock was set back
        turn = max(next_at, now)  # a quiet second is not saved up
        if turn - now > ahead:
            return False, (turn - now - ahead).total_seconds()
        session.execute(update(Ticket).where(Ticket.id == 1).values(next_at=turn + interval))
        return True, (turn - now).total_seconds()


def silence(db: Database, seconds: float) -> None:
    """The API asked all of us to be quiet for *seconds*; for no longer than LONGEST_SILENCE."""
    with db.write(alone=False, news=False) as session:
        now = db.now(session)
        until = now + min(timedelta(seconds=seconds), LONGEST_SILENCE)
        block(session, now, CALLS, max(until, blocked_until(session, now, CALLS) or until))


def remember(db: Database, key: str, value: dict[str, Any]) -> None:
    """Keep what the API said."""
    with db.write(alone=False, news=False) as session:
        keep(session, db.now(session), key, value)


def keep(session: Session, now: datetime, key: str, value: dict[str, Any]) -> None:
    """The same, in a transaction with something else."""
    upsert(session, Fact, {"key": key, "value": value, "at": now}, "key")


def recall(db: Database, key: str) -> tuple[dict[str, Any], timedelta] | None:
    """What the API said, and how long ago; None where it was never asked."""
    with db.read() as session:
        fact = session.get(Fact, key)
        # A fact from the future was kept under a clock that has been set back: as old as it is far away.
        return None if fact is None else (fact.value, abs(db.now(session) - fact.at))


def forget(db: Database, prefix: str) -> None:
    """Drop all that is kept under keys that begin with *prefix*."""
    with db.write(alone=False, news=False) as session:
        session.execute(delete(Fact).where(Fact.key.startswith(prefix, autoescape=True)))


def blocked_until(session: Session, now: datetime, what: str) -> datetime | None:
    """Until when it makes no sense to try *what* again; None: it may be tried now."""
    fact = session.get(Fact, f"{BLOCKED}{what}")
    return None if fact is None else _still(fact, now)


def block(session: Session, now: datetime, what: str, until: datetime) -> None:
    """Spare every worker the same refusal for a while."""
    value = {"until": until.isoformat()}
    upsert(session, Fact, {"key": f"{BLOCKED}{what}", "value": value, "at": now}, "key")


def out_of_stock(session: Session, now: datetime) -> list[str]:
    """The products that need not be asked for at present."""
    prefix = f"{BLOCKED}{stock('')}"
    facts = session.execute(select(Fact).where(Fact.key.startswith(prefix, autoescape=True))).scalars()
    return [fact.key.removeprefix(prefix) for fact in facts if _still(fact, now)]


def _still(fact: Fact, now: datetime) -> datetime | None:
    until = datetime.fromisoformat(fact.value["until"])
    # What was written under a clock that has been set back since says nothing of today.
    return until if fact.at <= now < until else None
