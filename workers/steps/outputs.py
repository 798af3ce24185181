"""What a job leaves: brought back when its command has ended, and with ``--sync-every`` before.

A round asks the machine what there is and takes what is not here yet. What has come is in the artifact store
piece by piece, and who goes on after this worker goes on from there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from jobs.backoff import doubling
from jobs.errors import ArtifactError, DatabaseError, InvalidSettings
from jobs.files.collect import Collection
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
"""How much of a transfer whoever takes it over may have to repeat."""
ROUNDS = 3
"""How often a file is asked for that changes although the command has ended."""
NAMED = 5
LAST_WORDS = timedelta(seconds=5)
"""What is kept of the time for outputs to write down what is missing."""

Interrupted = Callable[[], bool]


class Outputs:
    """The outputs of one attempt, for its attendant. Rounds are one at a time, whoever asks for them."""

    def __init__(self, ctx: Context, work: Work, lease: AttemptLease, control: Control) -> None:
        self._ctx, self._work, self._lease, self._control = ctx, work, lease, control
        self._turn = threading.Lock()
        self._found: Collection | None = None
        self._next_note = self._next_part = 0.0
        self._left: dict[str, str] = {}  # what matched, and is not here
        self._trouble: list[str] = []

    def last(self, machine: Machine, work: Work) -> bool:
        """Bring all that there is, the command being over; False where the attendant was interrupted.

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
                self._round(machine, False, lambda: self._away() or late())
                rounds += 1
            except Broken:
                if self._away():
                    return False
                why = "the time that is reserved for them is over"
            except (FilesRefused, InvalidSettings) as error:
                why = str(error)
            except ArtifactError as error:
                log.warning("attempt %s: its outputs wait on the machine: %s", work.attempt_id, error)
                if not late():
                    self._control.interrupt.clear()
                    self._control.interrupt.wait(doubling(1.0, 15.0, failures))
                    failures += 1
                    continue
                why = str(error)
            if why is None and self._left and rounds < ROUNDS and not late():
                continue
            self._over(why)
            return True

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
            except (Broken, SshError, Stale):
                return  # who attends has noticed, or is about to
            except (FilesRefused, ArtifactError, InvalidSettings, DatabaseError) as error:
                log.warning("attempt %s: its outputs could not be synced: %s", self._work.attempt_id, error)

    def _round(self, machine: Machine, running: bool, interrupted: Interrupted) -> None:
        with self._turn:
            found = self._collection()
            request = Request(self._work.output_globs, found.known, running)
            batches = fetch(machine, self._work.attempt_id, request, self._listed, interrupted=interrupted)
            for batch in batches:
                if batch.size:
                    found.piece(self._ctx.artifacts, batch)
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
            self._found = Collection(self._work.attempt_id, tree)
            self._next_part = time.monotonic() + PART_SECONDS
        return self._found

    def _listed(self, listing: Listing) -> None:
        found = self._collection()
        found.listed(listing.entries, listing.same, listing.resumed)
        same = set(listing.same)
        self._left = {
            entry[0]: "it did not come in time"
            for number, entry in enumerate(listing.entries)
            if entry[1] == "f" and number not in same
        }
        self._trouble = [why for _, why in listing.refused]
        self._trouble += [f"nothing matches {glob!r}" for glob in listing.unmatched]

    def _note(self, found: Collection) -> None:
        now = time.monotonic()
        if now < self._next_note:
            return
        self._next_note = now + NOTE_SECONDS
        values: dict[str, Any] = {
            "transfer": {"what": "fetching outputs", "bytes": found.came, "of": found.wanted}
        }
        if now >= self._next_part:
            values["outputs_part"] = self._ctx.artifacts.put_tree(found.part())
            self._next_part = now + PART_SECONDS
        files.note(self._ctx.db, self._work, self._lease, **values)

    def _keep(self) -> None:
        """Make what is whole the copy that stays."""
        tree = self._collection().tree()
        key = self._ctx.artifacts.put_tree(tree)
        state = _state(tree.files, tree.size)
        files.note(
            self._ctx.db,
            self._work,
            self._lease,
            outputs=key,
            outputs_part=None,
            outputs_state=state,
            transfer=None,
        )

    def give_up(self, why: str) -> None:
        """No more of them is taken: what answers there is not the machine any more."""
        self._over(why)

    def _over(self, why: str | None) -> None:
        """Write down what came, and what did not."""
        missing = [f"{path!r} ({reason})" for path, reason in sorted(self._left.items())]
        parts = [*self._trouble[:NAMED], *missing[:NAMED]]
        if (more := len(self._trouble) + len(missing) - len(parts)) > 0:
            parts.append(f"and {more} more")
        sentence = "; ".join([*([why] if why is not None else []), *parts]) or None
        values: dict[str, Any] = {}
        work, count, size = self._work, 0, 0
        try:
            if self._found is not None:
                tree = self._found.tree()
                count, size = tree.files, tree.size
                values["outputs"] = self._ctx.artifacts.put_tree(tree)
        except ArtifactError as error:
            sentence = sentence or str(error)
        state = {**_state(count, size), "over": True, "complete": sentence is None, "note": sentence}
        files.over(self._ctx.db, work, self._lease, state, sentence, **values)
        log.info("attempt %s: outputs: %d files, %s", work.attempt_id, count, sentence or "all of them")


def _state(count: int, size: int) -> dict[str, Any]:
    return {"files": count, "bytes": size, "at": datetime.now(UTC).isoformat(), "complete": False}
