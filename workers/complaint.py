"""What goes on being wrong is said when it begins, and now and then while it lasts."""

from __future__ import annotations

import logging
import time

AGAIN_SECONDS = 60.0


class Complaint:
    """One kind of trouble, of one thread. *what*: what does not happen then; *after*: what does again."""

    def __init__(self, log: logging.Logger, what: str, after: str) -> None:
        self._log, self._what, self._after = log, what, after
        self._said: str | None = None
        self._say_at = 0.0

    def say(self, error: Exception) -> None:
        """It is wrong, or still is. Another reason is said at once."""
        now, why = time.monotonic(), str(error)
        if why != self._said or now >= self._say_at:
            self._log.warning("%s: %s", self._what, why)
            self._said, self._say_at = why, now + AGAIN_SECONDS

    def over(self) -> None:
        """All is well: the next one is a new one."""
        if self._said is not None:
            self._log.info("%s", self._after)
        self._said = None
