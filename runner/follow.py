"""Reading a log while it grows: all attempts of a job, in order, from where one stopped."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jobs.errors import DatabaseError, ServiceUnavailable
from jobs.store import locks, logs, reads
from jobs.store.database import Database
from jobs.views import Chunk, JobView
from runner import daemon

NOBODY_SECONDS = 60.0
"""How long waiting and following bear it that no worker lives."""
OUTAGE_SECONDS = 120.0
"""How long they bear it that a server's database cannot be reached: jobs go on meanwhile."""
SAY_SECONDS = 4.0
"""How long nobody is told of it: one service may just be taking over from another."""
LOOK_SECONDS = 1.0
FULL_BYTES = 1 << 20


def is_full(db: Database) -> bool:
    """Whether there is no room left where a SQLite file lies."""
    free = db.free_bytes()
    return free is not None and free < FULL_BYTES


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
    """Bears it for a while that no worker lives. ``say`` is told why nothing happens."""

    def __init__(self, db: Database, say: Callable[[str], None] | None = None) -> None:
        self._db = db
        self._say = say or (lambda _sentence: None)
        self._told = False
        self._notes: list[str] = []
        self._since: float | None = None
        self._look_at = 0.0
        self._disk_was_full = False
        self._away_since: float | None = None
        self._told_away = False

    def check(self) -> float:
        """For how many seconds nobody has worked. Raises ServiceUnavailable where that is too long."""
        now = time.monotonic()
        if now < self._look_at:  # each line of a busy log is news
            return 0.0 if self._since is None else now - self._since
        self._look_at = now + LOOK_SECONDS
        self._look_at_disk()
        workers = daemon.workers(self._db)
        self._pass_on([worker.note for worker in workers if worker.note])
        if workers:
            self._since, self._told = None, False
            return 0.0
        if self._since is None:
            self._since = now
        nobody, command = daemon.nobody(self._db)
        if not self._told and now - self._since >= SAY_SECONDS:
            self._told = True
            if self._db.path is not None and locks.is_served(self._db.path):
                self._say("the service has given no sign of life for a while; `runner status` says more")
            else:
                self._say(f"{nobody}, so nothing happens; start one with `{command}`")
        if now - self._since >= NOBODY_SECONDS:
            raise ServiceUnavailable(
                f"For {NOBODY_SECONDS:.0f} s {nobody}, so nothing happens; start one with `{command}`."
            )
        return now - self._since

    @contextmanager
    def bearing(self, end: float | None = None) -> Iterator[None]:
        """Look again after a while where a server's database cannot be reached, instead of giving up.

        For OUTAGE_SECONDS at most, and not past *end*, by the monotonic clock. Raises DatabaseError then.
        """
        try:
            yield
        except DatabaseError as error:
            now = time.monotonic()
            if self._away_since is None:
                self._away_since = now
            if self._db.sqlite or now - self._away_since > OUTAGE_SECONDS or (end is not None and now >= end):
                raise
            if not self._told_away:
                self._told_away = True
                self._say(f"{error} Looking again.")
            time.sleep(random.uniform(0.3, 1.0))
        else:
            self._away_since, self._told_away = None, False

    def _pass_on(self, notes: list[str]) -> None:
        """What the workers cannot do at present, once."""
        for note in notes:
            if note not in self._notes:
                self._say(f"the service waits: {note}")
        self._notes = notes

    def _look_at_disk(self) -> None:
        """A full disk stops the log without anybody being able to write down why."""
        full = is_full(self._db)
        if full and not self._disk_was_full:
            self._say(f"the disk of {self._db.path} is full: what the job writes waits until there is room")
        self._disk_was_full = full
