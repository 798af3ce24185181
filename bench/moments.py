"""Worst moments: what is done to a farm in runs about one protection (see `bench.unprotected`)."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

import psutil
from sqlalchemy import select

from bench.breaking import Place
from jobs.models import Attempt, Instance
from jobs.store import doom, leases
from jobs.store.leases import LEASE

LAG_SECONDS = 5.0
"""Longer than what `bench.unprotected` makes of the listing's lag."""
OVERTAKEN_SECONDS = 28.0
"""For so long a frozen holder is away: another has its leases, and patience with a machine is over."""
MOMENT = timedelta(seconds=2)


def overtaken_worker(place: Place) -> None:
    """SIGSTOP for longer than a lease, of one with jobs; when it goes on, others attend to them."""
    owners = [held.owner for held in place.farm.running().values()]
    busy = [one for one in place.farm.processes() if place.farm.owner(one) in owners]
    if not busy:
        return
    process = place.rng.choice(busy)
    process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(LEASE.total_seconds() + 5)
    finally:
        process.send_signal(signal.SIGCONT)


def killed_at_an_end(place: Place) -> None:
    """kill -9 of all workers just when a command has ended, and others a little later."""
    if not place.until(lambda: _ended_and_rented(place), 10):
        return
    for process in place.farm.processes():
        place.farm.kill(process)
    place.farm.start(place.workers)


def _ended_and_rented(place: Place) -> bool:
    with place.farm.client.database.read() as session:
        query = select(Attempt.id).join(Instance, Instance.attempt_id == Attempt.id)
        over = Attempt.state.in_(("finishing", "ended")) & Instance.state.in_(("live", "doomed"))
        fresh = over & Instance.terminate_accepted_at.is_(None)
        return session.execute(query.where(fresh).limit(1)).first() is not None


def damaged_log(place: Place) -> None:
    """A byte of a log changes on its machine, before anybody has read it."""
    if (uuid := place.machine()) is None:
        return
    sim = place.farm.sim
    try:
        sim.set_ssh(uuid, "refuse")
        sim.drop_ssh(uuid)
        place.over.wait(0.5)  # what is written from now on has not been read
        for log in sim.machine(uuid).home.glob(".gpu-job-runner/*/run/log"):
            with log.open("r+b") as file:
                size = file.seek(0, 2)
                place.until(lambda: file.seek(0, 2) > size, 2)  # noqa: B023 - called at once
                if file.seek(0, 2) > size:
                    file.seek(size)
                    file.write(b"#")
                    place.damaged.add(uuid)
    except (KeyError, OSError):  # it has ended meanwhile
        pass
    finally:
        with suppress(KeyError):
            sim.set_ssh(uuid, None)


def frozen_holder(place: Place) -> None:
    """Who attends to a job stops in the middle of a write, and goes on when another one does."""
    if place.farm.running():
        _frozen(place, OVERTAKEN_SECONDS, cause=lambda: _cut_all(place))


def frozen_leader(place: Place) -> None:
    """Who leads stops between a listing and what it writes of it, while all that it saw there ends."""
    if not place.farm.running():
        return

    def meanwhile() -> None:
        for job in place.farm.client.jobs(limit=100):
            job.cancel()
        place.until(lambda: not doom.instances(place.farm.client.database), 60, to_the_end=True)
        time.sleep(LAG_SECONDS)

    _frozen(place, seconds=LEASE.total_seconds() + 3, meanwhile=meanwhile)


def _frozen(
    place: Place,
    seconds: float,
    cause: Callable[[], None] = lambda: None,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Stop one process at the point that the run is about, for longer than a lease."""
    place.freeze.touch()
    try:
        cause()
        if not place.until(lambda: not place.freeze.exists(), 30):
            return
        place.farm.sim.faults.ssh = "ok"
        time.sleep(seconds)
        meanwhile()
    finally:
        place.freeze.unlink(missing_ok=True)
        place.farm.sim.faults.ssh = "ok"
        for process in place.farm.processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
        went_on = place.farm.client.database.clock()
        place.until(lambda: _all_heard(place, went_on + MOMENT), 30, to_the_end=True)


def _all_heard(place: Place, since: datetime) -> bool:
    """Whether all that live have been heard of since then: what one had in hand, it has written."""
    heard = {worker.pid: worker.heartbeat_at for worker in leases.workers(place.farm.client.database)}
    pids = [process.pid for process in place.farm.processes()]
    return all(pid in heard and heard[pid] > since for pid in pids)


def _cut_all(place: Place) -> None:
    place.farm.sim.faults.ssh = "refuse"
    for machine in place.farm.sim.instances():
        with suppress(KeyError):
            place.farm.sim.drop_ssh(machine.uuid)
