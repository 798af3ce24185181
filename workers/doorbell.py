"""Ringing from outside: who submits says to the workers "look at this one", if the broker can be reached.

The job is in the database by then, and is found there all the same; a bell only makes it sooner.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from kombu.exceptions import OperationalError

from workers.app import CONNECT_SECONDS, make_app, send

MOST_RINGS = 8
"""Of many jobs that are submitted together only the first are rung for: the leader sees them all."""


class Doorbell:
    """One broker, for the jobs of one database. Threads share it."""

    def __init__(self, broker_url: str, queue: str) -> None:
        self._app = make_app(broker_url, ours=False)
        self._queue = queue
        self._lock = threading.Lock()

    def ring(self, job_ids: Sequence[str]) -> str | None:
        """Ring for these jobs; returns why that was not possible, or None."""

        def ring() -> None:
            for job_id in job_ids[:MOST_RINGS]:
                send(self._app, self._queue, "admit", job_id)

        return self._tried(ring)

    def try_it(self) -> str | None:
        """Why the broker cannot be reached; None: it can."""

        def connect() -> None:
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=round(CONNECT_SECONDS))

        return self._tried(connect)

    def _tried(self, act: Callable[[], None]) -> str | None:
        """Why *act* did not succeed, in words that quote no address: that may hold a password."""
        try:
            with self._lock:
                act()
        except OperationalError as error:
            return str(error).rstrip(".")
        except Exception as error:  # noqa: BLE001 - whatever a transport stumbles over: no job is lost by it
            return type(error).__name__
        return None

    def close(self) -> None:
        """Hang up."""
        self._app.close()
