"""News: learning cheaply that somebody wrote into the database, instead of asking again and again.

On SQLite that is ``PRAGMA data_version``, a look into shared memory that reads no table. PostgreSQL tells us
by itself (LISTEN), within a millisecond; what a log gained is told to those only who follow it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol

from sqlalchemy.exc import DBAPIError

from jobs.errors import DatabaseError
from jobs.store import postgres
from jobs.store.database import Database

LOOK_SECONDS = 0.05
STOP_SECONDS = 0.2
"""How soon a wait for PostgreSQL sees that it should stop."""


class _Ear(Protocol):
    def hears(self, seconds: float) -> bool:
        """Whether there was news since the last call; may wait for some, but for *seconds* at most."""

    def close(self) -> None: ...


class News:
    """Tells whether anything was written since the last call. One thread uses it; close it afterwards.

    *jobs*: those that are waited for; None: all. *log_of*: the job whose log is news as well. What concerns
    others may be news, or may not. Raises DatabaseError.
    """

    def __init__(
        self, db: Database, jobs: Collection[str] | None = None, *, log_of: str | None = None
    ) -> None:
        self._ear: _Ear = _Version(db) if db.sqlite else _Notices(db, jobs, log_of)
        self._pause = LOOK_SECONDS if db.sqlite else 0.0

    def changed(self) -> bool:
        """Whether another connection has committed since the last call. Raises DatabaseError."""
        return self._ear.hears(0)

    def wait(self, seconds: float, stop: threading.Event | None = None) -> bool:
        """Wait for news for at most *seconds*, or until *stop* is set. Returns whether there was any."""
        end = time.monotonic() + seconds
        pause = stop.wait if stop is not None else time.sleep
        while not self._ear.hears(max(0.0, min(STOP_SECONDS, end - time.monotonic()))):
            left = end - time.monotonic()
            if left <= 0 or pause(min(self._pause, left)):
                return False
        return True

    def close(self) -> None:
        self._ear.close()

    def __enter__(self) -> News:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Version:
    """SQLite's count of what other connections have committed."""

    def __init__(self, db: Database) -> None:
        self._db = db
        # Below SQLAlchemy's transactions, which would hold one picture of the database for ever.
        with db.explained():
            self._connection = db.engine.raw_connection()
        try:
            self._last = self._version()
        except BaseException:
            self._connection.close()
            raise

    def hears(self, seconds: float) -> bool:
        version = self._version()
        changed = version != self._last
        self._last = version
        return changed

    def close(self) -> None:
        self._connection.close()

    def _version(self) -> int:
        with self._db.explained():
            cursor = self._connection.cursor()
            try:
                cursor.execute("PRAGMA data_version")
                row = cursor.fetchone()
            finally:
                cursor.close()
        return int(row[0]) if row else 0


class _Notices:
    """A connection of its own, on which PostgreSQL tells what was committed."""

    def __init__(self, db: Database, jobs: Collection[str] | None, log_of: str | None) -> None:
        self._db = db
        self._jobs = None if jobs is None else {*jobs, postgres.EVERYBODY}
        self._log_of = log_of
        self._connection: Any = None
        self._listen()

    def hears(self, seconds: float) -> bool:
        if self._connection is None:
            self._listen()
            return True  # nobody knows what was missed
        try:
            with _explained(self._db):
                found = list(self._connection.notifies(timeout=seconds, stop_after=1))
        except DatabaseError:
            self.close()
            raise
        return any(self._concerns(notice.channel, notice.payload) for notice in found)

    def _concerns(self, channel: str, word: str) -> bool:
        if channel == postgres.LOGS_CHANNEL:
            return word == self._log_of
        return self._jobs is None or word in self._jobs

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _listen(self) -> None:
        channels = [postgres.JOBS_CHANNEL] + [postgres.LOGS_CHANNEL] * (self._log_of is not None)
        with _explained(self._db):
            connection = postgres.connect_alone(self._db.engine)
            try:
                for channel in channels:
                    connection.execute(f"LISTEN {channel}")
            except BaseException:
                connection.close()
                raise
        self._connection = connection


@contextmanager
def _explained(db: Database) -> Iterator[None]:
    """As `Database.explained`, for the driver's own errors, which SQLAlchemy has not seen."""
    import psycopg

    with db.explained():
        try:
            yield
        except psycopg.Error as error:
            raise DBAPIError("LISTEN", {}, error, connection_invalidated=True) from error
