"""`runner`, as `bench.chaos` starts its workers: on a clock that can be set, perhaps a protection short.

Told by its environment, which nothing but a run of chaos sets:

    CHAOS_CLOCK       a file; the seconds that it holds are how far the wall clock is off
    CHAOS_PROTECTION  which protection the run is about (see `bench.unprotected`)
    CHAOS_WITHOUT     set: it is taken away
    CHAOS_FREEZE      a file; if there, a process removes it and stops itself at the point of the protection
"""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import time_machine

from bench import unprotected
from runner.cli.main import main

LOOK_SECONDS = 0.05


def go_by(path: Path) -> None:
    """Set this process's wall clock whenever *path* says something else; its monotonic one goes on."""
    off, travel = 0.0, None
    wall, began = datetime.now(UTC), time.monotonic()
    while True:
        said = _seconds(path)
        if said is not None and said != off:
            if travel is not None:
                travel.stop()
            off, true = said, wall + timedelta(seconds=time.monotonic() - began)
            travel = time_machine.travel(true + timedelta(seconds=off), tick=True) if off else None
            if travel is not None:
                travel.start()
        time.sleep(LOOK_SECONDS)


def _seconds(path: Path) -> float | None:
    try:
        return float(path.read_text())
    except (OSError, ValueError):  # it is just being written
        return None


if __name__ == "__main__":
    if (clock := os.environ.get("CHAOS_CLOCK")) is not None:
        threading.Thread(target=go_by, args=(Path(clock),), name="clock", daemon=True).start()
    if (name := os.environ.get("CHAOS_PROTECTION")) is not None:
        unprotected.prepare(
            unprotected.ALL[name],
            without="CHAOS_WITHOUT" in os.environ,
            freeze=Path(os.environ["CHAOS_FREEZE"]),
        )
    main()
