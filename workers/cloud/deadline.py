"""One request over httpx: over when its time is over, however slowly the other side drips, and not logged."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

CONNECT_SECONDS = 5.0


class _Silent(threading.local, logging.Filter):
    """Drops what httpx and httpcore log in a thread while it talks to another side.

    At their level DEBUG they quote what they did not understand, and that may be a secret that was sent.
    What else in the process uses them, programs of others among it, logs as it likes.
    """

    on = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record may be seen."""
        return not self.on


_silent = _Silent()
for _name in ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy", "httpcore.socks"):
    logging.getLogger(_name).addFilter(_silent)


@contextmanager
def silence() -> Iterator[None]:
    """Have the libraries log nothing of what this thread does meanwhile."""
    _silent.on = True
    try:
        yield
    finally:
        _silent.on = False


class Line(Protocol):
    """A connection: its socket, as soon as there is one."""

    socket: socket.socket | None


class TooLate(Exception):
    """The time was over before the request began to be sent."""


class Deadline:
    """Ends one request when its time is over: the library's timeouts count anew for each read."""

    def __init__(self, line: Line, seconds: float) -> None:
        self._line = line
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._done = False
        self.expired = False
        self.cut = False
        self._timeouts: dict[str, float | None] = {}
        self._renew()
        self._timeouts["connect"] = min(max(0.01, seconds), CONNECT_SECONDS)
        self.extensions: dict[str, Any] = {"timeout": self._timeouts, "trace": self._trace}
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def passed(self) -> bool:
        """Whether the time is over now."""
        return time.monotonic() >= self._end

    def over(self) -> None:
        """The request came to its end; ``expired`` and ``cut`` are final."""
        with self._lock:
            self._done = True
            self.expired = self.passed()
        self._timer.cancel()
        self._timer.join()

    def _renew(self) -> None:
        left = max(0.01, self._end - time.monotonic())
        self._timeouts |= {"read": left, "write": left, "pool": left}

    def _trace(self, name: str, info: dict[str, Any]) -> None:
        """What the library does, step by step (httpx's documented extension ``trace``)."""
        if name.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._line.socket = info["return_value"].get_extra_info("socket")
        elif name.endswith(".started"):
            if self.passed() and "send_request_headers" in name:
                raise TooLate
            self._renew()

    def _expire(self) -> None:
        with self._lock:
            if self._done:
                return
            self.cut = True
            if self._line.socket is not None:
                # Not SSLSocket.shutdown: that would take its TLS away from under the thread that reads.
                with suppress(OSError):
                    socket.socket.shutdown(self._line.socket, socket.SHUT_RDWR)
