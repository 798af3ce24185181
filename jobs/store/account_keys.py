"""Our SSH key on the account: that it is about to be added, and the names by which the account knows it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import select, update

from jobs.models import Effect
from jobs.store import effects, limits
from jobs.store.database import Database
from jobs.store.effects import ACCOUNT_KEY

FACT = "account_key"
DOUBTFUL_AFTER = timedelta(minutes=1)
"""A key that is added has an answer by then, or nobody waits for it any more."""


def adding(db: Database, name: str) -> None:
    """Write down that a key of this name is about to be added; once, however often that fails."""
    with db.write(alone=False, news=False) as session:
        now = db.now(session)
        again = (
            update(Effect).where(effects.unsettled(ACCOUNT_KEY), Effect.subject == name).values(seen_at=now)
        )
        if not session.execute(again.returning(Effect.id)).all():
            effects.begin(session, ACCOUNT_KEY, name, now)


def known(db: Database, public_line: str) -> tuple[tuple[str, ...], timedelta] | None:
    """The names under which the account knows a key, and how long ago it said so; None: it was not asked."""
    kept = limits.recall(db, FACT)
    if kept is None or kept[0]["public"] != public_line:
        return None
    return tuple(kept[0]["names"]), kept[1]


def remember(db: Database, public_line: str, names: Collection[str]) -> None:
    """The account has said under which names it knows this key: what was in doubt is settled."""
    with db.write(alone=False, news=False) as session:
        now = db.now(session)
        limits.keep(session, now, FACT, {"public": public_line, "names": list(names)})
        ids = session.execute(
            select(Effect.id).where(effects.unsettled(ACCOUNT_KEY), Effect.subject.in_(names))
        )
        effects.settle(session, now, list(ids.scalars()), "added")


def forget(db: Database) -> None:
    """Ask again next time: the account does not know the key by that name any more."""
    limits.forget(db, FACT)


def in_doubt(db: Database) -> list[tuple[int, str]]:
    """Keys whose adding has had no answer, or one that died with who asked: ids of the rows, and names."""
    with db.read() as session:
        old = Effect.seen_at < db.now(session) - DOUBTFUL_AFTER
        query = (
            select(Effect.id, Effect.subject).where(effects.unsettled(ACCOUNT_KEY), old).order_by(Effect.id)
        )
        return [(row.id, row.subject) for row in session.execute(query)]


def settled(db: Database, ids: Collection[int], outcome: str) -> None:
    """The account's list has shown what came of these."""
    if ids:
        with db.write(alone=False, news=False) as session:
            effects.settle(session, db.now(session), list(ids), outcome)
