"""What the observer that leads does besides: suspicions are told, old news and old logs go, and it is looked
into what processes that died have left unsettled.

None of it is urgent, and each tick has little time for it: ceilings and ends of machines come first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from jobs.errors import RunnerError
from jobs.files.collect import outputs_of
from jobs.store import account_keys, agreement, effects, outbox, retention, uploads
from jobs.store.ending import Wanted
from jobs.store.transitions import Lead, Stale
from workers.steps import inventory
from workers.steps.context import Context
from workers.steps.sweep import Interrupted, sweep

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
        self._at_work: dict[str, threading.Thread] = {}

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
        db = self._ctx.db
        outbox.purge(db, lead)
        effects.purge(db, lead)
        if account_keys.in_doubt(db) or uploads.dead(db, 1).ids or uploads.condemned(db, 1):
            self._beside("unsettled", lambda: self._settle(lead))
        if (age := self._age) is not None:
            self._outdated = retention.outdated(db, age)
            if self._outdated:
                self._next_look = 0.0  # there may be more than these
            if found := retention.with_old_outputs(db, age):
                self._beside("retention", lambda: self._remove(found, lead, age))

    def _beside(self, name: str, work: Callable[[], None]) -> None:
        """Have something that takes its time done by a thread, unless that is still at it."""
        before = self._at_work.get(name)
        if before is None or not before.is_alive():
            self._at_work[name] = threading.Thread(target=work, name=name, daemon=True)
            self._at_work[name].start()

    def _settle(self, lead: Lead) -> None:
        """Look into what processes that died have left: keys on the account, pieces in the store."""
        try:
            inventory.settle_keys(self._ctx.db, self._ctx.cloud)
        except RunnerError as error:
            log.warning("whether our key was added to the account is not known: %s", error)
        try:
            sweep(self._ctx, lead)
        except (Stale, Interrupted):
            return
        except RunnerError as error:
            log.warning("what uploads left that came to nothing is not removed: %s", error)

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
