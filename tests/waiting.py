"""Waiting for a condition, never for a time: the one way in which tests wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], *, timeout: float = 30.0, what: str = "the condition") -> T:
    """Return the first truthy value of *condition*; fail after *timeout* seconds, naming *what*."""
    end, pause = time.monotonic() + timeout, 0.005
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {timeout:g} s (last value: {value!r})")
        time.sleep(pause)
        pause = min(0.05, 1.5 * pause)
