"""Since when a database has answered without a gap.

An outage takes the heartbeats of everybody at once. When it is over, all leases look as if their owners were
dead, and whoever comes back first would take over what the others are still busy with. So nobody takes
over an expired lease before the database has answered for as long as a lease lasts: by then, who lives has
renewed.
"""

from __future__ import annotations

import threading

from jobs.store.clock import ticks

GAP_SECONDS = 7.5
"""Longer than a worker that is well is silent: it says every five seconds that it lives."""


class Contact:
    """Belongs to one open database; its threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: float | None = None
        self._last = 0.0

    def made(self) -> None:
        """A transaction has succeeded."""
        now = ticks()
        with self._lock:
            if self._since is None or now - self._last > GAP_SECONDS:
                self._since = now
            self._last = now

    def lost(self) -> None:
        """A write was refused: that the database can be read does not show that leases can be renewed."""
        with self._lock:
            self._since = None

    def seconds(self) -> float:
        """For how long there has been no gap; 0.0 where the database has not answered lately."""
        now = ticks()
        with self._lock:
            if self._since is None or now - self._last > GAP_SECONDS:
                return 0.0
            return now - self._since
