"""Reading a log while it grows: all attempts of a job, in order, from where one stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator

from jobs.errors import ServiceUnavailable
from jobs.store import leases, logs, reads
from jobs.store.database import Database
from jobs.views import Chunk, JobView

NOBODY_SECONDS = 60.0
"""How long waiting and following bear it that no worker lives."""


class LogReader:
    """Remembers how far each attempt's log was read. ``attempt``: only the one of that number."""

    def __init__(self, db: Database, job_id: str, attempt: int | None = None) -> None:
        self._db = db
        self._job_id = job_id
        self._attempt = attempt
        self._offsets: dict[str, int] = {}

    def look(self) -> tuple[JobView, Iterator[Chunk]]:
        """The job as it stands, and what has come since.

        A view that is final was read before its chunks: what they hold then is all that there will ever be.
        """
        view = reads.show(self._db, self._job_id)
        return view, self._new(view)

    def _new(self, view: JobView) -> Iterator[Chunk]:
        for item in view.attempts:
            if self._attempt is not None and item.number != self._attempt:
                continue
            for chunk in logs.stream(self._db, item.id, self._offsets.get(item.id, 0)):
                self._offsets[item.id] = chunk.start + chunk.size
                yield chunk


class Patience:
    """Bears it for a while that no worker lives."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._since: float | None = None

    def check(self) -> float:
        """For how many seconds nobody has worked. Raises ServiceUnavailable where that is too long."""
        if leases.workers(self._db):
            self._since = None
            return 0.0
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if now - self._since >= NOBODY_SECONDS:
            raise ServiceUnavailable(
                f"No service has been running for {NOBODY_SECONDS:.0f} s, so nothing happens; "
                "start one with `runner up`."
            )
        return now - self._since
