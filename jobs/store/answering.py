"""A connection to PostgreSQL that does not wait for ever for an answer.

The server's own limits end what takes too long, and the kernel's a connection to a computer that vanished.
A server that is stopped, while its computer answers for it, ends nothing: that takes a limit on this side.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import psycopg
from psycopg.abc import PQGen
from psycopg.waiting import Ready, Wait

ANSWER_SECONDS = 40.0
"""A statement may wait 10 s for a lock, and take 30 s."""
CONNECT_SECONDS = 10
LEAST_SECONDS = 1.0
"""So long at least an answer is waited for, however soon somebody wants to be told."""

_end: ContextVar[float] = ContextVar("end", default=math.inf)
_patient: ContextVar[bool] = ContextVar("patient", default=False)


@contextmanager
def patiently() -> Iterator[None]:
    """Answers are waited for as long as it takes: for what the server does without a limit of its own."""
    token = _patient.set(True)
    try:
        yield
    finally:
        _patient.reset(token)


@contextmanager
def answering_by(end: float) -> Iterator[None]:
    """Answers are not waited for past *end*, by the monotonic clock; but for LEAST_SECONDS each."""
    token = _end.set(end)
    try:
        yield
    finally:
        _end.reset(token)


def _seconds(most: float) -> float:
    return min(most, max(LEAST_SECONDS, _end.get() - time.monotonic()))


class Connection(psycopg.Connection[Any]):
    """As psycopg's, but what has no answer in time raises OperationalError, and closes the connection."""

    @classmethod
    def connect(cls, *args: Any, **options: Any) -> Connection:
        """As psycopg's; in the address there may be a ``connect_timeout``."""
        limit = math.ceil(_seconds(int(options.get("connect_timeout", CONNECT_SECONDS))))
        return super().connect(*args, **{**options, "connect_timeout": limit})

    def wait(self, gen: PQGen[Any], *args: Any, **options: Any) -> Any:
        """Every question to the server goes through here."""
        seconds = math.inf if _patient.get() else _seconds(ANSWER_SECONDS)
        return super().wait(self._within(gen, seconds), *args, **options)

    def _within(self, gen: PQGen[Any], seconds: float) -> Generator[Wait, Ready | int, Any]:
        end = time.monotonic() + seconds
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                # With nothing to be read: an answer that is there is taken, however late we look.
                if ready == Ready.NONE and time.monotonic() >= end:
                    self.close()  # in the middle of a statement nothing else can be done with it
                    raise psycopg.OperationalError(f"no answer for {seconds:.0f} s")
                wanted = gen.send(ready)
        except StopIteration as stop:
            return stop.value
