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
    try:
        with beside(database, SERVICE).open("rb") as file:
            # A shared lock: those who only look must not take each other for a service.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def leave(database: Path) -> bool:
    """Whether a service may leave because nobody wants it. Who does from now on waits until it has ended."""
    try:
        descriptor = os.open(beside(database, WANTED), os.O_CREAT | os.O_RDWR, 0o600)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    return True  # it stays locked until this process ends


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
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that was forked meanwhile has the file open as well
        os.close(descriptor)
