"""What a job leaves: brought back when its command has ended, and with ``--sync-every`` before.

A round asks the machine what there is and takes what is not here yet. What has come is in the artifact store
piece by piece, and who goes on after this worker goes on from there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from jobs.backoff import doubling
from jobs.errors import ArtifactError, DatabaseError, InvalidSettings
from jobs.files.collect import Collection, outputs_of
from jobs.files.tree import Tree
from jobs.store import files
from jobs.store.attempts import Work
from jobs.store.transitions import AttemptLease, Stale
from workers.ssh.connect import Machine
from workers.ssh.errors import SshError
from workers.ssh.files import Broken, FilesRefused, Listing, Request, fetch
from workers.steps.context import Context
from workers.steps.control import Control

log = logging.getLogger(__name__)

NOTE_SECONDS = 0.5
PART_SECONDS = 10.0
"""How much of a transfer whoever takes it over may have to repeat, where writing that down is no burden."""
ROUNDS = 3
"""How often a file is asked for that changes although the command has ended."""
NAMED = 5
LONGEST = 2000
LAST_WORDS = timedelta(seconds=5)
"""What is kept of the time for outputs to write down what is missing."""

Interrupted = Callable[[], bool]


class Outputs:
    """The outputs of one attempt, for its attendant. Rounds are one at a time, whoever asks for them."""

    def __init__(self, ctx: Context, work: Work, lease: AttemptLease, control: Control) -> None:
        self._ctx, self._work, self._lease, self._control = ctx, work, lease, control
        # In a place of this holder: what another one stores is never taken for superseded by this one.
        self._place = f"{outputs_of(work.attempt_id)}/{lease.fence}"
        self._turn = threading.Lock()
        self._found: Collection | None = None
        self._next_note = self._next_part = 0.0
        self._kept: dict[str, int] | None = None  # of the part that was written down last
        self._stored: set[str] = set()  # what of ours is in the store
        self._needed: deque[frozenset[str]] = deque(maxlen=2)  # by the copy that stays, and the one before it
        self._left: dict[str, str] = {}  # what matched, and is not here
        self._trouble: list[str] = []

    def last(self, machine: Machine, work: Work) -> bool:
        """Bring all that there is, the command being over; False where something else is to be done first.

        Raises SshError, after which the same call goes on where this one ended, and Stale.
        """
        until = work.outputs_until
        if until is None:
            return True
        end = until - LAST_WORDS

        def late() -> bool:
            return self._ctx.db.clock() >= end

        failures = rounds = 0
        while True:
            why: str | None = None
            try:
                self._round(machine, False, lambda: self._wanted() or late())
                rounds += 1
            except Broken:
                if self._wanted():
                    return False
                why = "the time that is reserved for them is over"
            except (FilesRefused, InvalidSettings) as error:
                why = str(error)
            except ArtifactError as error:
                log.warning("attempt %s: its outputs wait on the machine: %s", work.attempt_id, error)
                self._control.interrupt.clear()
                if self._wanted():
                    return False
                if not late():
                    self._control.interrupt.wait(doubling(1.0, 15.0, failures))
                    failures += 1
                    continue
                why = str(error)
            if why is None and self._left and rounds < ROUNDS and not late():
                continue
            self._over(why)
            return True

    def _wanted(self) -> bool:
        return self._away() or self._control.expires_earlier

    def _away(self) -> bool:
        return self._control.stale or self._control.leaving

    @contextmanager
    def synced(self, machine: Machine) -> Iterator[None]:
        """While this lasts, and the job wants that, bring what there is every so often."""
        every = self._work.sync_every
        if every is None:
            yield
            return
        over = threading.Event()
        thread = threading.Thread(
            target=self._sync,
            args=(machine, every, over),
            name=f"sync-{self._work.attempt_id[-6:]}",
            daemon=True,
        )
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _sync(self, machine: Machine, every: int, over: threading.Event) -> None:
        while not over.wait(every):
            try:
                self._round(machine, True, lambda: over.is_set() or self._away())
                self._keep()
                continue
            except (Broken, Stale):
                return
            except (SshError, FilesRefused, ArtifactError, InvalidSettings, DatabaseError) as error:
                log.warning("attempt %s: its outputs could not be synced: %s", self._work.attempt_id, error)
            except Exception:
                log.exception("attempt %s: its outputs could not be synced", self._work.attempt_id)
            if not machine.alive:
                return  # who attends has noticed, or is about to
            with suppress(Stale, DatabaseError):
                files.note(self._ctx.db, self._work, self._lease, transfer=None)

    def _round(self, machine: Machine, running: bool, interrupted: Interrupted) -> None:
        with self._turn:
            found = self._collection()
            request = Request(self._work.output_globs, found.known, running)
            batches = fetch(machine, self._work.attempt_id, request, self._listed, interrupted=interrupted)
            for batch in batches:
                if batch.size:
                    self._stored.add(found.piece(self._ctx.artifacts, batch))
                for number, mode, size, mtime in batch.kept:
                    self._left.pop(found.kept(number, mode, size, mtime), None)
                for number, why in batch.torn:
                    self._left[found.torn(number)] = why
                self._note(found)
            found.end()

    def _collection(self) -> Collection:
        if self._found is None:
            key = self._work.outputs_part or self._work.outputs
            tree = self._ctx.artifacts.tree(key) if key is not None else None
            self._found = Collection(self._place, tree)
            for known in (self._work.outputs, self._work.outputs_part):
                self._stored |= {known} if known is not None else set()
            self._stored |= self._found.pieces
            if self._work.outputs is not None:
                kept = self._ctx.artifacts.tree(self._work.outputs) if self._work.outputs_part else tree
                assert kept is not None
                self._needed.append(_keys(self._work.outputs, kept))
            self._next_part = time.monotonic() + PART_SECONDS
        return self._found

    def _listed(self, listing: Listing) -> None:
        missing = self._collection().listed(listing.entries, listing.same, listing.resumed)
        self._left = dict.fromkeys(missing, "it did not come in time")
        self._trouble = [*listing.refused, *(f"nothing matches {glob!r}" for glob in listing.unmatched)]

    def _note(self, found: Collection) -> None:
        now = time.monotonic()
        if now < self._next_note:
            return
        self._next_note = now + NOTE_SECONDS
        values: dict[str, Any] = {}
        if now >= self._next_part:
            tree = found.part()
            values["outputs_part"] = self._put(tree)
            self._kept = _counts(tree.whole())
            # A long list is not written down so often that nothing else is done.
            self._next_part = time.monotonic() + max(PART_SECONDS, 10 * (time.monotonic() - now))
        transfer = {"what": "fetching outputs", "bytes": found.came, "of": found.wanted}
        values["transfer"] = transfer if self._kept is None else {**transfer, "kept": self._kept}
        files.note(self._ctx.db, self._work, self._lease, **values)

    def _put(self, tree: Tree) -> str:
        key = self._ctx.artifacts.put_tree(tree, f"{self._place}/")
        self._stored.add(key)
        return key

    def _keep(self) -> None:
        """Make what is whole the copy that stays, and let go of what neither it nor the one before needs."""
        tree = self._collection().tree()
        key = self._put(tree)
        note = self._lacking()[:LONGEST] or None
        state = {**_counts(tree), "at": datetime.now(UTC).isoformat(), "complete": False, "note": note}
        files.note(
            self._ctx.db,
            self._work,
            self._lease,
            outputs=key,
            outputs_part=None,
            outputs_state=state,
            transfer=None,
        )
        self._kept = None
        self._found = Collection(self._place, tree)
        self._needed.append(_keys(key, tree))
        self._let_go()

    def _let_go(self) -> None:
        try:
            for key in self._stored.difference(*self._needed):
                self._ctx.artifacts.remove(key)
                self._stored.discard(key)
        except ArtifactError as error:
            log.warning("attempt %s: what is superseded is still stored: %s", self._work.attempt_id, error)

    def _lacking(self) -> str:
        """What matched, or should have, and is not here; the first few by name."""
        missing = [f"{path!r} ({reason})" for path, reason in sorted(self._left.items())]
        parts = [*self._trouble[:NAMED], *missing[:NAMED]]
        if (more := len(self._trouble) + len(missing) - len(parts)) > 0:
            parts.append(f"and {more} more")
        return "; ".join(parts)

    def give_up(self, why: str) -> None:
        """No more of them is taken: what answers there is not the machine any more."""
        self._over(why)

    def _over(self, why: str | None) -> None:
        """Write down what came, and what did not."""
        sentence = "; ".join(filter(None, [why, self._lacking()]))[:LONGEST] or None
        came = None
        try:
            tree = self._collection().tree()
            counts = _counts(tree)
            key = self._put(tree)
            self._needed.append(_keys(key, tree))
            came = (key, counts["files"], counts["bytes"])
        except ArtifactError as error:
            sentence = sentence or str(error)
        files.over(self._ctx.db, self._work, self._lease, came, sentence)
        log.info("attempt %s: outputs: %s", self._work.attempt_id, sentence or "all of them are here")
        if came is not None:
            self._let_go()


def _counts(tree: Tree) -> dict[str, int]:
    return {"files": tree.files, "bytes": tree.size}


def _keys(key: str, tree: Tree) -> frozenset[str]:
    """What a tree needs of the store."""
    return frozenset([key, *(piece.key for piece in tree.pieces)])
