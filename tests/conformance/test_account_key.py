"""Our key on the account: written down before it is added, and looked for where nobody knows the answer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select

from jobs.errors import ApiError, BadRequest
from jobs.models import Effect
from jobs.settings import Secret
from jobs.store import account_keys
from jobs.store.effects import ACCOUNT_KEY
from runner.sim.simulator import Simulator
from tests.conformance.sim_client import new_key
from tests.conformance.store_kit import World
from workers.cloud.client import Cloud
from workers.steps import inventory

LATER = account_keys.DOUBTFUL_AFTER + timedelta(seconds=1)


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator() as sim:
        yield sim


@pytest.fixture
def cloud(sim: Simulator) -> Iterator[Cloud]:
    with Cloud(sim.url, Secret(sim.token)) as cloud:
        yield cloud


def _rows(world: World) -> list[tuple[str, str | None]]:
    with world.db.read() as session:
        query = select(Effect).where(Effect.kind == ACCOUNT_KEY).order_by(Effect.id)
        return [(row.subject, row.outcome) for row in session.execute(query).scalars()]


def test_it_is_written_down_before_and_settled_after(
    world: World, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_key, before = Cloud.add_key, []

    def watched(self: Cloud, name: str, line: str, *, deadline_s: float) -> str | None:
        before.extend(_rows(world))
        return add_key(self, name, line, deadline_s=deadline_s)

    monkeypatch.setattr(Cloud, "add_key", watched)
    (name,) = inventory.key_names(world.db, cloud, new_key().line)
    assert before == [(name, None)]
    assert _rows(world) == [(name, "added")]


def test_one_that_is_there_already_is_no_effect(world: World, cloud: Cloud) -> None:
    line = new_key().line
    cloud.add_key("by hand", line)
    assert inventory.key_names(world.db, cloud, line) == ("by hand",)
    assert _rows(world) == []


@pytest.mark.parametrize("had_its_effect", [True, False])
def test_what_a_process_that_died_has_left_is_looked_for(
    world: World, cloud: Cloud, had_its_effect: bool
) -> None:
    line = new_key().line
    account_keys.adding(world.db, "gpu job runner 01234567")
    if had_its_effect:
        cloud.add_key("gpu job runner 01234567", line)
    inventory.settle_keys(world.db, cloud)
    assert _rows(world) == [("gpu job runner 01234567", None)], "somebody may be waiting for its answer"
    world.clock.advance(LATER.total_seconds())
    inventory.settle_keys(world.db, cloud)
    assert _rows(world) == [("gpu job runner 01234567", "added" if had_its_effect else "absent")]


def test_the_next_process_that_needs_it_settles_it(world: World, cloud: Cloud, sim: Simulator) -> None:
    line = new_key().line
    sim.faults.add(operation="addSshKey", kind="lost", times=1)
    names = inventory.key_names(world.db, cloud, line)  # the answer was lost, and the list knew
    assert _rows(world) == [(names[0], "added")]
    account_keys.forget(world.db)
    account_keys.adding(world.db, names[0])  # and one that died at this point
    sim.faults.add(operation="listSshKeys", status=503)
    with pytest.raises(ApiError):
        inventory.key_names(world.db, cloud, line)
    assert _rows(world)[1] == (names[0], None)
    sim.faults.clear()
    assert inventory.key_names(world.db, cloud, line) == names
    assert _rows(world)[1] == (names[0], "added")
    assert len(cloud.list_keys() or ()) == 1


def test_one_that_was_refused_is_settled_too(world: World, cloud: Cloud, sim: Simulator) -> None:
    sim.faults.add(operation="addSshKey", status=422, body="no more keys")
    line = new_key().line
    for _ in range(2):
        with pytest.raises(BadRequest):
            inventory.key_names(world.db, cloud, line)
    ((name, outcome),) = _rows(world)
    assert outcome is None
    world.clock.advance(LATER.total_seconds())
    inventory.settle_keys(world.db, cloud)
    assert _rows(world) == [(name, "absent")]
