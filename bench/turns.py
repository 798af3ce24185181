"""Two requests a second: many short jobs on two workers, with fewer machines in stock than jobs want."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bench.farm import Farm, farm
from bench.house import FINAL, wait_until
from bench.servers import database
from bench.table import Row
from jobs.views import JobView
from runner.sim.http import Logged
from tests.servers import Postgres, Redis

SECONDS = 1200.0
"""For all to end: at two requests a second, half of them listings, 200 jobs take some six minutes."""
STOCK = 6
"""Machines there are: fewer than two requests a second can rent, or no deploy would find none."""
WINDOW = 60.0
A_WINDOW = 120
LATEST_END = 10.0
"""Turns are booked for terminates four seconds ahead at most; the rest is the end of a command and a log."""
COMMAND = "sleep 3; date +%s.%N"


class Violation(Exception):
    """Something that is promised did not hold."""


@dataclass
class Found:
    """What the cloud saw. ``ends``: seconds from a command's last word to its accepted terminate."""

    arrivals: list[float]
    calls: Counter[str]
    refused: int
    ends: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def measure(postgres: Postgres, redis: Redis, jobs: int, *, stock: int = STOCK) -> Iterator[Row]:
    """Raises Violation, with all that is wrong."""
    environ = {"RUNNER_DATABASE_URL": database(postgres), "RUNNER_BROKER_URL": redis.url()}
    with farm(jobs, environ, stock=stock) as place:
        place.start(2)
        began = time.monotonic()
        ids = place.submit([COMMAND] * jobs)
        wait_until(lambda: len(place.client.views(FINAL)) >= jobs, SECONDS, "the end of all jobs", pause=2.0)
        views = [view for view in place.client.views() if view.id in set(ids)]
        found = _look(place, views, began)
    most = _most(found.arrivals)
    if most > A_WINDOW:
        found.wrong.append(f"{most} API requests within {WINDOW:.0f} s")
    if found.ends and max(found.ends) > LATEST_END:
        found.wrong.append(f"{max(found.ends):.1f} s from the end of a command to its terminate")
    if not found.refused:
        found.wrong.append("no deploy found no stock, so nothing was tried")
    if found.wrong:
        raise Violation("; ".join(found.wrong))
    took = found.arrivals[-1] - found.arrivals[0]
    calls = ", ".join(f"{count} {name}" for name, count in found.calls.most_common())
    yield Row(
        f"{jobs} short jobs on {stock} machines, two workers",
        f"{most} API requests at most in any {WINDOW:.0f} s",
        f"{A_WINDOW} are allowed; {len(found.arrivals)} in {took:.0f} s",
        f"All have begun and ended. {calls}. {found.refused} deploys found no stock.",
    )
    yield Row(
        "… end of a command to its accepted terminate",
        f"{max(found.ends):.2f} s at most, {sum(found.ends) / len(found.ends):.2f} s on average",
        f"of {len(found.ends)} jobs",
        "While deploys wait for turns and find no stock. The end of the command's log is in it.",
    )
    yield Row(
        "… what is left",
        "no machine; nothing rented twice",
        "",
        "Each job has one machine on the cloud's bill, each machine one job, each name was deployed once.",
    )


def _look(place: Farm, views: Sequence[JobView], began: float) -> Found:
    requests = [entry for entry in place.sim.requests() if entry.at >= began]
    deploys = [entry for entry in requests if entry.operation == "deployInstance"]
    accepted = [entry for entry in deploys if _ok(entry)]
    found = Found(
        arrivals=sorted(entry.at for entry in requests),
        calls=Counter(entry.operation for entry in requests),
        refused=len(deploys) - len(accepted),
    )
    if left := place.sim.instances():
        found.wrong.append(f"{len(left)} machines are left")
    names = Counter(entry.body["instanceName"] for entry in deploys)
    if twice := [name for name, count in names.items() if count > 1]:
        found.wrong.append(f"deployed twice: {', '.join(twice)}")
    uuids = Counter(a.instance_uuid for view in views for a in view.attempts if a.instance_uuid is not None)
    billed = {charge.uuid for charge in place.sim.ledger().charges}
    if set(uuids) != billed or max(uuids.values(), default=1) > 1:
        found.wrong.append(f"{len(billed)} machines on the bill, {sum(uuids.values())} on the receipts")
    ended: dict[str, float] = {}
    for entry in requests:
        if entry.operation == "terminateInstances" and _ok(entry):
            for uuid in entry.body["instanceUuids"]:
                ended.setdefault(uuid, entry.time.timestamp())
    for view in views:
        rented = [a.instance_uuid for a in view.attempts if a.instance_uuid is not None]
        if len(rented) != 1 or view.state != "succeeded":
            found.wrong.append(f"job {view.id} is {view.state} ({view.detail}) after {len(rented)} machines")
        else:
            said = float(b"".join(place.client.get(view.id).logs(raw=True)))
            found.ends.append(ended[rented[0]] - said)
    return found


def _ok(entry: Logged) -> bool:
    return entry.status is not None and entry.status < 300


def _most(arrivals: Sequence[float]) -> int:
    """The most arrivals in any window of 60 s."""
    most = first = 0
    for last, at in enumerate(arrivals):
        while at - arrivals[first] > WINDOW:
            first += 1
        most = max(most, last - first + 1)
    return most
