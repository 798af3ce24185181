"""The live line: what happens now, since when, and what it has cost so far, on standard error.

On a terminal it is one line that is drawn again; elsewhere each new state is one plain line. The job's own
bytes go to another stream and are never touched, only kept apart from the line.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import TextIO

from jobs.store.database import Database
from jobs.views import JobView
from runner import present
from runner.cli import output

REDRAW_SECONDS = 1.0
QUIET_SECONDS = 0.5
"""How long the log must be quiet before the line is drawn below it."""


class LiveLine:
    """Draws the state of one job. ``shared``: the log is printed on the same terminal."""

    def __init__(self, db: Database, *, stream: TextIO | None = None, shared: bool = False) -> None:
        self._db = db
        self._stream = stream or sys.stderr
        # What reads our output, `tee` perhaps, may write to this terminal too: then no line is drawn anew.
        self._terminal = output.is_terminal(self._stream) and not output.is_pipe(sys.stdout)
        self._shared = shared
        self._drawn = False
        self._at_line_start = True
        self._last_log = 0.0
        self._told: tuple[str, str | None, bool] | None = None

    @property
    def seconds(self) -> float:
        """How long to wait for news before the line wants to be drawn again."""
        return REDRAW_SECONDS if self._terminal else 5.0

    def show(self, view: JobView) -> None:
        """Draw the line anew, or tell a new state."""
        line = output.clean(present.live_line(view, self._db.clock()))
        if self._terminal:
            busy = self._shared and time.monotonic() - self._last_log < QUIET_SECONDS
            if busy or not self._at_line_start:
                return
            self._put(f"\r\x1b[K{output.fit(line, self._stream)}")
            self._drawn = True
            return
        detail = view.detail if view.state == "queued" else None
        news = (present.state_text(view), detail, present.unanswered(view))
        if news != self._told:
            self._told = news
            self.say(line)

    def log(self, data: bytes) -> None:
        """The log is about to be printed: make way."""
        if self._shared and data:
            self.clear()
            self._last_log = time.monotonic()
            self._at_line_start = data.endswith(b"\n")

    def say(self, line: str) -> None:
        """A line that stays."""
        self.end_line()
        self._put(f"{output.clean(line)}\n")

    def clear(self) -> None:
        """Take the line away."""
        if self._drawn:
            self._put("\r\x1b[K")
            self._drawn = False

    def end_line(self) -> None:
        """What follows begins on a line of its own, also where the log's last one has no end."""
        self.clear()
        if self._terminal and not self._at_line_start:
            self._put("\n")
            self._at_line_start = True

    def _put(self, text: str) -> None:
        with suppress(OSError):  # nobody can see it: no reason to end
            self._stream.write(text)
            self._stream.flush()

    def __enter__(self) -> LiveLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_line()
