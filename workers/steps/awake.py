"""Since when somebody has been there to serve, without a gap.

A laptop sleeps, a process is stopped and goes on: what passed meanwhile must not be held against a machine,
whose command may long have ended by itself, with its exit code and its log still to be fetched.
"""

from __future__ import annotations

from datetime import datetime, timedelta

GAP = timedelta(seconds=30)
"""Longer than anything that a loop which looks every second waits for."""


class Awake:
    """Belongs to one thread, which calls :meth:`look` each time that it looks."""

    def __init__(self) -> None:
        self._since: datetime | None = None
        self._last: datetime | None = None

    def look(self, now: datetime) -> datetime:
        """Somebody looks, at *now*; returns since when there has been no gap."""
        if self._since is None or self._last is None or abs(now - self._last) > GAP:
            self._since = now
        self._last = now
        return self._since
