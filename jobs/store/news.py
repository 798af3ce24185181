"""News: learning cheaply that somebody wrote into the database, instead of asking again and again.

On SQLite that is ``PRAGMA data_version``, a look into shared memory that reads no table.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType

from jobs.store.database import Database

LOOK_SECONDS = 0.05


class News:
    """Tells whether anything was written since the last call. One thread uses it; close it afterwards."""

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

    def changed(self) -> bool:
        """Whether another connection has committed since the last call. Raises DatabaseError."""
        version = self._version()
        changed = version != self._last
        self._last = version
        return changed

    def wait(self, seconds: float, stop: threading.Event | None = None) -> bool:
        """Wait for news for at most *seconds*, or until *stop* is set. Returns whether there was any."""
        end = time.monotonic() + seconds
        pause = stop.wait if stop is not None else time.sleep
        while not self.changed():
            left = end - time.monotonic()
            if left <= 0 or pause(min(LOOK_SECONDS, left)):
                return False
        return True

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> News:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _version(self) -> int:
        with self._db.explained():
            cursor = self._connection.cursor()
            try:
                cursor.execute("PRAGMA data_version")
                row = cursor.fetchone()
            finally:
                cursor.close()
        return int(row[0]) if row else 0
