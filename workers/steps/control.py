"""What an attendant hears while it is busy with its machine: stop asked for, time over, lease lost."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

from jobs import money
from jobs.states import State
from jobs.store.ending import after_stop
from jobs.store.leases import Held
from workers.steps.awake import Awake

ATTENDED = frozenset({State.BOOTING.value, State.RUNNING.value})


class Control:
    """Shared by one attendant and the thread that keeps the leases. ``interrupt`` wakes the attendant."""

    def __init__(self) -> None:
        self.interrupt = threading.Event()
        self.stale = False
        self.leaving = False
        self.cause: str | None = None
        self.stop_ordered_at: datetime | None = None
        self.too_late = False
        self.expires_earlier = False  # than the machine was told to end itself, or it may
        self.broke_at_arming = 0  # how often in a row the connection was lost while the machine got its guard
        self.armed_for: datetime | None = None  # when the machine ends itself, by what this attendant told it
        self._wanted_for: datetime | None = None  # and when it should, by what was heard last
        self._awake = Awake()

    def hear(self, held: Held | None, now: datetime) -> None:
        """Take what the database says of the attempt; None: it is not this attendant's any more."""
        awake = self._awake.look(now)
        outputs = held is not None and held.state == State.FINISHING and held.outputs_until is not None
        if held is None or (held.state not in ATTENDED and not outputs):
            self.stale = True
            self.interrupt.set()
            return
        if held.expires_at is not None:
            before = [moment for moment in (self.armed_for, self._wanted_for) if moment is not None]
            self._wanted_for = held.expires_at - timedelta(seconds=money.GUARD_SECONDS)
            if before and self._wanted_for < min(before):
                self.expires_earlier = True
                self.interrupt.set()
        if self.stop_ordered_at is not None:
            if now - max(self.stop_ordered_at, awake) > after_stop(held.grace) and not self.too_late:
                self.too_late = True
                self.interrupt.set()
        elif self.cause is None:
            if held.cancel_requested:
                self._stop("cancelled_by_user")
            elif held.deadline_at is not None and now >= held.deadline_at:
                self._stop(held.deadline_cause or "max_runtime")

    def leave(self) -> None:
        """Hand the attempt back: the worker is stopping."""
        self.leaving = True
        self.interrupt.set()

    def _stop(self, cause: str) -> None:
        self.cause = cause
        self.interrupt.set()
