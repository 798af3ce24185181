"""A machine that we are logged into: the supervisor's verbs as methods.

Every method may raise Unreachable, after which the connection is not worth keeping, and BadAnswer where what
the machine says makes no sense. All may be called from any thread, and ``close`` ends those that wait.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from typing import Literal, TypeVar

from workers.ssh import channel
from workers.ssh.channel import Answer, Channel
from workers.ssh.errors import BadAnswer, printable
from workers.ssh.wire import Wire
from workers.supervisor import (
    NO_NVIDIA_SMI,
    NO_PYTHON,
    NO_SUDO,
    SLOW_SUDO,
    GoAnswer,
    MachineState,
    UnreadableAnswer,
    guard_line,
    keys_only_script,
    parse_attestations,
    parse_go,
    parse_state,
    parse_stop,
    shell,
)

QUESTION_SECONDS = 20.0
START_SECONDS = 60.0
UNGUARDED = {
    NO_SUDO: "there is no sudo without a password on the machine",
    SLOW_SUDO: "sudo does not answer on the machine",
    NO_PYTHON: "there is no python3 on the machine",
}
"""What the statuses of the line that starts a guard mean. The machine's own words might repeat the token."""
UNSAID = "what it says is not shown, because it knows secrets"

_SAMPLES = re.compile(r"[0-9, -]{1,200}")

T = TypeVar("T")


def until(end: float, most: float) -> float:
    """The seconds that are left until *end*, by the monotonic clock: at most *most*, and never none."""
    return max(0.1, min(most, end - time.monotonic()))


class Machine:
    """One persistent connection. ``host_key`` is "type base64", ``where`` is for sentences.

    ``discreet``: no error repeats what the machine says, for by now it knows what must stand in no log.
    """

    def __init__(self, wire: Wire, where: str, host_key: str, *, discreet: bool = False) -> None:
        self.wire = wire
        self.where = where
        self.host_key = host_key
        self.discreet = discreet

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether the connection stands, as far as this end knows."""
        return bool(self.wire.is_active())

    def close(self) -> None:
        """End the connection, and every wait on it. Any number of times."""
        self.wire.close()

    def attestations(self, attempt_id: str) -> dict[str, str] | None:
        """The machine's host-key attestations by type; None where there are none, or none of our files."""
        answer = self._run(shell(attempt_id, "attest"))
        if answer.status != 0 or not answer.stdout.strip():
            return None
        return self._read(parse_attestations, answer.stdout)

    def bootstrap(self, script: str) -> None:
        """Bring our files, by the same script that the startup command runs."""
        answer = self._run("sh", stdin=script.encode("ascii"), seconds=START_SECONDS)
        if answer.status != 0:
            raise self._failed("our files could not be brought", answer)

    def switch_off_passwords(self, end: float = math.inf) -> None:
        """Let the machine's SSH server take keys only, with the rights of root. Any number of times.

        What that led to, only the server can tell. *end*: until when it may take, by the monotonic clock.
        Raises BadAnswer where it could not be done.
        """
        stdin = keys_only_script().encode("ascii")
        answer = self._run("sh", stdin=stdin, seconds=until(end, QUESTION_SECONDS))
        if answer.status != 0:
            raise self._failed("logins by password could not be switched off", answer)

    def may_be_armed(self, end: float = math.inf) -> None:
        """Raises BadAnswer, in words of ours, where the machine could not start a guard; *end* as above."""
        self._guard("look", b"", end)

    def arm(self, payload: bytes, end: float = math.inf) -> None:
        """Start the guard with ``guard_payload``. Any number of times; *end* and what it raises as above."""
        self.discreet = True
        self._guard("start", payload, end)

    def _guard(self, verb: Literal["look", "start"], stdin: bytes, end: float) -> None:
        answer = self._run(guard_line(verb), stdin=stdin, seconds=until(end, START_SECONDS))
        if answer.status != 0:
            raise BadAnswer(UNGUARDED.get(answer.status, f"its guard did not start (status {answer.status})"))

    def go(self, attempt_id: str, payload: bytes) -> GoAnswer:
        """Start the command, once. Unreachable leaves open whether it was started."""
        answer = self._run(shell(attempt_id, "go"), stdin=payload, seconds=START_SECONDS)
        if not answer.stdout.strip():
            raise self._failed("the command could not be started", answer)
        told = self._read(parse_go, _last_line(answer.stdout))
        if not told.accepted and told.state.kind == "none":
            raise self._failed("the command was refused", answer)
        return told

    def state(self, attempt_id: str) -> MachineState:
        """What runs there now."""
        answer = self._run(shell(attempt_id, "state"))
        if answer.status != 0:
            raise self._failed("its state could not be read", answer)
        return self._read(parse_state, _last_line(answer.stdout))

    def stop(self, attempt_id: str, cause: str, grace: int) -> MachineState:
        """TERM now and KILL after *grace* seconds; ``running`` while it is being stopped."""
        answer = self._run(shell(attempt_id, "stop", cause, grace))
        if answer.status != 0:
            raise self._failed("the command could not be stopped", answer)
        return self._read(parse_stop, _last_line(answer.stdout)) or MachineState("running")

    def has_nvidia_smi(self, attempt_id: str) -> bool:
        """Whether it can be asked how busy its GPUs are; what it says now may make no sense all the same."""
        return self._run(shell(attempt_id, "gpus"), seconds=START_SECONDS).status != NO_NVIDIA_SMI

    def idle_samples(self, attempt_id: str) -> str | None:
        """The last samples of how busy they were, the newest first: ``0,0 0,1``; None without any."""
        said = printable(_last_line(self._run(shell(attempt_id, "idle")).stdout))
        return said if _SAMPLES.fullmatch(said) else None  # a machine's own words are not ours to repeat

    def follower(self, attempt_id: str, offset: int) -> Channel:
        """The running `follow`; see workers.ssh.tail, which reads it."""
        with channel.deadline(self.wire, self.where, QUESTION_SECONDS):
            return Channel(self.wire, self.where, shell(attempt_id, "follow", offset))

    def _run(self, line: str, *, stdin: bytes = b"", seconds: float = QUESTION_SECONDS) -> Answer:
        return channel.run(self.wire, self.where, line, stdin=stdin, seconds=seconds)

    def _read(self, parse: Callable[[bytes], T], answer: bytes) -> T:
        try:
            return parse(answer)
        except UnreadableAnswer as error:
            said = f"its answer makes no sense; {UNSAID}" if self.discreet else error
            raise BadAnswer(f"{self.where}: {said}") from None

    def _failed(self, what: str, answer: Answer) -> BadAnswer:
        said = UNSAID if self.discreet else printable(answer.stderr or answer.stdout) or "nothing was said"
        return BadAnswer(f"{self.where}: {what} (status {answer.status}: {said})")


def _last_line(answer: bytes) -> bytes:
    """Profiles of images may print something of their own first."""
    lines = answer.strip().splitlines()
    return lines[-1] if lines else b""
