"""Ringing from outside: who submits says to the workers "look at this one", if the broker can be reached.

The job is in the database by then, and is found there all the same; a bell only makes it sooner.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from kombu.exceptions import OperationalError

from workers.app import CONNECT_SECONDS, RING_EXPIRES, make_app

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
        try:
            with self._lock:
                for job_id in job_ids[:MOST_RINGS]:
                    self._app.send_task(
                        "admit",
                        args=(job_id,),
                        queue=self._queue,
                        expires=RING_EXPIRES,
                        retry=False,
                        ignore_result=True,
                    )
        except Exception as error:  # noqa: BLE001 - whatever a transport stumbles over: the job is queued by now
            return _reason(error)
        return None

    def try_it(self) -> str | None:
        """Why the broker cannot be reached; None: it can."""
        try:
            with self._lock, self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=round(CONNECT_SECONDS))
        except Exception as error:  # noqa: BLE001 - whatever a transport stumbles over: the job is queued by now
            return _reason(error)
        return None

    def close(self) -> None:
        """Hang up."""
        self._app.close()


def _reason(error: Exception) -> str:
    """Why, in words that quote no address: that may hold a password."""
    return str(error).rstrip(".") if isinstance(error, OperationalError) else type(error).__name__
