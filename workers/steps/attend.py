"""One attempt, from a machine that boots to a command that has ended, over one SSH connection.

Whoever holds the attempt's lease runs this. It starts from what the database says, so it does not matter
whether it is the first to attend or the fifth.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime

from jobs.backoff import doubling
from jobs.states import Event, State
from jobs.store import attempts
from jobs.store.attempts import Work
from jobs.store.transitions import AttemptLease, Stale
from workers.ssh.connect import Machine, connect
from workers.ssh.errors import HostKeyMismatch, SshError
from workers.steps import door, guard
from workers.steps.boot import boot
from workers.steps.context import Context
from workers.steps.control import Control
from workers.steps.door import Distrusted
from workers.steps.logbook import Logbook
from workers.steps.outputs import Outputs
from workers.steps.run import run

log = logging.getLogger(__name__)

CONNECT_SECONDS = 15.0
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 15.0


def attend(ctx: Context, attempt_id: str, lease: AttemptLease, control: Control, book: Logbook) -> None:
    """Attend to one attempt until its command has ended, the lease is lost, or the worker stops."""
    visit = _Visit(ctx, attempt_id, lease, control, book)
    try:
        visit.stay()
    except Stale:
        log.info("attempt %s has moved on without this worker", attempt_id)
    finally:
        visit.hang_up()


class _Visit:
    def __init__(
        self, ctx: Context, attempt_id: str, lease: AttemptLease, control: Control, book: Logbook
    ) -> None:
        self.ctx, self.attempt_id, self.lease = ctx, attempt_id, lease
        self.control, self.book = control, book
        self.machine: Machine | None = None
        self.outputs: Outputs | None = None
        self.failures = 0
        self.reached_at = 0.0
        self.silent = False

    def stay(self) -> None:
        while not (self.control.stale or self.control.leaving):
            work = attempts.load(self.ctx.db, self.attempt_id)
            if work is None or not _to_do(work):
                return
            if work.state is State.RUNNING and self.control.too_late:
                self._give_up(work)
                return
            try:
                if self._step(work):
                    return
            except (Distrusted, HostKeyMismatch) as error:
                self._distrust(work, str(error))
                return
            except SshError as error:
                self._lost_touch(work, error)

    def hang_up(self) -> None:
        if self.machine is not None:
            self.machine.close()
            self.machine = None

    def _step(self, work: Work) -> bool:
        """One step of the attempt; True where nothing is left to attend to."""
        if self.machine is None:
            self.machine = self._reach(work)
            self.reached_at = time.monotonic()
            if work.state is State.RUNNING and (self.failures or work.unreachable_since is not None):
                self.machine.state(work.attempt_id)  # a login alone does not show that its supervisor answers
            if work.state is not State.BOOTING:
                self.control.expires_earlier = True  # for all that is known of what another one has told it
        if work.state is State.FINISHING:
            self.control.interrupt.clear()
            if self.control.stale or self.control.leaving:
                return False
            rearmed = guard.rearm(self.ctx, work, self.lease, self.machine, self.control)
            return rearmed and self._outputs(work).last(self.machine, work)
        if work.state is State.BOOTING:
            return not boot(self.ctx, work, self.lease, self.machine, self.control)

        def stands() -> None:
            self._in_touch(work)

        with self._outputs(work).synced(self.machine):
            run(self.ctx, work, self.lease, self.machine, self.control, self.book, stands)
        return False

    def _outputs(self, work: Work) -> Outputs:
        if self.outputs is None:
            self.outputs = Outputs(self.ctx, work, self.lease, self.control)
        return self.outputs

    def _reach(self, work: Work) -> Machine:
        return connect(
            door.address(self.ctx, work),
            self.ctx.key.private_path,
            pinned=work.host_key,
            timeout=CONNECT_SECONDS,
            discreet=work.confided,
        )

    def _in_touch(self, work: Work) -> None:
        self.failures = 0
        if self.silent or work.unreachable_since is not None:  # said by this holder, or by one before it
            self.silent = False
            attempts.note_unreachable(self.ctx.db, work, self.lease, None)

    def _lost_touch(self, work: Work, error: SshError) -> None:
        if self.machine is not None and time.monotonic() - self.reached_at > LONGEST_PAUSE:
            self.failures = 0  # it stood for long: that it broke is no reason to wait long
        self.hang_up()
        self.failures += 1
        if not self.silent and work.state is State.RUNNING:
            self.silent = True
            since: datetime = attempts.unreachable_since(self.ctx.db, self.attempt_id) or self.ctx.db.clock()
            attempts.note_unreachable(self.ctx.db, work, self.lease, since)
        pause = doubling(FIRST_PAUSE, LONGEST_PAUSE, self.failures - 1)
        log.info("attempt %s: %s; again in %.1f s", self.attempt_id, error, pause)
        if self.failures == 1:
            self.ctx.bells.observe()  # the listing may know why
        if self.control.interrupt.wait(pause):
            self.control.interrupt.clear()

    def _give_up(self, work: Work) -> None:
        attempts.finish(
            self.ctx.db,
            work,
            self.lease,
            Event.OVERDUE,
            state=State.RUNNING,
            cause=self.control.cause or "max_runtime",
            detail="the machine could not be reached to stop the command, and was taken away",
            log_end="incomplete: the machine was ended before the rest was read",
        )

    def _distrust(self, work: Work, sentence: str) -> None:
        if work.state is State.FINISHING:  # how the command ended is known already
            self._outputs(work).give_up(sentence)
            return
        booting = work.state is State.BOOTING
        attempts.finish(
            self.ctx.db,
            work,
            self.lease,
            Event.DISTRUSTED if booting else Event.GONE,
            state=work.state,
            cause="host_key",
            detail=sentence,
            log_end=None if booting else "incomplete: the machine's host key changed",
        )


def _to_do(work: Work) -> bool:
    """Whether there is something on the machine yet for an attendant: its command, or its outputs."""
    if work.state is State.FINISHING:
        return work.outputs_until is not None and work.instance_state == "live"
    return work.state in (State.BOOTING, State.RUNNING)
