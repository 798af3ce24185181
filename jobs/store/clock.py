"""The time by which a database's leases and deadlines are judged: one clock for all that use it.

On PostgreSQL it is the server's, and this one goes on from what the server said last. On SQLite:

A process reads the wall once and goes on by a clock that nobody sets, so that a wall that is set back renews
no lease. But two processes that began before and after such a step would disagree, and a cancel of the one
would be old, or yet to come, for the other. So the service leaves what it began with beside the database, and
whoever opens it in the same boot of the computer goes by that.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from jobs.store import locks

STEP = timedelta(seconds=30)
"""A service that begins keeps the clock that it finds, unless the wall has moved away from it by more."""
SUFFIX = ".clock"

# Leases and deadlines go on while a laptop sleeps, and Python's own monotonic clock does not everywhere.
_TICKING: int | None = getattr(
    time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC if sys.platform == "darwin" else None
)


def ticks() -> float:
    """Seconds of a clock that nobody sets and that does not stand still while the computer sleeps."""
    return time.monotonic() if _TICKING is None else time.clock_gettime(_TICKING)


class Clock:
    """*database*: the file beside which the clock is shared; None: it is this process's own."""

    def __init__(self, database: Path | None) -> None:
        self._database = database
        self._path = None if database is None else database.with_name(database.name + SUFFIX)
        self._known = self._found() or (_wall(), ticks())

    def now(self) -> datetime:
        wall, began = self._known
        return wall + timedelta(seconds=ticks() - began)

    def learn(self, now: datetime) -> None:
        """Go by what a server says the time is."""
        self._known = now, ticks()

    def share(self) -> None:
        """Set the clock for all that open the database from now on: what the service does when it begins."""
        wall = _wall()
        if abs(wall - self.now()) > STEP:
            self._known = wall, ticks()  # it was opened while another service lived
        boot = _boot_id()
        if self._path is None or boot is None:
            return
        facts = {"boot": boot, "wall": self._known[0].isoformat(), "began": self._known[1]}
        new = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            new.touch(mode=0o600)
            new.write_text(json.dumps(facts), "utf-8")
            new.replace(self._path)
        except OSError:  # a full disk: then each goes by its own
            for path in (new, self._path):
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def _found(self) -> tuple[datetime, float] | None:
        """What the service began with, if that was in this boot of the computer.

        One that has ended left what may be long out of date; only if it is not, the next one goes on with it.
        """
        boot = _boot_id()
        if self._database is None or self._path is None or boot is None:
            return None
        try:
            facts = json.loads(self._path.read_text("utf-8"))
            if facts["boot"] != boot:
                return None
            wall, began = datetime.fromisoformat(facts["wall"]).astimezone(UTC), float(facts["began"])
            shown = wall + timedelta(seconds=ticks() - began)
            return (wall, began) if locks.is_served(self._database) or abs(shown - _wall()) <= STEP else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _wall() -> datetime:
    return datetime.now(UTC)


def _boot_id() -> str | None:
    """What tells one boot of this computer from the next; None where it is not known."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip() or None
    except (OSError, ValueError):
        return None
