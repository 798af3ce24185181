"""The attendants: one thread, and one SSH connection, for each attempt that runs.

They belong to a bootstep of the Celery worker, not to its pool: a job of ten hours must not keep a task
thread from serving others. One more thread keeps the leases of all of them, in one statement, and tells
each what it has to know.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection

from jobs.errors import DatabaseError
from jobs.store import agreement, leases
from jobs.store.leases import Held
from jobs.store.transitions import AttemptLease
from jobs.subject import about
from workers.complaint import Complaint
from workers.steps.attend import attend
from workers.steps.context import Context
from workers.steps.control import Control
from workers.steps.logbook import Logbook

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5.0
LOOK_SECONDS = 1.0
LEAST_PAUSE_SECONDS = 0.1
LEAVE_SECONDS = 4.0
"""How long a stop waits for attendants. Who hangs on a machine that does not answer is left behind: the next
holder goes on from what is stored."""


class Attendants:
    """Owns the attendants' threads. ``seats``: how many attempts it attends to at most."""

    def __init__(self, ctx: Context, seats: int) -> None:
        self._ctx = ctx
        self._seats = seats
        self._lock = threading.Lock()
        self._busy: dict[str, tuple[Control, AttemptLease, threading.Thread]] = {}
        self._taking: set[str] = set()  # their leases are being asked for
        self._reserved = 0  # seats, for those
        self.woken = threading.Event()  # somebody wrote into the database: a cancel, perhaps
        self._book: Logbook | None = None
        self._keeper: threading.Thread | None = None
        self._stopped = threading.Event()
        self._trouble = Complaint(log, "no lease is renewed", "leases are renewed again")

    def start(self) -> None:
        self._book = Logbook(self._ctx.db)
        self._keeper = threading.Thread(target=self._keep, name="leases", daemon=True)
        self._keeper.start()

    def offer(self, attempt_ids: Collection[str]) -> int:
        """Attend to those for whom there is room and whose leases could be had. Returns to how many."""
        with self._lock:
            new = set(attempt_ids) - self._busy.keys() - self._taking
            self._taking |= new
            room = max(0, self._seats - len(self._busy) - self._reserved)
            reserved = min(room, len(new))
            self._reserved += reserved
        try:
            # Without the lock: leases wait for their turn, and no heartbeat may wait with them.
            wanted = new if room else leases.running(self._ctx.db, new)  # these have their seats in any case
            if not wanted or self._ctx.stopping.is_set():
                return 0
            taken = leases.take_attempts(self._ctx.db, wanted, self._ctx.owner, room)
            self._begin_all(taken)
            return len(taken)
        finally:
            with self._lock:
                self._taking -= new
                self._reserved -= reserved

    def _begin_all(self, taken: dict[str, AttemptLease]) -> None:
        waiting = dict(taken)
        try:
            for attempt_id, lease in taken.items():
                self._begin(attempt_id, lease)
                del waiting[attempt_id]
        finally:
            for attempt_id, lease in waiting.items():  # a thread too many: others may have room for theirs
                self._release(attempt_id, lease)

    def _begin(self, attempt_id: str, lease: AttemptLease) -> None:
        control = Control()
        thread = threading.Thread(
            target=self._attend,
            args=(attempt_id, lease, control),
            name=f"attend-{attempt_id[-6:]}",
            daemon=True,
        )
        with self._lock:
            leaving = self._ctx.stopping.is_set()
            if not leaving:
                thread.start()  # before it is listed: nobody may be who does not work
                self._busy[attempt_id] = (control, lease, thread)
        if leaving:
            self._release(attempt_id, lease)

    def close(self) -> None:
        """Begin to stop: every attendant hands its attempt back at once."""
        self._ctx.stopping.set()
        with self._lock:
            busy = list(self._busy.values())
        for control, _, _ in busy:
            control.leave()
        self.woken.set()

    def stop(self) -> None:
        """Wait until all have handed back, but for those who cannot be waited for."""
        self.close()
        with self._lock:
            threads = [thread for _, _, thread in self._busy.values()]
        end = time.monotonic() + LEAVE_SECONDS
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        self._stopped.set()
        self.woken.set()
        if self._keeper is not None:
            self._keeper.join()
        if self._book is not None:
            self._book.close(LEAVE_SECONDS)

    @property
    def count(self) -> int:
        """How many attempts are attended to at present."""
        with self._lock:
            return len(self._busy)

    def _attend(self, attempt_id: str, lease: AttemptLease, control: Control) -> None:
        assert self._book is not None
        with about(job=lease.job_id, attempt=attempt_id):
            log.info("attempt %s is attended to here", attempt_id)
            try:
                attend(self._ctx, attempt_id, lease, control, self._book)
            except DatabaseError as error:
                log.warning("attempt %s is put down: %s", attempt_id, error)
            except Exception:
                # A bug, or a fault that nobody mapped: the attempt goes back, the observer rings again.
                log.exception("attempt %s is put down", attempt_id)
            finally:
                try:
                    self._release(attempt_id, lease)
                finally:
                    with self._lock:
                        self._busy.pop(attempt_id, None)
                self._ctx.bells.terminate()
                self._ctx.bells.observe()

    def _release(self, attempt_id: str, lease: AttemptLease) -> None:
        try:
            leases.release_attempts(self._ctx.db, lease.owner, [attempt_id])
        except DatabaseError as error:
            log.warning("the lease of attempt %s runs out by itself: %s", attempt_id, error)

    def _keep(self) -> None:
        next_heartbeat = 0.0
        while not self._stopped.is_set():
            # Who is busy is read before what is held: one who begins in between is then not taken for stale.
            with self._lock:
                busy = list(self._busy.items())
            try:
                if time.monotonic() >= next_heartbeat:
                    held = leases.heartbeat(self._ctx.db, self._ctx.owner, [id_ for id_, _ in busy])
                    next_heartbeat = time.monotonic() + HEARTBEAT_SECONDS
                    why = agreement.why_not(self._ctx.db, self._ctx.owner)
                    if why is not None and not self._ctx.stopping.is_set():
                        self._ctx.bells.drain(why)
                else:
                    held = leases.held(self._ctx.db, self._ctx.owner)
                self._tell(busy, held)
                self._trouble.over()
            except DatabaseError as error:
                self._trouble.say(error)
            except Exception:
                log.exception("the leases wait")  # whatever it is: without us nobody hears of a cancel
            self._stopped.wait(LEAST_PAUSE_SECONDS)  # each line of a log is news
            idle = max(LOOK_SECONDS, next_heartbeat - time.monotonic())  # whoever woke us in between
            self.woken.wait(LOOK_SECONDS if self.count else idle)
            self.woken.clear()

    def _tell(
        self, busy: list[tuple[str, tuple[Control, AttemptLease, threading.Thread]]], held: list[Held]
    ) -> None:
        by_id = {item.attempt_id: item for item in held}
        now = self._ctx.db.clock()
        for attempt_id, (control, lease, _) in busy:
            item = by_id.get(attempt_id)
            control.hear(item if item is not None and item.fence == lease.fence else None, now)
