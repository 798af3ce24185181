"""The log's way into the database: the bytes of all attempts of a process, committed together.

One thread writes. What arrives within a few hundredths of a second goes into one transaction, so that
many talkative jobs cost one sync of the disk, not one each. What is not yet written is bounded: a sink
that is ahead blocks its reader, and with it, through SSH, the command. Memory stays flat.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, field

from jobs.backoff import doubling
from jobs.errors import DatabaseError
from jobs.store import logs
from jobs.store.database import Database
from jobs.store.transitions import AttemptLease, Stale

log = logging.getLogger(__name__)

LATE_SECONDS = 0.05
CHUNK_BYTES = 1 << 20  # fewer, larger rows: each costs two statements, and a turn at the interpreter
MOST_PENDING_BYTES = 4 << 20
MOST_IN_ONE_COMMIT = 8 << 20
FIRST_RETRY, LONGEST_RETRY = 0.5, 15.0
SAY_AGAIN_SECONDS = 60.0


@dataclass
class _State:
    """What one sink has in flight; guarded by the logbook's lock."""

    attempt_id: str
    lease: AttemptLease
    committed: int
    received: int
    pending: deque[bytes] = field(default_factory=deque)
    stale: bool = False


class Sink:
    """Takes the bytes of one attempt, in order."""

    def __init__(self, book: Logbook, state: _State) -> None:
        self._book = book
        self._state = state
        # The hash of the whole log is only known to who has seen it from its first byte.
        self._hash = hashlib.sha256() if state.received == 0 else None

    @property
    def received(self) -> int:
        """Where the next byte belongs."""
        return self._state.received

    @property
    def sha256(self) -> str | None:
        """The hash of all bytes so far, where this sink has seen them all."""
        return None if self._hash is None else self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Take bytes; blocks while too much waits for the disk. Raises Stale where the lease is lost."""
        if data:
            self._book._put(self._state, data)
            if self._hash is not None:
                self._hash.update(data)

    def flush(self) -> int:
        """Wait until all is committed. Returns the log's length. Raises Stale where the lease is lost."""
        return self._book._flush(self._state)

    def close(self) -> None:
        """Forget what was not flushed."""
        self._book._drop(self._state)


class Logbook:
    """Commits what all sinks of this process take, together."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._changed = threading.Condition()
        self._states: dict[int, _State] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="logbook", daemon=True)
        self._thread.start()

    def open(self, attempt_id: str, lease: AttemptLease, offset: int) -> Sink:
        """A sink that goes on at byte *offset*, which must be where the stored log ends."""
        state = _State(attempt_id, lease, offset, offset)
        with self._changed:
            self._states[id(state)] = state
        return Sink(self, state)

    def close(self, seconds: float | None = None) -> None:
        """Commit what is there and end the thread; wait for it for *seconds* at most."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(seconds)

    def _put(self, state: _State, data: bytes) -> None:
        with self._changed:
            while (
                state.received - state.committed > MOST_PENDING_BYTES
                and not state.stale
                and not self._closing
            ):
                self._changed.wait()
            if state.stale or self._closing:
                raise Stale
            state.pending.append(data)
            state.received += len(data)
            self._changed.notify_all()

    def _flush(self, state: _State) -> int:
        with self._changed:
            self._changed.wait_for(lambda: state.stale or state.committed == state.received)
            if state.committed != state.received:
                raise Stale
            return state.committed

    def _drop(self, state: _State) -> None:
        with self._changed:
            state.stale = True
            state.pending.clear()
            self._states.pop(id(state), None)
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            try:
                self._write_all()
            except Exception:
                # Without this thread everybody would wait for ever.
                log.exception("the log stumbled; it goes on")
            with self._changed:  # what could not be written must keep nobody waiting
                for state in self._states.values():
                    if state.committed != state.received:
                        state.stale = True
                        state.pending.clear()
                self._changed.notify_all()
                if self._closing:
                    return

    def _write_all(self) -> None:
        failures, said_at = 0, -SAY_AGAIN_SECONDS
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or any(s.pending for s in self._states.values()))
                if self._closing and not any(s.pending for s in self._states.values()):
                    return
                last = self._closing
            began = time.monotonic()
            batch = self._take()
            if not batch:
                continue
            try:
                applied = logs.append(self._db, [item for _, item in batch])
            except DatabaseError as error:
                if time.monotonic() - said_at >= SAY_AGAIN_SECONDS:  # the same disk may hold our own log
                    said_at = time.monotonic()
                    log.warning("the log waits: %s", error)
                self._give_back(batch)
                if last:
                    return
                pause = doubling(FIRST_RETRY, LONGEST_RETRY, failures)
                failures = min(failures + 1, 8)
                with self._changed:  # however much waits
                    self._changed.wait_for(lambda: self._closing, timeout=pause)
                continue
            except Exception:
                # A bug, or a fault that nobody mapped. These attempts are put down, and taken up again where
                # their stored logs end; without this thread all the others would wait for ever.
                log.exception("the log of %d attempts could not be written", len(batch))
                applied = [False] * len(batch)
            failures = 0
            self._settle(batch, applied)
            # More may be on its way: the next commit is then shared by it.
            if not last:
                self._pause(max(0.0, LATE_SECONDS - (time.monotonic() - began)))

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._much_waits(), timeout=seconds)

    def _much_waits(self) -> bool:
        return any(s.received - s.committed > MOST_PENDING_BYTES // 2 for s in self._states.values())

    def _take(self) -> list[tuple[_State, logs.Append]]:
        """The next chunks, of each attempt in turn: the loud ones must not keep a quiet one waiting."""
        batch: list[tuple[_State, logs.Append]] = []
        starts: dict[int, int] = {}
        total = 0
        with self._changed:
            turns = deque(state for state in self._states.values() if state.pending)
            while turns and total < MOST_IN_ONE_COMMIT:
                state = turns.popleft()
                start = starts.get(id(state), state.committed)
                data = _join(state.pending)
                owner, fence = state.lease.owner, state.lease.fence
                batch.append((state, logs.Append(state.attempt_id, owner, fence, start, data, len(data))))
                starts[id(state)] = start + len(data)
                total += len(data)
                self._states[id(state)] = self._states.pop(id(state))  # last in the next commit's order
                if state.pending:
                    turns.append(state)
        return batch

    def _give_back(self, batch: list[tuple[_State, logs.Append]]) -> None:
        with self._changed:
            for state, item in reversed(batch):
                if item.data is not None and not state.stale:
                    state.pending.appendleft(item.data)

    def _settle(self, batch: list[tuple[_State, logs.Append]], applied: list[bool]) -> None:
        with self._changed:
            for (state, item), ok in zip(batch, applied, strict=True):
                if ok:
                    state.committed = item.start + item.size
                else:
                    state.stale = True
                    state.pending.clear()
            self._changed.notify_all()


def _join(pending: deque[bytes]) -> bytes:
    """The next chunk: small pieces are put together, and no chunk is much larger than its size."""
    pieces, size = [], 0
    while pending and size < CHUNK_BYTES:
        piece = pending.popleft()
        room = CHUNK_BYTES - size
        if len(piece) > room:
            pending.appendleft(piece[room:])
            piece = piece[:room]
        pieces.append(piece)
        size += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
