"""How long to wait before something that failed is tried again."""

from __future__ import annotations

import random


def doubling(first: float, longest: float, times: int) -> float:
    """*first* seconds doubled so many *times*, *longest* at most; with jitter.

    The jitter keeps what failed together from coming back together.
    """
    return min(longest, first * 2.0 ** min(times, 30)) * random.uniform(0.75, 1.25)
