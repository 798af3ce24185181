"""What uploads left in the artifact store that came to nothing: removed, and nothing else is.

Only objects in the place of this installation, of the grammar of what is stored there, that no job names and
that are older than a day, and older than every upload that is under way. How removal and uploads are kept
apart is in ``jobs.store.uploads``.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import datetime

from jobs.errors import ArtifactMissing
from jobs.store import uploads
from jobs.store.transitions import Lead
from jobs.store.uploads import Named
from workers.steps.context import Context

log = logging.getLogger(__name__)

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


@dataclass(frozen=True)
class _Trees:
    """Of what jobs name: the trees that were read, the pieces of these, and the trees that are not there."""

    read: set[str]
    pieces: set[str]
    absent: set[Named]


def sweep(ctx: Context, lead: Lead) -> None:
    """Remove what is condemned; where an upload is dead, find what it left first.

    Raises Interrupted, Stale where the caller does not lead any more, ArtifactError and DatabaseError.
    """
    _remove(ctx, lead)
    dead = uploads.dead(ctx.db)
    if not dead.ids:
        return
    place, named = uploads.named(ctx.db)
    trees = _trees(ctx, named)
    found = _left(ctx, place, trees, dead.before)
    over = dead.ids if len(found) < MOST else []
    if uploads.condemn(ctx.db, lead, found, trees.read, trees.absent, over):
        log.info("%d uploads came to nothing; %d objects of theirs are removed", len(dead.ids), len(found))
        _remove(ctx, lead)


def _trees(ctx: Context, named: list[Named]) -> _Trees:
    """What jobs name. Raises ArtifactError where that is not known."""
    trees = _Trees(set(), set(), set())
    for tree in named:
        _go_on(ctx)
        try:
            trees.pieces.update(piece.key for piece in ctx.artifacts.tree(tree.key).pieces)
            trees.read.add(tree.key)
        except ArtifactMissing:
            # Its job is over, and cannot be run again without it. But one that is there may be read again:
            # by later code, or when the store has ceased to deny it.
            if not tree.final or ctx.artifacts.has(tree.key):
                raise
            trees.absent.add(tree)
    return trees


def _left(ctx: Context, place: str, trees: _Trees, before: datetime) -> list[str]:
    found = []
    kept = trees.read | trees.pieces
    absent = {tree.key for tree in trees.absent}
    for key, written in ctx.artifacts.listed(place):
        _go_on(ctx)
        if key in absent:
            raise ArtifactMissing(f"The artifact store has {key} by now, which it did not find just before.")
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
