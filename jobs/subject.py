"""What a line of the log is about: the job and the attempt at which a thread works.

A context variable carries them, so that no function has to be told for the sake of what it might say.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Subject:
    """Ids; None where a line is about none."""

    job: str | None = None
    attempt: str | None = None


_subject: ContextVar[Subject] = ContextVar("subject", default=Subject())  # noqa: B039 - it is frozen


def current() -> Subject:
    """What this thread works at."""
    return _subject.get()


@contextmanager
def about(*, job: str | None = None, attempt: str | None = None) -> Iterator[None]:
    """Have the lines that are written in this block be about these; what is None stays as it was."""
    before = _subject.get()
    token = _subject.set(replace(before, job=job or before.job, attempt=attempt or before.attempt))
    try:
        yield
    finally:
        _subject.reset(token)
