"""`python -P -m bench.budgets`: many workers, many jobs, one budget that pays for a tenth of them at a time.

    --jobs N       how many, 500 by default, each of a random size
    --workers N    how many admit them at once, 8 by default, on one PostgreSQL
    --seed N       which jobs there are

At no instant may what is reserved and what is spent together be more than the budget: the events of the
database tell what each job took, and when. In the end all have run. Ends with 1 where either does not hold.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory

from sqlalchemy import func, select

from bench.audit import Finding, budget, taken
from bench.farm import farm
from bench.house import GPU, wait_until
from bench.servers import database, servers
from jobs import forecast, money
from jobs.models import JobEvent
from jobs.spec import JobSpec
from jobs.store import budgets, catalog, reads
from jobs.store.database import Database

NAME = "shared"
MACHINES = 40
SETTINGS = {"RUNNER_BOOT_TIMEOUT": "60s", "RUNNER_API_RATE": "20"}
BOOT_SECONDS = 60


@dataclass
class Found:
    """What came of it. Money in micro-dollars."""

    whole: int
    needs: int
    spent: int = 0
    highest: int = 0
    waited: int = 0
    seconds: float = 0.0
    ends: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)


def run(jobs: int, workers: int, seed: int) -> Found:
    """Submit, let them run, and hold every event against the budget."""
    rng, began = random.Random(seed), time.monotonic()
    with servers() as (postgres, redis), TemporaryDirectory(prefix="runner-store-") as store:
        environ = {
            **SETTINGS,
            "RUNNER_DATABASE_URL": database(postgres),
            "RUNNER_BROKER_URL": redis.url(),
            "RUNNER_ARTIFACTS_URL": store,
        }
        with farm(MACHINES, environ) as built:
            db = built.client.database
            built.start(workers)
            built.warm()
            minutes = [rng.randint(3, 60) for _ in range(jobs)]
            specs = [built.client.validate(_spec(count)) for count in minutes]
            price = catalog.prices(db)[GPU]
            needs = [forecast.most(spec, [price], BOOT_SECONDS, 0) for spec in specs]
            whole = max(max(needs), sum(needs) // 10)
            budgets.put(db, NAME, whole, None)
            built.client.submit_many([_spec(count, NAME) for count in minutes])
            wait_until(lambda: not reads.unfinished(db), 120 + 4.0 * jobs, "the end of all jobs", 1.0)
            found = Found(whole, sum(needs), findings=list(budget(db, NAME, whole)))
            _look(found, db)
    found.seconds = time.monotonic() - began
    return found


def _spec(minutes: int, budget: str | None = None) -> JobSpec:
    return {"command": "true", "gpu": GPU, "max_cost": 5, "max_runtime": f"{minutes}m", "budget": budget}


def _look(found: Found, db: Database) -> None:
    for view in reads.listing(db):
        if view.budget == NAME:
            found.ends[f"{view.state} ({view.reason})"] += 1
            found.spent += view.cost
    found.highest = max(micros for _, micros in taken(db))
    waited = select(func.count(JobEvent.job_id.distinct())).where(JobEvent.reason == budgets.WAITING)
    with db.read() as session:
        found.waited = session.execute(waited).scalar_one()


def report(found: Found, jobs: int, workers: int) -> None:
    """What came of it, for a person."""
    usd = money.format_cost
    print(f"{jobs} jobs that may cost ${usd(found.needs)} together, {workers} workers, {found.seconds:.0f} s")
    print(f"  how they ended: {', '.join(f'{n} {what}' for what, n in sorted(found.ends.items()))}")
    print(f"  the budget is ${usd(found.whole)}; at any instant at most ${usd(found.highest)} was taken")
    print(f"  {found.waited} jobs waited for it; in the end they have cost ${usd(found.spent)}")
    print(f"  findings: {len(found.findings)}")
    for item in found.findings:
        print(f"    {item.kind}: {item.what}")


def good(found: Found, jobs: int) -> bool:
    """Whether the budget held, and all have run."""
    return not found.findings and found.ends == Counter({"succeeded (exit_code)": jobs})


def main() -> int:
    """Run it; 1 where the budget did not hold, or not all have run."""
    parser = argparse.ArgumentParser(
        prog="bench.budgets", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # by way of all that cleans up
    found = run(given.jobs, given.workers, given.seed)
    report(found, given.jobs, given.workers)
    return 0 if good(found, given.jobs) else 1


if __name__ == "__main__":
    sys.exit(main())
