"""`python -P -m bench.ceilings`: does any job cost more than its ceiling, and how early is it stopped?

    --jobs N       how many, 200 by default; 20 machines are rented at once
    --seed N       which jobs there are, and what goes wrong

In real time: a ceiling pays for three to five minutes, so 200 jobs take about half an hour. Some commands
run until they are stopped, some end, some fail and are tried again. Meanwhile workers are killed, answers are
lost or late, machines do not boot, and connections break, each for as long as the promise allows: the bill of
the simulated cloud is what counts. Ends with 1 where a bill is above its ceiling.
"""

from __future__ import annotations

import argparse
import random
import signal
import statistics
import sys
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from bench import breaking
from bench.breaking import Place
from bench.farm import farm
from bench.house import GPU, wait_until
from bench.servers import database, servers
from jobs import ids, money
from jobs.spec import JobSpec
from jobs.store import reads
from jobs.views import JobView

MACHINES, WORKERS = 20, 3
CENTS = 60
"""An hour: a cent a minute, so that ceilings are easily read."""
FAULTS = (
    breaking.storm,
    breaking.slow_answers,
    breaking.lost_deploy,
    breaking.lost_terminate,
    breaking.killed_worker,
    breaking.cut_connection,
    breaking.refused_connections,
    breaking.endless_boot,
    breaking.lagging_list,
    breaking.partial_list,
    breaking.flushed_broker,
)
"""What may be while the promise holds: within the time of an ending somebody reaches the API."""
PAUSE_SECONDS = (3, 12)
SETTINGS = {"RUNNER_BOOT_TIMEOUT": "30s", "RUNNER_API_RATE": "20"}


@dataclass
class Found:
    """What came of it. ``unused``: seconds that a ceiling paid for, after the command had been stopped."""

    jobs: int
    above: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    unused: list[float] = field(default_factory=list)
    ending: list[float] = field(default_factory=list)
    attempts: int = 0
    nearest: Fraction = Fraction(0)
    seconds: float = 0.0


def run(jobs: int, seed: int) -> Found:
    """Submit, break, wait until all are over, and hold each job against its bill."""
    rng, found, began = random.Random(seed), Found(jobs), time.monotonic()
    with (
        servers() as (postgres, redis),
        TemporaryDirectory(prefix="runner-store-") as store,
        TemporaryDirectory(prefix="runner-ceilings-") as name,
    ):
        environ = {
            **SETTINGS,
            "RUNNER_DATABASE_URL": database(postgres),
            "RUNNER_BROKER_URL": redis.url(),
            "RUNNER_ARTIFACTS_URL": store,
        }
        with farm(MACHINES, environ) as built:
            built.sim.set_price(GPU, CENTS)
            place = Place(built, rng, threading.Event(), Path(name), postgres, redis, WORKERS)
            built.start(WORKERS)
            job_ids = [job.id for job in built.client.submit_many([_spec(rng) for _ in range(jobs)])]
            breaker = threading.Thread(
                target=_break, args=(place, random.Random(f"{seed} faults")), daemon=True
            )
            breaker.start()
            db = built.client.database
            try:
                rounds = -(-jobs // MACHINES)
                wait_until(lambda: not reads.unfinished(db), 600 + 420 * rounds, "the end of all jobs", 2.0)
            finally:
                place.over.set()
                breaker.join()
                built.sim.faults.clear()
            wait_until(lambda: not built.sim.instances(), 120, "the end of all machines", 1.0)
            _judge(found, reads.some(db, job_ids), _bills(place))
    found.seconds = time.monotonic() - began
    return found


def _spec(rng: random.Random) -> JobSpec:
    """A job of three to five cents, which are minutes."""
    spec: dict[str, Any] = {
        "gpu": GPU,
        "max_cost": f"0.{rng.randrange(30_000, 55_000):06d}",
        "grace": f"{rng.randint(1, 30)}s",
        "command": "echo on; while true; do sleep 1; done",
    }
    kind = rng.random()
    if kind < 0.2:
        spec["command"] = f"echo on; sleep {rng.randint(0, 60)}"
    elif kind < 0.4:
        spec |= {"command": f"echo on; sleep {rng.randint(0, 40)}; exit 3", "retries": 2}
    elif kind < 0.6:
        spec["command"] = f"trap '' TERM; {spec['command']}"
    return cast("JobSpec", spec)


def _break(place: Place, rng: random.Random) -> None:
    while not place.over.is_set():
        rng.choice(FAULTS)(place)
        place.pause(*PAUSE_SECONDS)


def _bills(place: Place) -> dict[str, Fraction]:
    """What each attempt's machines cost, by its id: a stray has its name as well."""
    bills: defaultdict[str, Fraction] = defaultdict(Fraction)
    for charge in place.farm.sim.ledger().charges:
        name = ids.parse_instance_name(charge.name)
        assert name is not None
        bills[name.attempt_id] += charge.exact_micros
    return bills


def _judge(found: Found, views: list[JobView], bills: dict[str, Fraction]) -> None:
    for view in views:
        bill = sum((bills.pop(attempt.id, Fraction(0)) for attempt in view.attempts), Fraction(0))
        found.ends[f"{view.state} ({view.reason})"] += 1
        found.attempts += len(view.attempts)
        found.nearest = max(found.nearest, bill / view.max_cost)
        if bill > view.max_cost:
            usd = money.format_usd(-(-bill.numerator // bill.denominator))
            found.above.append(f"{view.id}: ${usd} on the bill, ceiling ${money.format_usd(view.max_cost)}")
        if view.reason == "max_cost":
            _stopped(found, view)
    if bills:  # a machine that no attempt knows
        found.above += [f"{attempt_id}: a machine on nobody's receipt" for attempt_id in bills]


def _stopped(found: Found, view: JobView) -> None:
    """How many of the seconds that the ceiling paid for its last command did not get."""
    last = view.attempts[-1]
    if last.started_at is None or last.ended_at is None or last.deployed_at is None or not last.price:
        return
    before = sum(attempt.cost for attempt in view.attempts[:-1])
    paid = money.paid_until(last.deployed_at, view.max_cost - before, last.price)
    found.unused.append((paid - last.ended_at).total_seconds())
    found.ending.append(money.ending_seconds(view.grace))


def report(found: Found) -> None:
    """What came of it, for a person."""
    print(f"{found.jobs} jobs, {found.attempts} attempts, {found.seconds:.0f} s")
    print(f"  how they ended: {', '.join(f'{n} {what}' for what, n in sorted(found.ends.items()))}")
    print(
        f"  bills above their ceiling: {len(found.above)}; the nearest was {float(found.nearest):.1%} of it"
    )
    for line in found.above:
        print(f"    {line}")
    if found.unused:
        unused, ending = statistics.median(found.unused), statistics.median(found.ending)
        print(
            f"  {len(found.unused)} were stopped by the ceiling, with {unused:.0f} s paid for and not used in"
        )
        print(
            f"  the median, from {min(found.unused):.0f} to {max(found.unused):.0f}; {ending:.0f} s of these"
        )
        print("  are kept for the end")


def main() -> int:
    """Run it; 1 where a bill is above its ceiling."""
    parser = argparse.ArgumentParser(
        prog="bench.ceilings", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # by way of all that cleans up
    found = run(given.jobs, given.seed)
    report(found)
    return 1 if found.above else 0


if __name__ == "__main__":
    sys.exit(main())
