"""Since when the heartbeats of this process have come through without a gap.

An outage takes the heartbeats of everybody at once. When it is over, all leases look as if their owners were
dead, and whoever comes back first would take over what the others are still busy with. So nobody takes
over an expired lease before its own heartbeats have come through for as long as a lease lasts: by then, who
lives has renewed.

Nothing else is a sign of that. A database whose disk is full or stands still, or that may only read, can be
read all the time, and a write may hang for longer than a lease lasts before it is refused at all. Nor is a
write that fails one of the contrary: who waits too long for its turn to decide waits for a turn that
heartbeats do not take.
"""

from __future__ import annotations

import threading

from jobs.store.clock import ticks

GAP_SECONDS = 8.5
"""Longer than a worker that is well is silent, and shorter than what is left of the leases of all others when
an outage begins: it says every five or six seconds that it lives, and a lease lasts for fifteen."""


class Contact:
    """Belongs to one open database; its threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: float | None = None
        self._last = 0.0

    def made(self) -> None:
        """A heartbeat has come through."""
        now = ticks()
        with self._lock:
            if self._since is None or now - self._last > GAP_SECONDS:
                self._since = now
            self._last = now

    def seconds(self) -> float:
        """For how long there has been no gap; 0.0 where none has come through lately."""
        now = ticks()
        with self._lock:
            if self._since is None or now - self._last > GAP_SECONDS:
                return 0.0
            return now - self._since
