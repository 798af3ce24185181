"""Two installations with one fleet on one account, for hours, whose listing lags and whose answers get lost.

Neither ends what is the other's, and neither leaves anything. The account and the clock are simulated, so
that the hours take seconds; what decides is the store itself, on a database for each.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from jobs.states import State
from jobs.store import attempts, doom, ending, observing, reads, sightings
from jobs.store.database import Database
from jobs.store.schema import open_database
from jobs.store.transitions import AttemptLease
from tests.conformance.store_kit import ROOM, Clock, World, submit

LAG_SECONDS = 85
"""The listing is behind what happened by up to so much."""


@dataclass
class Machine:
    """One on the account. Its listing shows it from ``listed_at`` until ``hidden_at``."""

    uuid: str
    name: str
    owner: World
    rented_at: datetime
    listed_at: datetime
    ended_at: datetime | None = None
    hidden_at: datetime | None = None


@dataclass
class Account:
    """What both see."""

    dice: random.Random
    machines: dict[str, Machine] = field(default_factory=dict)
    harm: list[str] = field(default_factory=list)

    def deploy(self, world: World, name: str) -> str:
        uuid = f"00000000-0000-4000-8000-{len(self.machines):012d}"
        now = world.clock.now
        self.machines[uuid] = Machine(uuid, name, world, now, now + self._lag())
        return uuid

    def listing(self, world: World) -> list[str]:
        now = world.clock.now
        return [
            machine.uuid
            for machine in self.machines.values()
            if machine.listed_at <= now and (machine.hidden_at is None or now < machine.hidden_at)
        ]

    def terminate(self, world: World, uuid: str) -> None:
        machine, now = self.machines[uuid], world.clock.now
        if machine.ended_at is None:
            if machine.owner is not world:
                self.harm.append(f"{machine.name} was ended by the other one")
            machine.ended_at, machine.hidden_at = now, now + self._lag()

    def lives(self, uuid: str) -> bool:
        return self.machines[uuid].ended_at is None

    @property
    def is_empty(self) -> bool:
        return not any(self.lives(uuid) for uuid in self.machines)

    def _lag(self) -> timedelta:
        return timedelta(seconds=self.dice.uniform(0, LAG_SECONDS))


class Installation:
    """One of them: a world whose account is the common one, and the jobs that it has under way."""

    def __init__(self, world: World, account: Account, dice: random.Random) -> None:
        self.world, self.account, self.dice = world, account, dice
        self.job_ids: list[str] = []

    def submit(self) -> None:
        self.job_ids.append(submit(self.world.db, max_runtime=1800))

    def go_on(self) -> None:
        """Whatever waits gets one step further: it is rented for, started, or ends."""
        world = self.world
        wanted = ending.wanted(world.db, ROOM)
        for job_id in wanted.admit:
            _, attempt_id, lease = world.order(job_id)
            self._deploy(attempt_id, lease)
        for attempt_id in wanted.attend:
            lease_or_none = world.take(attempt_id)
            if lease_or_none is not None:
                self._attend(attempt_id, lease_or_none)

    def _deploy(self, attempt_id: str, lease: AttemptLease) -> None:
        """The answer may be lost, with or without its effect; the effect may come twice, the process die."""
        world, how = self.world, self.dice.choice(("answered", "answered", "lost", "twice", "never", "dies"))
        work, times = world.work(attempt_id), {"never": 0, "twice": 2}.get(how, 1)
        uuids = [self.account.deploy(world, work.instance_name) for _ in range(times)]
        if how in ("answered", "twice"):
            attempts.deployed(world.db, work, lease, uuids[-1])
        elif how != "dies":
            attempts.deploy_unknown(world.db, work, lease)

    def _attend(self, attempt_id: str, lease: AttemptLease) -> None:
        world = self.world
        if world.attempt(attempt_id).state == State.BOOTING:
            attempts.order_go(world.db, world.work(attempt_id), lease)
            attempts.started(world.db, world.work(attempt_id), lease)
        elif self.dice.random() < 0.1:
            world.finish(attempt_id, lease)

    def tick(self) -> None:
        """What the observer does, which may have been started anew just now."""
        world, account = self.world, self.account
        world.heartbeat()
        if self.dice.random() < 0.03:
            world.first_seen.clear()
        lead = world.lead
        ending.enforce(world.db, lead)
        shown = [world.appear(account.machines[uuid].name, uuid) for uuid in account.listing(world)]
        for instance_id, uuid in world.list(sightings=shown).doubted:
            if account.lives(uuid):
                observing.proved_alive(
                    world.db, lead, instance_id, world.appear(account.machines[uuid].name, uuid)
                )
            else:
                observing.proved_gone(world.db, lead, instance_id, "404")
        if batch := doom.due(world.db):
            for item in batch:
                account.terminate(world, item.uuid)
            if self.dice.random() < 0.8:  # else the answer was lost
                doom.accepted(world.db, [item.uuid for item in batch])
        ending.settle(world.db, lead)


def _hasty(db: Database) -> None:
    """No sync of the disk: nothing here is about that."""

    @event.listens_for(db.engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF").close()


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[World, World]]:
    with ExitStack() as stack:
        worlds = []
        for name in ("one", "other"):
            url = f"sqlite:///{tmp_path / name}.db"
            open_database(url).close()
            db = stack.enter_context(closing(Database(url)))
            _hasty(db)
            worlds.append(World(db, Clock(db)))
        yield worlds[0], worlds[1]


def _hours(both: tuple[World, World], seed: int, hours: float) -> tuple[Account, list[Installation]]:
    """Let both work on one account, then let all come to its end."""
    dice = random.Random(seed)
    account = Account(dice)
    sides = [Installation(world, account, dice) for world in both]
    end = both[0].clock.now + timedelta(hours=hours)
    while (now := both[0].clock.now) < end + timedelta(hours=2) and not account.harm:
        if now >= end and account.is_empty and not any(reads.unfinished(world.db) for world in both):
            break
        for side in sides:
            if now < end and dice.random() < 0.15:
                side.submit()
            if dice.random() < 0.9:  # else it is away for once
                side.go_on()
                side.tick()
        seconds = dice.choice((20, 60, 90)) if now < end else 120
        for world in both:
            world.clock.advance(seconds)
    return account, sides


@pytest.mark.parametrize(
    ("seed", "hours"), [(1, 0.5), *(pytest.param(seed, 3, marks=pytest.mark.full) for seed in (2, 3))]
)
@pytest.mark.timeout(600)
def test_neither_ends_what_is_the_others_and_neither_leaves_anything(
    both: tuple[World, World], seed: int, hours: float
) -> None:
    account, sides = _hours(both, seed, hours)
    assert account.harm == []
    assert account.is_empty
    for side in sides:
        assert doom.instances(side.world.db) == []
        assert side.job_ids
        views = [side.world.show(job_id) for job_id in side.job_ids]
        assert all(view.final for view in views)
        assert any(view.state is State.SUCCEEDED for view in views)


def test_the_damage_did_they_not_tell_whose_it_is(
    both: tuple[World, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sightings, "_is_ours", lambda *_: True)
    account, _ = _hours(both, 1, 1)
    assert account.harm


def _listed_late(world: World) -> State:
    """What becomes of a job whose machine is listed only 80 s after it was rented."""
    job_id, attempt_id, lease = world.order()
    uuid = world.new_uuid()
    attempts.deployed(world.db, world.work(attempt_id), lease, uuid)
    for _ in range(8):
        world.clock.advance(10)
        world.heartbeat()
        world.list(sightings=[])
    world.appear(world.instance(attempt_id).name, uuid)
    world.list()
    return world.show(job_id).state


def _hidden_late(world: World) -> tuple[int, int]:
    """What a job costs when its machine is gone, and after that was listed on for 80 s."""
    job_id, attempt_id, lease = world.run()
    uuid = world.instance(attempt_id).uuid
    world.finish(attempt_id, lease)
    sight = world.account[uuid or ""]
    world.settle()
    assert world.show(job_id).final
    before = world.show(job_id).cost
    for _ in range(8):
        world.clock.advance(10)
        world.heartbeat()
        world.list(sightings=[sight])
    return before, world.show(job_id).cost


def test_a_listing_that_lags_takes_nothing_and_costs_nothing(both: tuple[World, World]) -> None:
    assert _listed_late(both[0]) is State.BOOTING
    before, after = _hidden_late(both[1])
    assert before == after


def test_the_damage_without_patience(both: tuple[World, World], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doom, "LAG", timedelta(0))
    assert _listed_late(both[0]) is State.FINISHING, "lost, though its machine is there"
    before, after = _hidden_late(both[1])
    assert before < after, "billed on, though it is gone"
