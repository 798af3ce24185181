"""First figures at scale: submit rates on both databases, hundreds of running jobs, two requests a second.

It takes a while, and wants more of a computer than the other groups: `make bench NAMES=scale`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from bench import crowd, queueing, turns
from bench.servers import servers
from bench.table import Row

JOBS, QUICK_JOBS = 200, 10
QUICK_STOCK, QUICK_WATCH_SECONDS = 2, 3.0


def measure(*, quick: bool = False) -> Iterator[Row]:
    """Each part on a database of its own. *quick*: small numbers, to see whether it works at all."""
    jobs = QUICK_JOBS if quick else JOBS
    watch = QUICK_WATCH_SECONDS if quick else crowd.WATCH_SECONDS
    with servers() as (postgres, redis):
        _say("submitting")
        yield from queueing.measure(postgres, redis, quick=quick)
        _say("two requests a second")
        yield from turns.measure(postgres, redis, jobs, stock=QUICK_STOCK if quick else turns.STOCK)
        redis.flush()
        _say(f"{jobs} jobs on one worker, {2 * jobs} on two")
        yield from crowd.on_workers(postgres, redis, jobs, seconds=watch)
    _say(f"{jobs} jobs in the embedded service")
    yield from crowd.embedded(jobs, seconds=watch)


def _say(what: str) -> None:
    print(f"  {what} ...", file=sys.stderr, flush=True)
