"""What may go wrong, as things to do to a farm while its jobs run. Each takes a while, and is undone then."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.farm import Farm
from tests.servers import Postgres, Redis


@dataclass
class Place:
    """Where it happens. Without *postgres* the farm is the service of one computer."""

    farm: Farm
    rng: random.Random
    over: threading.Event
    folder: Path
    postgres: Postgres | None = None
    redis: Redis | None = None
    workers: int = 1
    harmed: set[str] = field(default_factory=set)
    """The uuids of the machines that were lost, or lost what ran there."""
    damaged: set[str] = field(default_factory=set)
    """The uuids of the machines whose logs were changed behind their backs."""

    @property
    def clock(self) -> Path:
        """What the workers go by: how many seconds their walls' clocks are off."""
        return self.folder / "clock"

    @property
    def freeze(self) -> Path:
        """While it is there, a process stops itself at the point that its run is about."""
        return self.folder / "freeze"

    def pause(self, least: float, most: float) -> None:
        self.over.wait(self.rng.uniform(least, most))

    def worker(self) -> psutil.Process:
        return self.rng.choice(self.farm.processes())

    def machine(self) -> str | None:
        """The uuid of some machine that lives."""
        found = sorted(machine.uuid for machine in self.farm.sim.instances())
        return self.rng.choice(found) if found else None

    def until(self, condition: Callable[[], object], seconds: float, *, to_the_end: bool = False) -> bool:
        """Wait for something; False where it does not come, or all is over before: but for *to_the_end*."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end or (self.over.is_set() and not to_the_end):
                return False
            time.sleep(0.05)
        return True


def storm(place: Place) -> None:
    """429 and 503, for a while."""
    status = place.rng.choice([429, 503])
    rule = place.farm.sim.faults.add(operation="*", status=status, rate=place.rng.uniform(0.2, 0.9))
    place.pause(0.5, 4)
    _remove(place, rule)


def slow_answers(place: Place) -> None:
    """Answers that take their time, before or after their effect."""
    rule = place.farm.sim.faults.add(
        operation="*",
        kind="slow",
        seconds=place.rng.uniform(0.5, 3),
        late_effect=place.rng.random() < 0.5,
        rate=0.5,
    )
    place.pause(1, 4)
    _remove(place, rule)


def no_answers(place: Place) -> None:
    """One answer that never comes, though its effect does."""
    place.farm.sim.faults.add(operation="*", kind="hang", times=1)


def lost_deploy(place: Place) -> None:
    """A deploy that worked, and nobody is told."""
    place.farm.sim.faults.add(operation="deployInstance", kind="lost", times=1)


def lost_terminate(place: Place) -> None:
    """A terminate that worked, or did not, and nobody is told."""
    kind = place.rng.choice(["lost", "refused"])
    place.farm.sim.faults.add(operation="terminateInstances", kind=kind, times=1)


def ignored_terminate(place: Place) -> None:
    """A terminate that is accepted, and nothing happens."""
    place.farm.sim.faults.terminate_ignored = 1


def killed_worker(place: Place) -> None:
    """kill -9, and another one a little later."""
    place.farm.kill(place.worker())
    place.pause(0, 2)
    place.farm.start()


def stopped_worker(place: Place) -> None:
    """SIGSTOP, for less than a lease or for more; it goes on as if nothing had been."""
    with suppress(psutil.NoSuchProcess):
        process = place.worker()
        process.send_signal(signal.SIGSTOP)
        try:
            place.pause(1, 25)
        finally:
            process.send_signal(signal.SIGCONT)


def flushed_broker(place: Place) -> None:
    """All bells are lost."""
    if place.redis is not None:
        place.redis.flush()


def restarted_broker(place: Place) -> None:
    """Away for a moment, and empty afterwards."""
    if place.redis is not None:
        place.redis.stop(signal.SIGKILL)
        place.pause(0, 2)
        place.redis.start()


def restarted_database(place: Place) -> None:
    """Every transaction that was under way is cut off."""
    if place.postgres is not None:
        place.postgres.restart()


def jumped_clock(place: Place) -> None:
    """The wall clocks of all workers are set, by up to an hour, and set right again."""
    place.clock.write_text(str(place.rng.uniform(-3600, 3600)))
    place.pause(1, 6)
    place.clock.write_text("0")


def cut_connection(place: Place) -> None:
    """The SSH connections to one machine break."""
    if (uuid := place.machine()) is not None:
        with suppress(KeyError):
            place.farm.sim.drop_ssh(uuid)


def refused_connections(place: Place) -> None:
    """No machine lets anybody in, for a while."""
    place.farm.sim.faults.ssh = place.rng.choice(["refuse", "drop", "hang"])
    place.pause(0.5, 4)
    place.farm.sim.faults.ssh = "ok"


def vanished_machine(place: Place) -> None:
    """As a spot machine does."""
    if (uuid := place.machine()) is not None:
        place.harmed.add(uuid)
        with suppress(KeyError):
            place.farm.sim.vanish(uuid)


def restarted_machine(place: Place) -> None:
    """Everything that ran there is gone; it comes up again, for otherwise it is waited for 15 minutes."""
    if (uuid := place.machine()) is not None:
        place.farm.sim.faults.boot_never = 0
        place.harmed.add(uuid)
        with suppress(KeyError):
            place.farm.sim.restart(uuid)


def endless_boot(place: Place) -> None:
    """One machine never comes up."""
    place.farm.sim.faults.boot_never = 1


def lagging_list(place: Place) -> None:
    """The listing shows the past."""
    place.farm.sim.faults.listing_lag_seconds = place.rng.uniform(0.5, 4)
    place.pause(1, 6)
    place.farm.sim.faults.listing_lag_seconds = 0


def empty_list(place: Place) -> None:
    """Once, the account looks empty."""
    place.farm.sim.faults.listing_empty = 1


def partial_list(place: Place) -> None:
    """Once or twice, every second machine is left out."""
    place.farm.sim.faults.listing_partial = place.rng.randint(1, 2)


def no_questions(place: Place) -> None:
    """No machine can be asked for by its uuid, for a while."""
    rule = place.farm.sim.faults.add(operation="getInstance", status=503)
    place.pause(2, 6)
    _remove(place, rule)


def unlisted_deploys(place: Place) -> None:
    """Deploys that worked, of which nobody is told, not even by the listing for a while."""
    place.farm.sim.faults.listing_lag_seconds = 3
    rule = place.farm.sim.faults.add(operation="deployInstance", kind="lost")
    place.pause(3, 6)
    _remove(place, rule)
    place.farm.sim.faults.listing_lag_seconds = 0


def doubtful_lists(place: Place) -> None:
    """Several listings in a row without some of the machines, and no machine can be asked for."""
    faults = place.farm.sim.faults
    faults.listing_partial = 4
    rule = faults.add(operation="getInstance", status=503)
    place.until(lambda: faults.listing_partial == 0, 20)
    faults.listing_partial = 0
    _remove(place, rule)


def many_bells(place: Place) -> None:
    """Bells that were rung before, all again and in another order."""
    ids = [job.id for job in place.farm.client.jobs(limit=100)] * 2
    place.rng.shuffle(ids)
    place.farm.client.ring(ids)


ALL: tuple[Callable[[Place], None], ...] = (
    storm,
    slow_answers,
    no_answers,
    lost_deploy,
    lost_terminate,
    ignored_terminate,
    killed_worker,
    stopped_worker,
    flushed_broker,
    restarted_broker,
    restarted_database,
    jumped_clock,
    cut_connection,
    refused_connections,
    vanished_machine,
    restarted_machine,
    endless_boot,
    lagging_list,
    empty_list,
    partial_list,
    no_questions,
    unlisted_deploys,
    doubtful_lists,
    many_bells,
)
"""All that may happen at any time. What is for runs about one protection is in `bench.moments`."""

OF_WORKERS = (flushed_broker, restarted_broker, restarted_database, many_bells)
"""What there is none of in the service of one computer."""


def _remove(place: Place, rule: object) -> None:
    faults = place.farm.sim.faults
    faults.rules = [kept for kept in faults.rules if kept is not rule]
