"""The log as it is written, from a byte on, over the connection that is there; and the command's end.

The supervisor's `follow` writes the log's bytes to standard output and, when all is over, the state to
standard error. Only with that line and an exit status is it the end: else a broken connection looks the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from workers.ssh.errors import BadAnswer, Unreachable, printable
from workers.ssh.machine import Machine
from workers.supervisor import MachineState, UnreadableAnswer, parse_state

INTERRUPT_SECONDS = 0.2
"""How late an interrupt may be noticed while nothing comes."""
STANDS_SECONDS = 2.0
MOST_WORDS = 64 * 1024

NOTHING_STARTED, LOG_TOO_SHORT = 3, 4


def follow(
    machine: Machine,
    attempt_id: str,
    offset: int,
    sink: Callable[[bytes], None],
    *,
    interrupt: threading.Event,
    stands: Callable[[], None] | None = None,
) -> MachineState | None:
    """Give *sink* the log from byte *offset* on until the command has ended; None where *interrupt* was set.

    *sink* may block; the machine is then slowed down. What it raises ends this. The state is ``exited`` or
    ``lost``; lost is also a machine that knows nothing of the attempt any more. No follower stays on the
    machine. *stands* is called once, when the log is seen to come, or has been waited for without complaint
    for STANDS_SECONDS. Raises Unreachable, after which the log goes on at *offset* plus what *sink* got, and
    BadAnswer.
    """
    with machine.follower(attempt_id, offset) as channel:
        words = bytearray()
        began = time.monotonic()
        while not interrupt.is_set():
            channel.bell.rearm()
            data = channel.stdout()
            if data:
                sink(data)
            if stands is not None and (data or time.monotonic() - began > STANDS_SECONDS):
                stands()
                stands = None
            said = channel.stderr()
            _keep(words, said)
            if data == b"":
                while said:
                    said = channel.stderr()
                    _keep(words, said)
                return _end(machine, channel.status(), bytes(words))
            if data is None and not said:
                channel.bell.wait(INTERRUPT_SECONDS)
        return None


def _keep(words: bytearray, said: bytes | None) -> None:
    """Keep the end of what stands on standard error. It must be read in any case, or the log stops too."""
    words += said or b""
    del words[:-MOST_WORDS]


def _end(machine: Machine, status: int, words: bytes) -> MachineState:
    lines = words.strip().splitlines()
    if status not in (0, NOTHING_STARTED, LOG_TOO_SHORT) or not lines:
        said = printable(words) or "nothing was said"
        raise BadAnswer(f"{machine.where}: the log could not be read (status {status}: {said})")
    try:
        state = parse_state(lines[-1])
    except UnreadableAnswer as error:
        raise BadAnswer(f"{machine.where}: {error}") from None
    if state.over:
        return state
    if state.kind == "none":
        return MachineState("lost")
    if status == LOG_TOO_SHORT:
        raise BadAnswer(f"{machine.where}: its log is shorter than what was read of it before")
    raise Unreachable(f"{machine.where}: the log's reader ended before the command")
