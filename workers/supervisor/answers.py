"""What the supervisor on a machine says, as values.

Its words are the protocol that ``supervisor.sh`` states at its head. Anything else, also an answer that was
cut off, raises UnreadableAnswer: a caller must never take half an answer for a state.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from workers.supervisor.errors import UnreadableAnswer

MachineKind = Literal["none", "starting", "running", "exited", "lost"]

_EXITED = re.compile(
    r"exited (?P<code>-|\d{1,3}) (?P<cause>[a-z_]{1,40}) (?P<bytes>\d{1,20}) (?P<sha>[0-9a-f]{64})"
    r"(?: (?P<dropped>\d{1,20}) (?P<gap>-|\d{1,20}))?"
)
_RUNNING = re.compile(r"running (?P<pid>\d{1,10})(?P<unattended> unattended)?")
_PLAIN: dict[str, MachineKind] = {"none": "none", "starting": "starting", "lost": "lost"}


@dataclass(frozen=True)
class ExitRecord:
    """How the command ended, and the measures of its log. Sizes and offsets in bytes.

    ``code`` is None where only the end is known: the supervisor was killed under the command; ``cause`` is
    then ``lost``, or that of a stop. Without a gap ``dropped_bytes`` is 0 and ``gap_offset`` None; otherwise
    that many bytes are missing from the log at ``gap_offset``, which is where its kept tail begins.
    """

    code: int | None
    cause: str
    log_bytes: int
    log_sha256: str
    dropped_bytes: int = 0
    gap_offset: int | None = None


@dataclass(frozen=True)
class MachineState:
    """What runs on the machine.

    ``none``: nothing was ever started. ``starting``: `go` was accepted. ``running``: it has a ``pid``;
    ``unattended`` if the supervisor was killed (the command goes on, its code will be unknown). ``exited``:
    the log is closed, see ``exit``. ``lost``: started, no longer alive, and nothing tells how it ended.
    """

    kind: MachineKind
    exit: ExitRecord | None = None
    pid: int | None = None
    unattended: bool = False

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.kind in ("exited", "lost")


@dataclass(frozen=True)
class GoAnswer:
    """Whether this `go` started the command; if not, ``state`` is what had been started before."""

    accepted: bool
    state: MachineState


def _text(answer: bytes | str) -> str:
    text = answer.decode("ascii", "replace") if isinstance(answer, bytes) else answer
    return text.strip()


def parse_state(answer: bytes | str) -> MachineState:
    """Read a state line. Raises UnreadableAnswer."""
    text = _text(answer)
    if text in _PLAIN:
        return MachineState(_PLAIN[text])
    if running := _RUNNING.fullmatch(text):
        return MachineState("running", pid=int(running["pid"]), unattended=running["unattended"] is not None)
    if exited := _EXITED.fullmatch(text):
        code, gap = exited["code"], exited["gap"]
        record = ExitRecord(
            code=None if code == "-" else int(code),
            cause=exited["cause"],
            log_bytes=int(exited["bytes"]),
            log_sha256=exited["sha"],
            dropped_bytes=int(exited["dropped"] or 0),
            gap_offset=None if gap in (None, "-") else int(gap),
        )
        return MachineState("exited", exit=record)
    raise UnreadableAnswer("state", text)


def parse_go(answer: bytes | str) -> GoAnswer:
    """Read the answer to `go`: ``accepted``, or ``refused`` and a state line. Raises UnreadableAnswer."""
    text = _text(answer)
    if text == "accepted":
        return GoAnswer(True, MachineState("starting"))
    if text.startswith("refused "):
        return GoAnswer(False, parse_state(text.removeprefix("refused ")))
    raise UnreadableAnswer("go", text)


def parse_stop(answer: bytes | str) -> MachineState | None:
    """Read the answer to `stop`: None while it is stopping, else the state. Raises UnreadableAnswer."""
    text = _text(answer)
    return None if text == "stopping" else parse_state(text)
