"""RUNNER_RETENTION: the logs and outputs of jobs that have been final for long are deleted, and say so.

Only the bytes go: rows, events and receipts stay. They go from the front, in pieces, each in a transaction
of its own that leaves one gap in their place. So nobody waits for the deletion of a large log, and whoever
reads meanwhile, or finds what a dead process left half done, sees how many bytes are missing.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, insert, or_, select, update

from jobs.models import Attempt, Job, LogChunk
from jobs.store.database import Database
from jobs.store.transitions import Lead, confirm_lead
from jobs.values import period

PIECE_BYTES = 8 << 20
PIECE_CHUNKS = 1000
DELETED = "deleted after"


def outdated(db: Database, age: timedelta, limit: int = 100) -> list[str]:
    """Attempts, *limit* at most, of jobs that are final for more than *age*, whose log is still there."""
    with db.read() as session:
        kept = or_(Attempt.log_end.is_(None), ~Attempt.log_end.startswith(DELETED))
        query = (
            select(Attempt.id)
            .join(Job, Job.id == Attempt.job_id)
            .where(Job.finished_at < db.now(session) - age, Attempt.log_bytes > 0, kept)
            .order_by(Job.finished_at)
            .limit(limit)
        )
        return list(session.execute(query).scalars())


def shorten(db: Database, lead: Lead, attempt_id: str, age: timedelta) -> bool:
    """Turn the next piece of an outdated log into a gap. Returns whether nothing is left of the log."""
    with db.write() as session:
        confirm_lead(session, lead)
        chunks = session.execute(
            select(LogChunk.start, LogChunk.size, LogChunk.data.is_(None))
            .where(LogChunk.attempt_id == attempt_id)
            .order_by(LogChunk.start)
            .limit(PIECE_CHUNKS)
        )
        end = stored = 0
        for start, size, missing in chunks:
            end = start + size
            stored += 0 if missing else size
            if stored >= PIECE_BYTES:
                break
        session.execute(delete(LogChunk).where(LogChunk.attempt_id == attempt_id, LogChunk.start < end))
        session.execute(insert(LogChunk).values(attempt_id=attempt_id, start=0, size=end, data=None))
        whole = session.execute(
            update(Attempt)
            .where(Attempt.id == attempt_id, Attempt.log_bytes == end)
            .values(log_end=f"{DELETED} {period(int(age.total_seconds()))} (RUNNER_RETENTION)")
            .returning(Attempt.id)
        ).scalar()
    return whole is not None


def with_old_outputs(db: Database, age: timedelta, limit: int = 100) -> list[str]:
    """Attempts, *limit* at most, of jobs that are final for more than *age*, whose outputs are still kept."""
    with db.read() as session:
        query = (
            select(Attempt.id)
            .join(Job, Job.id == Attempt.job_id)
            .where(
                Job.finished_at < db.now(session) - age,
                or_(Attempt.outputs.is_not(None), Attempt.outputs_part.is_not(None)),
            )
            .order_by(Job.finished_at)
            .limit(limit)
        )
        return list(session.execute(query).scalars())


def forget_outputs(db: Database, lead: Lead, attempt_id: str, age: timedelta) -> None:
    """Say of an attempt that its outputs are no longer kept: once they are removed, which may be repeated."""
    with db.write() as session:
        confirm_lead(session, lead)
        state = session.execute(select(Attempt.outputs_state).where(Attempt.id == attempt_id)).scalar() or {}
        note = f"{DELETED} {period(int(age.total_seconds()))} (RUNNER_RETENTION)"
        session.execute(
            update(Attempt)
            .where(Attempt.id == attempt_id)
            .values(
                outputs=None,
                outputs_part=None,
                outputs_state={**state, "over": True, "complete": False, "note": note},
            )
        )
