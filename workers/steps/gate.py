"""The turn of every API call: a few a second for all workers together, the urgent ones first."""

from __future__ import annotations

import logging
import random
import threading
import time

from jobs.errors import DatabaseError, RateLimited
from jobs.store import limits
from jobs.store.database import Database
from workers.cloud.client import Priority

log = logging.getLogger(__name__)


class DatabaseGate:
    """Takes turns from the one row that all workers share."""

    def __init__(self, db: Database, stopping: threading.Event, a_second: int = limits.A_SECOND) -> None:
        self._db = db
        self._a_second = a_second
        self._stopping = stopping

    def enter(self, priority: Priority, deadline_s: float) -> None:
        """Wait for this call's turn, *deadline_s* seconds at most.

        Raises RateLimited where the turn would come too late, or where the worker is stopping.
        """
        end = time.monotonic() + deadline_s
        while True:
            taken, seconds = limits.take_ticket(self._db, int(priority), self._a_second)
            if taken:
                if self._stopping.wait(seconds) and priority >= Priority.DEPLOY:
                    raise RateLimited("the worker is stopping", status=None)
                return
            seconds += random.uniform(0.01, 0.1)  # so that those who wait do not come back together
            if time.monotonic() + seconds > end:
                raise RateLimited(
                    f"no turn in time: the API gets {self._a_second} requests a second, and none while it "
                    "asks for a pause",
                    status=None,
                )
            if self._stopping.wait(seconds):
                raise RateLimited("the worker is stopping", status=None)

    def silence(self, seconds: float) -> None:
        """Keep all workers from asking, but for terminates."""
        try:
            limits.silence(self._db, seconds)
        except DatabaseError as error:
            log.warning("the others do not know that the API asked for a pause: %s", error)
