"""What uploads left in the artifact store that came to nothing: removed, and nothing else is.

Only objects in the place of this installation, of the grammar of what is stored there, that no job names and
that are older than a day. How that is kept apart from uploads is in ``jobs.store.uploads``.
"""

from __future__ import annotations

import logging
import re
from datetime import timedelta

from jobs.errors import ArtifactMissing
from jobs.store import uploads
from jobs.store.transitions import Lead
from jobs.store.uploads import Named
from workers.steps.context import Context

log = logging.getLogger(__name__)

AGE = timedelta(days=1)
"""How old an object must be, by the store's own clock."""
MOST = 10_000
"""How many objects one look condemns; the next one finds the rest."""
BATCH = 100
_PIECE = r"[0-9a-f]{64}(?:\.zst|\.zz)?"
_OURS = re.compile(
    rf"workdirs/[0-9a-z]{{6}}/(?:again/[0-9]+/)?(?:pieces|trees)/[0-9a-f]{{2}}/"
    rf"(?:{_PIECE}|\.{_PIECE}\.[0-9a-f]{{12}})"
)
"""Also what a death in the middle of a write left beside its place."""


class Interrupted(Exception):
    """The service stops; the next one goes on."""


def sweep(ctx: Context, lead: Lead) -> None:
    """Remove what is condemned; where an upload is dead, find what it left first.

    Raises Interrupted, Stale where the caller does not lead any more, ArtifactError and DatabaseError.
    """
    _remove(ctx, lead)
    dead = uploads.dead(ctx.db)
    if not dead:
        return
    place, named = uploads.named(ctx.db)
    found = _left(ctx, place, _kept(ctx, named))
    over = dead if len(found) < MOST else []
    if uploads.condemn(ctx.db, lead, found, [tree.key for tree in named], over):
        log.info("%d uploads came to nothing; %d objects of theirs are removed", len(dead), len(found))
        _remove(ctx, lead)


def _kept(ctx: Context, named: list[Named]) -> set[str]:
    """All objects that jobs name. Raises ArtifactError where that is not known."""
    kept = set()
    for tree in named:
        _go_on(ctx)
        kept.add(tree.key)
        try:
            kept.update(piece.key for piece in ctx.artifacts.tree(tree.key).pieces)
        except ArtifactMissing:
            if not tree.final:
                raise
            continue  # its job is over, and could not be run again anyhow
    return kept


def _left(ctx: Context, place: str, kept: set[str]) -> list[str]:
    found = []
    before = ctx.db.clock() - AGE
    for key, written in ctx.artifacts.listed(place):
        _go_on(ctx)
        if key not in kept and _OURS.fullmatch(key) and written is not None and written < before:
            found.append(key)
        if len(found) >= MOST:
            break
    return found


def _remove(ctx: Context, lead: Lead) -> None:
    while batch := uploads.condemned(ctx.db, BATCH):
        for _, key in batch:
            _go_on(ctx)
            ctx.artifacts.remove_one(key)
        uploads.removed(ctx.db, lead, [row_id for row_id, _ in batch])


def _go_on(ctx: Context) -> None:
    if ctx.stopping.is_set():
        raise Interrupted
