"""Machines on the account that no row of ours knows: whose they are, and which of them are ended."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jobs.states import State
from jobs.store import attempts, doom
from tests.conformance.store_kit import PRICE, World


def test_an_unclaimed_machine_of_ours_is_ended_after_the_grace(world: World) -> None:
    world.appear(world.stranger())
    for _ in range(9):
        assert world.list().doomed == 0
        world.clock.advance(10)
    assert world.list().doomed == 1
    row = world.machines()[0]
    assert (row.state, row.doomed_why, row.job_id, row.attempt_id) == ("doomed", "unclaimed", None, None)
    assert [item.uuid for item in doom.due(world.db)] == [row.uuid]
    world.list()
    assert len(world.machines()) == 1


def test_the_grace_begins_anew_for_a_new_leader(world: World) -> None:
    world.appear(world.stranger())
    world.list()
    world.clock.advance(91)
    world.first_seen.clear()
    assert world.list().doomed == 0


def test_another_installations_machine_is_left_alone_until_it_is_overdue(world: World) -> None:
    world.appear(world.stranger(installation="zzzzzz", expires_in=600))
    world.list()
    world.clock.advance(599)
    assert world.list().doomed == 0
    world.clock.advance(2)
    assert world.list().doomed == 1
    assert world.machines()[0].doomed_why == "overdue"


def test_overdue_is_judged_by_the_apis_own_clock(world: World) -> None:
    world.appear(world.stranger(installation="zzzzzz", expires_in=600))
    assert world.list(date=world.clock.now + timedelta(seconds=599)).doomed == 0
    world.clock.advance(3000)  # ours is far ahead
    assert world.list(date=world.clock.now - timedelta(seconds=2401)).doomed == 0
    assert world.list(date=world.clock.now).doomed == 1


@pytest.mark.parametrize(
    "name",
    [
        "my-workstation",
        "rn-default-short-1",
        "rn-",
        "",
        "rn-default-" + "a" * 26 + "-0",
        "RN-default-" + "a" * 26 + "-1",
        "rn-default-" + "a" * 26 + "-1x_",
        "rn-default-" + "ü" * 26 + "-1",
    ],
)
def test_strangers_are_never_touched(world: World, name: str) -> None:
    world.appear(name)
    world.list()
    world.clock.advance(10**9)
    world.heartbeat()
    assert world.list().doomed == 0
    assert world.machines() == []


def test_another_fleets_machine_is_never_touched(world: World) -> None:
    world.appear(world.stranger(fleet="other", expires_in=1))
    world.appear(world.stranger(fleet="default-2", expires_in=1))
    world.list()
    world.clock.advance(10**6)
    findings = world.list()
    assert (findings.doomed, findings.strangers) == (0, 2)


def test_an_expiry_beyond_all_calendars(world: World) -> None:
    world.appear(world.stranger(expires_in=36**8 - 1 - world.clock.now.timestamp()))
    world.list()
    world.clock.advance(91)
    assert world.list().doomed == 1


def test_unclaimed_machines_that_are_over_are_left_alone(world: World) -> None:
    world.appear(world.stranger(expires_in=1), over=True)
    world.list()
    world.clock.advance(200)
    assert world.list().doomed == 0


def test_a_second_machine_of_the_same_name(world: World) -> None:
    """The service deployed twice: one is the job's, the other is ended and billed to it."""
    job_id, attempt_id, _ = world.unknown()
    name = world.instance(attempt_id).name
    world.appear(name, over=True)
    live, twin = world.appear(name), world.appear(name)
    world.list()
    assert world.instance(attempt_id).uuid == live.uuid
    world.clock.advance(91)
    world.list()
    row = world.machines()[-1]
    assert (row.uuid, row.state, row.job_id) == (twin.uuid, "doomed", job_id)
    assert world.show(job_id).state is State.BOOTING


def test_a_stray_without_a_listed_price_costs_what_was_agreed(world: World) -> None:
    job_id, attempt_id, lease = world.order()
    attempts.deployed(world.db, world.work(attempt_id), lease, world.new_uuid())
    world.clock.advance(600)
    twin = world.appear(world.instance(attempt_id).name, price=None, product=None)
    world.list(sightings=[twin])
    world.clock.advance(91)
    world.list(sightings=[twin])
    (stray,) = [row for row in world.machines() if row.uuid == twin.uuid]
    assert (stray.state, stray.price, stray.product) == ("doomed", PRICE, "gpu_1x_l40")
    assert world.show(job_id).cost >= PRICE // 60
