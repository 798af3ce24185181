"""How long a job waits for us: until its machine is ordered, its first byte is seen, its machine is ended."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator

from bench.house import House, house
from bench.table import Row, seconds
from runner import Job

JOBS = 7
COMMAND = f"""exec '{sys.executable}' -c 'import time
print("first", flush=True)
time.sleep(1.5)
print(time.monotonic(), flush=True)'"""


def measure() -> Iterator[Row]:
    """Several jobs one after another on a service that is warm; the clock is the computer's monotonic one."""
    deploys, listed, firsts, shown, ends = [], [], [], [], []
    with house() as place:
        place.warm()
        for _ in range(JOBS):
            place.empty()
            time.sleep(random.uniform(1.0, 2.0))  # so that no job meets the service in step with its ticks
            began = time.monotonic()
            job = place.submit(COMMAND)
            deploys.append(place.arrived("deployInstance", began) - began)
            first, ended = _follow(job)
            ready = place.ready_at(_uuid(place, job))
            listed.append(place.arrived("listInstances", ready) - ready)
            firsts.append(first - ready)
            shown.append(first - ready - listed[-1])
            ends.append(place.arrived("terminateInstances", ended) - ended)
            place.final(job)
    yield Row(
        "submit to deploy",
        seconds(deploys),
        "two API requests a second at most: 0.5 s if another was just sent",
        "The API is on loopback. The service is idle and knows inventory, images and key; a cold one asks "
        "for each first, at 0.5 s a request.",
    )
    yield Row(
        "ready to first byte of the log",
        seconds(firsts),
        f"{seconds(listed)} of it until the next listing of the account",
        "From the moment at which the API would say ready to the byte in a Python loop over `job.logs()`. "
        "Listing once a second is policy; SSH is on loopback, to a server in Python.",
    )
    yield Row(
        "end of command to accepted terminate",
        seconds(ends),
        "two API requests a second at most: 0.5 s if another was just sent",
        "From the last thing that the command does; the end of its interpreter counts as ours.",
    )


def _follow(job: Job) -> tuple[float, float]:
    """When the first byte came, and when the command ended as it says itself."""
    first, text = None, b""
    for data in job.logs(follow=True, raw=True):
        first = first or time.monotonic()
        text += data
    if first is None:
        raise RuntimeError(f"job {job.id} said nothing: {job.refresh().detail}")
    return first, float(text.split()[-1])


def _uuid(place: House, job: Job) -> str:
    uuid = place.client.get(job.id).attempts[-1].instance_uuid
    assert uuid is not None
    return uuid
