"""What can be wrong with a machine's answer: one error, for a caller can do one thing about it: ask again."""

from __future__ import annotations

from jobs.errors import RunnerError


class UnreadableAnswer(RunnerError):
    """The machine said something that is not of the protocol: cut off, or not our supervisor."""

    def __init__(self, verb: str, answer: str) -> None:
        shown = "".join(c if c.isprintable() else "?" for c in answer[:120])
        super().__init__(f"the machine's answer to `{verb}` makes no sense: {shown!r}")
        self.verb = verb
