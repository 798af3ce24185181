"""The log: bytes in chunks, appended by compare-and-set, never overlapping and never with a silent gap.

A chunk is accepted only where the attempt's ``log_bytes`` is exactly where it starts and the writer
still holds the attempt's lease; both move on in one transaction. Two writers that overlap can therefore
not lose or repeat a byte: the second one finds that the end has moved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import insert, select, update

from jobs.models import Attempt, LogChunk
from jobs.store.database import Database
from jobs.views import Chunk

READ_BYTES = 1 << 20


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
    applied = []
    with db.write() as session:
        for item in appends:
            moved = session.execute(
                update(Attempt)
                .where(
                    Attempt.id == item.attempt_id,
                    Attempt.lease_owner == item.owner,
                    Attempt.fence == item.fence,
                    Attempt.log_bytes == item.start,
                )
                .values(log_bytes=item.start + item.size)
            )
            ok = bool(moved.rowcount)  # type: ignore[attr-defined]
            applied.append(ok)
            if ok:
                session.execute(
                    insert(LogChunk).values(
                        attempt_id=item.attempt_id, start=item.start, size=item.size, data=item.data
                    )
                )
    return applied


def read(db: Database, attempt_id: str, offset: int, limit: int = READ_BYTES) -> list[Chunk]:
    """The log from byte *offset* on, about *limit* bytes of it; the first chunk may be cut to start there."""
    with db.read() as session:
        rows = session.execute(
            select(LogChunk.start, LogChunk.size, LogChunk.data)
            .where(LogChunk.attempt_id == attempt_id, LogChunk.start + LogChunk.size > offset)
            .order_by(LogChunk.start)
            .execution_options(yield_per=4)
        )
        chunks, total = [], 0
        for start, size, data in rows:
            skip = max(0, offset - start)
            chunks.append(Chunk(start + skip, size - skip, None if data is None else data[skip:]))
            total += 0 if data is None else size
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
