"""While the command runs: its log comes in, its end is known at once, its ceilings are kept."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from jobs import money
from jobs.states import Event, State
from jobs.store import attempts, logs
from jobs.store.attempts import Work
from jobs.store.ending import after_stop
from jobs.store.transitions import AttemptLease
from workers.ssh.connect import Machine
from workers.ssh.errors import SshError
from workers.ssh.tail import follow
from workers.steps import guard
from workers.steps.context import Context
from workers.steps.control import Control
from workers.steps.logbook import Logbook, Sink
from workers.supervisor import ExitRecord, MachineState

log = logging.getLogger(__name__)

DIFFERS = "incomplete: the log differs from what the machine wrote"


def run(
    ctx: Context,
    work: Work,
    lease: AttemptLease,
    machine: Machine,
    control: Control,
    book: Logbook,
    stands: Callable[[], None],
) -> bool:
    """Follow the command to its end and write it; False where the attendant was interrupted before that.

    *stands* is called when the machine is seen to serve. Raises Unreachable where the connection is lost, and
    Stale where the lease is.
    """
    if work.stop_ordered_at is not None:
        control.cause, control.stop_ordered_at = work.stop_cause, work.stop_ordered_at
    told = False  # whether the machine has heard of the stop, over this connection
    sink = book.open(work.attempt_id, lease, work.log_bytes)
    try:
        while True:
            # What was asked for is looked at first: who reconnected may have been told of it meanwhile.
            control.interrupt.clear()
            if control.stale or control.leaving:
                sink.flush()
                return False
            if control.too_late:
                _overdue(ctx, work, lease, machine, sink, control)
                return True
            if control.cause is not None and not told:
                if control.stop_ordered_at is None:
                    control.stop_ordered_at = attempts.order_stop(ctx.db, work, lease, control.cause)
                state = machine.stop(work.attempt_id, control.cause, work.grace)
                told = True
                log.info("attempt %s: stopping (%s), it is %s", work.attempt_id, control.cause, state.kind)
            if not guard.rearm(ctx, work, lease, machine, control):
                continue
            end = follow(
                machine,
                work.attempt_id,
                sink.received,
                sink.write,
                interrupt=control.interrupt,
                stands=stands,
            )
            if end is not None:
                _ended(ctx, work, lease, machine, sink, end)
                return True
    except SshError:
        sink.flush()  # the machine may be gone, and these bytes with it
        raise
    finally:
        sink.close()


def _ended(
    ctx: Context, work: Work, lease: AttemptLease, machine: Machine, sink: Sink, end: MachineState
) -> None:
    stored = sink.flush()
    with_outputs = bool(work.output_globs)
    if end.exit is None:
        attempts.finish(
            ctx.db,
            work,
            lease,
            Event.GONE,
            state=State.RUNNING,
            cause="lost",
            detail="the machine restarted, or lost what watches the command: how it ended is not known",
            log_end="incomplete: the machine does not know how much was written",
            with_outputs=with_outputs,
        )
        return
    record = end.exit
    if record.cause == "max_cost":
        work = attempts.load(ctx.db, work.attempt_id) or work  # its price may be why
    detail = describe(record, work)
    if record.cause == "idle" and (samples := machine.idle_samples(work.attempt_id)) is not None:
        detail += f"; how busy they were, in percent, the last first: {samples}"
    attempts.finish(
        ctx.db,
        work,
        lease,
        Event.EXITED,
        state=State.RUNNING,
        cause=record.cause,
        detail=detail,
        exit_code=None if record.cause == "setup_failed" else record.code,
        log_end=_log_end(ctx, work, sink, stored, record),
        with_outputs=with_outputs,
    )
    log.info("attempt %s: %s", work.attempt_id, detail)


def _log_end(ctx: Context, work: Work, sink: Sink, stored: int, record: ExitRecord) -> str:
    """'sealed' where every byte that the machine counted is here, else what is missing."""
    if stored != record.log_bytes:
        return f"incomplete: {stored} of {record.log_bytes} bytes were read"
    ours = sink.sha256 or logs.digest(ctx.db, work.attempt_id)
    if ours != record.log_sha256:
        return DIFFERS
    if record.dropped_bytes:
        where = "at its end" if record.gap_offset is None else f"after its first {record.gap_offset} bytes"
        return f"incomplete: {record.dropped_bytes} bytes {where} were dropped on the machine"
    return "sealed"


def _overdue(
    ctx: Context, work: Work, lease: AttemptLease, machine: Machine, sink: Sink, control: Control
) -> None:
    """Time is over. A command that has ended, but whose log is still on its way, has ended all the same."""
    state = machine.state(work.attempt_id)
    if state.exit is not None:
        _ended(ctx, work, lease, machine, sink, state)
        return
    sink.flush()
    patience = after_stop(work.grace).total_seconds()
    attempts.finish(
        ctx.db,
        work,
        lease,
        Event.OVERDUE,
        state=State.RUNNING,
        cause=control.cause or "max_runtime",
        detail=f"the command did not end within {patience:.0f} s; its machine was taken away",
        log_end="incomplete: the machine was ended before the rest was read",
    )


def describe(record: ExitRecord, work: Work) -> str:
    """An end as a sentence for people."""
    match record.cause:
        case "exit_code" if record.code is not None and record.code > 128 and record.code < 193:
            return f"exited with {record.code} (signal {record.code - 128})"
        case "exit_code":
            return f"exited with {record.code}"
        case "max_runtime":
            return f"stopped after {duration(work.max_runtime)}, its max-runtime"
        case "max_cost" if money.too_dear(work.price, work.max_price):
            return f"stopped, because {money.dearer(work.product, work.price, work.max_price)}"
        case "max_cost" if (
            work.coupon is not None
            and work.price_final
            and (work.price or 0) >= (work.full_price or math.inf)
        ):
            price = money.format_usd(work.price or 0)
            return f"stopped, because it costs ${price} an hour now, and {work.coupon!r} takes nothing off"
        case "max_cost":
            what = "which it took of its budget" if work.budget else "its max-cost"
            return f"stopped before it could cost more than ${money.format_usd(work.ceiling)}, {what}"
        case "idle":
            idle = duration(work.idle_timeout or 0)
            return f"stopped after {idle} in which its GPUs did nothing and it wrote nothing"
        case "cancelled_by_user":
            return "stopped as its user asked"
        case "setup_failed":
            return f"its set-up command ended with {record.code}"
        case "lost":
            return "its supervisor was killed, and with it the knowledge of how the command ended"
        case _:
            return f"ended: {record.cause}"


def duration(seconds: int) -> str:
    """Seconds as a person writes them: 90s, 45m, 2h, 1d."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size and math.fmod(seconds, size) == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
