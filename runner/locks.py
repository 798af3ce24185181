"""Two locks beside a database: the right to serve it, and the wish that somebody does.

They are the operating system's own: none outlives its process, however that ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SERVICE = ".service.lock"
WANTED = ".service.wanted"


def beside(database: Path, suffix: str) -> Path:
    """A file that belongs to *database*."""
    return database.with_name(database.name + suffix)


def is_served(database: Path) -> bool:
    """Whether a service lives."""
    # A shared lock: those who only look must not take each other for a service.
    return _is_refused(beside(database, SERVICE), fcntl.LOCK_SH)


def is_wanted(database: Path) -> bool:
    """Whether anybody wants a service to stay although it is idle."""
    return _is_refused(beside(database, WANTED), fcntl.LOCK_EX)


@contextmanager
def wanted(database: Path) -> Iterator[Callable[[], bool]]:
    """Want a service while the block runs. What is yielded tells, at its end, whether others do too."""
    descriptor = os.open(beside(database, WANTED), os.O_CREAT | os.O_RDWR, 0o600)

    def by_others() -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False

    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield by_others
    finally:
        os.close(descriptor)


def _is_refused(lock: Path, kind: int) -> bool:
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
