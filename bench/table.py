"""What a measurement yields, and how it is shown: one row of one table in Markdown."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

HEAD = ("what", "figure", "beside", "bias")


@dataclass(frozen=True)
class Row:
    """One figure. *beside*: what it is compared with, in the same run; *bias*: what speaks against it."""

    what: str
    figure: str
    beside: str
    bias: str


def render(rows: Sequence[Row]) -> str:
    """The table, for a page in Markdown."""
    lines = [HEAD, ("---",) * len(HEAD), *((row.what, row.figure, row.beside, row.bias) for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def circumstances(load: tuple[float, float, float]) -> str:
    """When and on what it was measured; *load* is the load average before."""
    facts = (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"{os.cpu_count()} cores ({platform.machine()}, {platform.system()})",
        f"Python {platform.python_version()}",
        f"SQLite {sqlite3.sqlite_version}",
        f"load average before: {load[0]:.1f}, after: {os.getloadavg()[0]:.1f}",
    )
    return "; ".join(facts)


def seconds(values: Sequence[float]) -> str:
    """The median of durations, and their range."""
    return f"{statistics.median(values):.2f} s (of {len(values)}: {min(values):.2f} to {max(values):.2f})"
