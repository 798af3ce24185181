"""Where every request to the API waits for its turn: two a second, the urgent ones first.

The workers share a gate that lives in the database (``workers.steps.gate``). Here are what a gate is, the one
that never waits, and the one for a command that runs without a database.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from enum import IntEnum
from typing import Protocol

from jobs.errors import RateLimited

INTERVAL_SECONDS = 0.5


class Priority(IntEnum):
    """Who goes first where several wait for their turn: the smaller number."""

    TERMINATE = 0
    LIST = 1
    DEPLOY = 2
    REST = 3


class Gate(Protocol):
    """Where a request waits for its turn; one request goes through each time that ``enter`` returns."""

    def enter(self, priority: Priority, deadline_s: float) -> None:
        """Wait *deadline_s* seconds at most. Raises RateLimited where the turn would come later."""

    def silence(self, seconds: float) -> None:
        """The service wants to hear nothing for so long: who was refused waits, the others had better too."""


class NoGate:
    """Every request goes at once."""

    def enter(self, priority: Priority, deadline_s: float) -> None:
        """Do not wait."""

    def silence(self, seconds: float) -> None:
        """There are no others."""


class LocalGate:
    """Turns for the threads of this process, one each *interval* seconds; a quiet second is not saved up."""

    def __init__(self, interval: float = INTERVAL_SECONDS) -> None:
        self._interval = interval
        self._changed = threading.Condition()
        self._next = time.monotonic()
        self._numbers = itertools.count()
        self._waiting: list[tuple[Priority, int]] = []

    def enter(self, priority: Priority, deadline_s: float) -> None:
        """Wait for this request's turn; the urgent overtake. Raises RateLimited after *deadline_s*."""
        end = time.monotonic() + deadline_s
        with self._changed:
            place = (priority, next(self._numbers))
            heapq.heappush(self._waiting, place)
            try:
                while True:
                    now = time.monotonic()
                    first = self._waiting[0] == place
                    if first and now >= self._next:
                        self._next = now + self._interval
                        return
                    if now >= end or self._next > end:
                        raise RateLimited(
                            "too many calls wait for their turn: the API gets two a second", status=None
                        )
                    # Who is not first is woken by each one that leaves.
                    self._changed.wait((min(end, self._next) if first else end) - now)
            finally:
                self._waiting.remove(place)
                heapq.heapify(self._waiting)
                self._changed.notify_all()

    def silence(self, seconds: float) -> None:
        """There are no others: who was refused waits by itself."""
