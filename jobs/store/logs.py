"""The log: bytes in chunks, appended by compare-and-set, never overlapping and never with a silent gap.

A chunk is accepted only where the attempt's ``log_bytes`` is exactly where it starts and the writer
still holds the attempt's lease; both move on in one transaction. Two writers that overlap can therefore
not lose or repeat a byte: the second one finds that the end has moved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import func, insert, select, update
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
    # In one order for all: who else writes into several attempts must not wait for us while we wait for them.
    order = sorted(range(len(appends)), key=lambda index: (appends[index].attempt_id, appends[index].start))
    applied = [False] * len(appends)
    job_ids: set[str] = set()
    with db.write(alone=False, news=False) as session:
        for index in order:
            job_id = _append(session, appends[index])
            if job_id is not None:
                applied[index] = True
                job_ids.add(job_id)
        if not db.sqlite:
            postgres.tell_of_logs(session, job_ids)
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


def _append(session: Session, item: Append) -> str | None:
    """The job whose log has grown; None where the guard does not hold."""
    job_id = session.execute(
        update(Attempt)
        .where(
            Attempt.id == item.attempt_id,
            Attempt.lease_owner == item.owner,
            Attempt.fence == item.fence,
            Attempt.log_bytes == item.start,
        )
        .values(log_bytes=item.start + item.size)
        .returning(Attempt.job_id)
    ).scalar()
    if job_id is None:
        return None
    chunk = {"attempt_id": item.attempt_id, "start": item.start, "size": item.size, "data": item.data}
    session.execute(insert(LogChunk).values(**chunk))
    return job_id
