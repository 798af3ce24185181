"""What the service costs while twenty jobs run and say nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.house import GPU, house, wait_until
from bench.table import Row
from jobs.spec import JobSpec

JOBS = 20
SETTLE_SECONDS = 3.0
WATCH_SECONDS = 10.0
MB = 1_000_000


def measure() -> Iterator[Row]:
    """Memory before and with them; CPU over ten seconds in which nothing happens."""
    with house(RUNNER_MAX_INSTANCES=str(JOBS)) as place:
        place.warm()
        idle = place.service.memory_info().rss
        command: JobSpec = {"command": "sleep 600", "gpu": GPU, "max_cost": 5}
        jobs = place.client.submit_many([command] * JOBS)
        wait_until(
            lambda: len(place.client.jobs("running")) == len(jobs), 120, "twenty running jobs", pause=0.2
        )
        time.sleep(SETTLE_SECONDS)
        before = sum(place.service.cpu_times()[:2])
        began = time.monotonic()
        time.sleep(WATCH_SECONDS)
        busy = sum(place.service.cpu_times()[:2]) - before
        share = busy / (time.monotonic() - began) * 100
        memory, threads = place.service.memory_info().rss, place.service.num_threads()
    yield Row(
        f"memory with {JOBS} quiet running jobs",
        f"{memory / MB:.0f} MB in all, {(memory - idle) / MB / JOBS:.2f} MB a job",
        f"{idle / MB:.0f} MB without jobs",
        f"RSS of the one service process ({threads} threads), its libraries included.",
    )
    yield Row(
        f"CPU with {JOBS} quiet running jobs",
        f"{share:.1f} % of one core",
        f"over {WATCH_SECONDS:.0f} s",
        "The jobs print nothing and nobody watches; their machines, on the same computer, are not counted.",
    )
