"""Effects outside the database that no row of a job, an attempt or an instance stands for.

A row is written before the effect and settled after it, so that whoever comes after a process that died in
between knows what to look for. What is found out of an effect is the matter of whoever does it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from jobs.models import Effect
from jobs.store.database import Database
from jobs.store.transitions import Lead, confirm_lead

UPLOAD, ACCOUNT_KEY, REMOVAL = "upload", "account_key", "removal"
KEEP = timedelta(days=7)
"""How long what is settled is kept. For as long the name of what was removed is not used again."""


def unsettled(kind: str) -> ColumnElement[bool]:
    """Those of a kind of which it is not known yet what came of them."""
    return (Effect.kind == kind) & Effect.settled_at.is_(None)


def row(kind: str, subject: str, now: datetime) -> dict[str, Any]:
    """The intent: to be committed before anything is done."""
    who = f"{socket.gethostname()[:255]} (pid {os.getpid()})"
    return {"kind": kind, "subject": subject, "who": who, "began_at": now, "seen_at": now}


def begin(session: Session, kind: str, subject: str, now: datetime) -> int:
    """Write the intent down; returns its id."""
    statement = insert(Effect).values(**row(kind, subject, now)).returning(Effect.id)
    return session.execute(statement).scalar_one()


def settle(session: Session, now: datetime, ids: Sequence[int], outcome: str) -> int:
    """Say what came of effects; what was said of one before stays. Returns of how many."""
    found = session.execute(
        update(Effect)
        .where(Effect.id.in_(ids), Effect.settled_at.is_(None))
        .values(settled_at=now, outcome=outcome)
        .returning(Effect.id)
    )
    return len(found.all())


def purge(db: Database, lead: Lead, limit: int = 1000) -> int:
    """Forget what was settled long ago, *limit* at most. Returns how many."""
    with db.write(news=False) as session:
        confirm_lead(session, lead)
        before = db.now(session) - KEEP
        # An upload that stands still for so long must find what was removed since it began.
        first_open = select(func.min(Effect.id)).where(unsettled(UPLOAD)).scalar_subquery()
        needed = (Effect.kind == REMOVAL) & (Effect.id > first_open)
        old = select(Effect.id).where(Effect.settled_at < before, or_(first_open.is_(None), ~needed))
        found = list(session.execute(old.limit(limit)).scalars())
        session.execute(delete(Effect).where(Effect.id.in_(found)))
    return len(found)
