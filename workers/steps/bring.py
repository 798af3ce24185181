"""The files of a job, on to its machine before its command starts."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import timedelta

from jobs.backoff import doubling
from jobs.errors import ArtifactError, ArtifactMissing, InvalidSettings
from jobs.files import portable
from jobs.files.ahead import ahead
from jobs.files.tree import Piece, Tree, overlay
from jobs.states import Event, State
from jobs.store import attempts, files
from jobs.store.attempts import Work
from jobs.store.transitions import AttemptLease
from workers.ssh.connect import Machine
from workers.ssh.files import Broken, FilesRefused, bring
from workers.steps.context import Context
from workers.steps.control import Control

log = logging.getLogger(__name__)

PATIENCE = timedelta(minutes=5)
"""How long a transfer may get no further before the machine is given up."""
NOTE_SECONDS = 0.5
"""How often the database hears how far it is."""


def bring_files(ctx: Context, work: Work, lease: AttemptLease, machine: Machine, control: Control) -> bool:
    """Have the files on the machine; False where the attendant was interrupted, or the attempt is over.

    Raises Unreachable, after which the same call goes on where this one ended, and Stale.
    """
    failures = 0
    while True:
        try:
            _Bringing(ctx, work, lease, control).to(machine)
            return True
        except Broken:
            return False
        except (FilesRefused, ArtifactMissing, InvalidSettings) as error:
            retryable = isinstance(error, FilesRefused) and error.elsewhere
            _failed(ctx, work, lease, str(error), retryable=retryable)
            return False
        except ArtifactError as error:
            # Until the boot deadline, which the observer holds: it may be back any moment.
            log.warning("attempt %s: its files have to wait: %s", work.attempt_id, error)
            if control.interrupt.wait(doubling(1.0, 15.0, failures)):
                return False
            failures += 1


class _Bringing:
    def __init__(self, ctx: Context, work: Work, lease: AttemptLease, control: Control) -> None:
        self.ctx, self.work, self.lease, self.control = ctx, work, lease, control
        self.next_note = 0.0
        # Noted before anything is read: where nothing comes of it, it was the files. Only what gets further
        # than the files ever were gives the machine more time.
        self._note(0, 0)
        keys = [key for key in (work.workdir, work.resumes) if key is not None]
        trees = [ctx.artifacts.tree(key).whole() for key in keys]
        self.tree = trees[0] if len(trees) == 1 else overlay(*trees)
        self.key = " ".join(keys)

    def to(self, machine: Machine) -> None:
        began = time.monotonic()
        bring(
            machine,
            self.work.attempt_id,
            self.tree,
            self.key,
            self.pieces,
            interrupted=lambda: self.control.stale or self.control.leaving,
            progress=self.progress,
        )
        log.info(
            "attempt %s: %d files (%d bytes) are there after %.1f s",
            self.work.attempt_id,
            self.tree.files,
            self.tree.size,
            time.monotonic() - began,
        )

    def pieces(self, first: int, zstd: bool) -> Iterator[tuple[str, bytes]]:
        def travelling(piece: Piece) -> tuple[str, bytes]:
            data, raw = self.ctx.artifacts.stored(piece)
            return (piece.encoding, data) if piece.encoding != "zstd" or zstd else portable.squeeze(raw, None)

        for _, travels in ahead(travelling, self.tree.pieces[first:]):
            yield travels

    def progress(self, pieces: int) -> None:
        if time.monotonic() >= self.next_note:
            self._note(_bytes(self.tree, pieces), _bytes(self.tree, len(self.tree.pieces)))

    def _note(self, done: int, total: int) -> None:
        self.next_note = time.monotonic() + NOTE_SECONDS
        files.bringing(self.ctx.db, self.work, self.lease, done, total, PATIENCE)


def _bytes(tree: Tree, pieces: int) -> int:
    return sum(piece.size for piece in tree.pieces[:pieces])


def _failed(ctx: Context, work: Work, lease: AttemptLease, why: str, *, retryable: bool) -> None:
    attempts.finish(
        ctx.db,
        work,
        lease,
        Event.BOOT_FAILED,
        state=State.BOOTING,
        cause="upload_failed",
        detail=f"the files could not be brought: {why}",
        retryable=retryable,
    )
