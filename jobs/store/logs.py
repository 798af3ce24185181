"""The log: bytes in chunks, appended by compare-and-set, never overlapping and never with a silent gap.

A chunk is accepted only where the attempt's ``log_bytes`` is exactly where it starts and the writer
still holds the attempt's lease, as its locked row says; both move on in one transaction. Two writers that
overlap can therefore not lose or repeat a byte: the second one finds that the end has moved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.orm import Session

from jobs.models import Attempt, LogChunk
from jobs.store import postgres
from jobs.store.database import Database
from jobs.views import Chunk

READ_BYTES = 1 << 20
READ_CHUNKS = 4096


@dataclass(frozen=True)
class Append:
    """Bytes that a holder wants to add; ``data`` None with a ``size`` is a gap that is known."""

    attempt_id: str
    owner: str
    fence: int
    start: int
    data: bytes | None
    size: int


def append(db: Database, appends: Sequence[Append]) -> list[bool]:
    """Commit many appends together; each is applied or dropped for itself. Returns which were applied."""
    for item in appends:
        if item.size <= 0 or (item.data is not None and len(item.data) != item.size):
            raise ValueError(f"a chunk of {item.size} bytes cannot be appended")
    applied = [False] * len(appends)
    with db.write(alone=False, news=False) as session:
        ends = _locked(session, appends)
        for index in sorted(range(len(appends)), key=lambda index: appends[index].start):
            end = ends.get(appends[index].attempt_id)
            applied[index] = end is not None and end.takes(appends[index])
        chunks = [item for item, ok in zip(appends, applied, strict=True) if ok]
        if chunks:
            _write(session, chunks, ends)
            if not db.sqlite:
                postgres.tell_of_logs(session, {ends[item.attempt_id].job_id for item in chunks})
    return applied


def read(db: Database, attempt_id: str, offset: int, limit: int = READ_BYTES) -> list[Chunk]:
    """The log from byte *offset* on, about *limit* bytes of it; the first chunk may be cut to start there."""
    with db.read() as session:
        # By the index alone: the chunk in which the offset lies is the last one that starts there or before.
        first = session.execute(
            select(func.max(LogChunk.start)).where(
                LogChunk.attempt_id == attempt_id, LogChunk.start <= offset
            )
        ).scalar()
        rows = session.execute(
            select(LogChunk.start, LogChunk.size, LogChunk.data)
            .where(LogChunk.attempt_id == attempt_id, LogChunk.start >= (first or 0))
            .order_by(LogChunk.start)
            .limit(READ_CHUNKS)
            .execution_options(yield_per=4)
        )
        chunks, total = [], 0
        for start, size, data in rows:
            skip = max(0, offset - start)
            if skip >= size:
                continue
            chunks.append(Chunk(start + skip, size - skip, None if data is None else data[skip:]))
            total += 0 if data is None else size - skip
            if total >= limit:
                break
        rows.close()
    return chunks


def stream(db: Database, attempt_id: str, offset: int = 0) -> Iterator[Chunk]:
    """All that is there from *offset* on, in pieces: no more than one piece is held in memory."""
    while chunks := read(db, attempt_id, offset):
        yield from chunks
        offset = chunks[-1].start + chunks[-1].size


def digest(db: Database, attempt_id: str) -> str | None:
    """SHA-256 of the stored log, in hex; None where some of it is known to be missing."""
    found = hashlib.sha256()
    for chunk in stream(db, attempt_id):
        if chunk.data is None:
            return None
        found.update(chunk.data)
    return found.hexdigest()


@dataclass
class _End:
    """Where the log of an attempt ends, and who may go on there; the row is ours until the commit."""

    job_id: str
    owner: str | None
    fence: int
    log_bytes: int

    def takes(self, item: Append) -> bool:
        """Whether the chunk goes on exactly here, and its writer holds the lease; then the end moves on."""
        if (item.owner, item.fence, item.start) != (self.owner, self.fence, self.log_bytes):
            return False
        self.log_bytes += item.size
        return True


def _locked(session: Session, appends: Sequence[Append]) -> dict[str, _End]:
    """The ends of these attempts' logs, in one statement however many they are.

    They are locked in one order for all: who else writes into several attempts must not wait for us while we
    wait for them.
    """
    rows = session.execute(
        select(Attempt.id, Attempt.job_id, Attempt.lease_owner, Attempt.fence, Attempt.log_bytes)
        .where(Attempt.id.in_({item.attempt_id for item in appends}))
        .order_by(Attempt.id)
        .with_for_update()
    )
    return {row[0]: _End(row[1], row[2], row[3], row[4]) for row in rows}


def _write(session: Session, chunks: Sequence[Append], ends: Mapping[str, _End]) -> None:
    grown = {item.attempt_id for item in chunks}
    session.execute(_MOVE_ON, [{"of": id_, "to": ends[id_].log_bytes} for id_ in grown])
    session.execute(_CHUNK, [{name: getattr(item, name) for name in _COLUMNS} for item in chunks])


# By the tables: for the classes the session would compare each row with what it holds.
_MOVE_ON = (
    update(Attempt.__table__)  # type: ignore[arg-type]
    .where(Attempt.__table__.c.id == bindparam("of"))
    .values(log_bytes=bindparam("to"))
)
_CHUNK = insert(LogChunk.__table__)  # type: ignore[arg-type]
_COLUMNS = ("attempt_id", "start", "size", "data")
