"""What the observer that leads does besides: suspicions are told, old news and old logs go.

None of it is urgent, and each tick has little time for it: ceilings and ends of machines come first.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta

from jobs.errors import RunnerError
from jobs.files.collect import outputs_of
from jobs.store import agreement, outbox, retention
from jobs.store.ending import Wanted
from jobs.store.transitions import Lead, Stale
from workers.steps.context import Context

log = logging.getLogger(__name__)

LOOK_SECONDS = 600.0
"""How often what has become old is looked for; the first time at once."""
TICK_SECONDS = 0.2
"""How much of a tick the deletion may take."""


class Housekeeping:
    """Used by the observer's thread alone."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._next_look = 0.0
        self._outdated: list[str] = []
        self._removing: threading.Thread | None = None

    def tick(self, lead: Lead, wanted: Wanted) -> None:
        """A little of what there is to do. Raises Stale where the caller does not lead any more."""
        db = self._ctx.db
        if wanted.leaks:
            log.warning("a leak is suspected of %d machines that should be gone", outbox.leaks(db, lead))
        if wanted.notify and self._ctx.settings.notify_url is None and not agreement.anybody_notifies(db):
            outbox.give_up(db, lead)
        now = time.monotonic()
        if not self._outdated and now >= self._next_look:
            self._next_look = now + LOOK_SECONDS  # also where this fails
            self._look(lead)
        self._shorten(lead, now + TICK_SECONDS)

    def _look(self, lead: Lead) -> None:
        outbox.purge(self._ctx.db, lead)
        if (age := self._age) is not None:
            self._outdated = retention.outdated(self._ctx.db, age)
            if self._outdated:
                self._next_look = 0.0  # there may be more than these
            self._remove_outputs(lead, age)

    def _remove_outputs(self, lead: Lead, age: timedelta) -> None:
        """Have old outputs removed from the store, which may take its time, by a thread."""
        if self._removing is not None and self._removing.is_alive():
            return
        if found := retention.with_old_outputs(self._ctx.db, age):
            self._removing = threading.Thread(
                target=self._remove, args=(found, lead, age), name="retention", daemon=True
            )
            self._removing.start()

    def _remove(self, attempt_ids: list[str], lead: Lead, age: timedelta) -> None:
        for attempt_id in attempt_ids:
            if self._ctx.stopping.is_set():
                return
            try:
                store = self._ctx.artifacts
                store.remove(outputs_of(attempt_id))
                retention.forget_outputs(self._ctx.db, lead, attempt_id, age)
                log.info("the outputs of attempt %s are deleted: RUNNER_RETENTION", attempt_id)
            except Stale:
                return
            except RunnerError as error:
                log.warning("old outputs are not deleted: %s", error)
                return

    def _shorten(self, lead: Lead, end: float) -> None:
        """Delete outdated logs, piece by piece, until they are gone or the time is over."""
        while self._outdated and (age := self._age) is not None:
            attempt_id = self._outdated[-1]
            if retention.shorten(self._ctx.db, lead, attempt_id, age):
                self._outdated.pop()
                log.info("the log of attempt %s is deleted: RUNNER_RETENTION", attempt_id)
            if time.monotonic() >= end:
                return

    @property
    def _age(self) -> timedelta | None:
        seconds = self._ctx.settings.retention
        return None if seconds is None else timedelta(seconds=seconds)
