"""The end of machines: whose terminate it is, what ends their count, and what is only an estimate of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jobs.states import State
from jobs.store import doom, ending, observing
from tests.conformance.store_kit import PRICE, World


def test_a_terminate_is_one_processs_at_a_time(world: World) -> None:
    _, attempt_id, lease = world.run()
    world.finish(attempt_id, lease)
    assert len(doom.due(world.db)) == 1
    assert doom.due(world.db) == []
    world.clock.advance(31)  # whoever had it died
    assert len(doom.due(world.db)) == 1


def test_a_terminate_that_is_acknowledged_stops_the_meter(world: World) -> None:
    job_id, attempt_id, lease = world.run()
    world.clock.advance(100)
    world.finish(attempt_id, lease)
    world.terminate()
    world.clock.advance(100_000)
    attempt = world.show(job_id).attempts[0]
    assert (attempt.minutes, attempt.cost, attempt.cost_estimated) == (2, 2 * PRICE // 60, False)
    assert attempt.leak_suspected


def test_what_is_gone_is_not_among_the_instances(world: World) -> None:
    _, attempt_id = world.boot()
    uuid = world.instance(attempt_id).uuid
    assert [row.uuid for row in doom.instances(world.db)] == [uuid]
    observing.proved_gone(world.db, world.lead, world.instance(attempt_id).id, "404")
    assert doom.instances(world.db) == []


def test_who_lived_on_after_an_accepted_terminate_is_billed_to_the_next_one(world: World) -> None:
    job_id, attempt_id, lease = world.run()
    world.finish(attempt_id, lease)
    (machine,) = doom.due(world.db)
    doom.accepted(world.db, [machine.uuid])  # and nothing happens
    for _ in range(4):
        world.clock.advance(30)
        world.list()
    (again,) = doom.due(world.db)
    assert again.uuid == machine.uuid
    doom.accepted(world.db, [again.uuid])
    assert world.instance(attempt_id).terminate_accepted_at == world.clock.now
    assert world.show(job_id).attempts[0].minutes == 2


def test_who_lived_on_and_whose_end_nobody_saw_is_billed_until_the_proof(world: World) -> None:
    """The first terminate was accepted and did nothing; the repeats failed, and then it was gone."""
    job_id, attempt_id, lease = world.run()
    world.finish(attempt_id, lease)
    (machine,) = doom.due(world.db)
    doom.accepted(world.db, [machine.uuid])
    for _ in range(20):
        world.clock.advance(30)
        world.list()
    assert world.show(job_id).attempts[0].minutes == 10, "it is still there, and it costs"
    world.clock.advance(1)
    observing.proved_gone(world.db, world.lead, world.instance(attempt_id).id, "404")
    attempt = world.show(job_id).attempts[0]
    assert (world.instance(attempt_id).state, attempt.minutes, attempt.cost_estimated) == ("gone", 11, True)


def test_a_machine_that_takes_its_time_to_go_is_not_billed_on(world: World) -> None:
    job_id, attempt_id, lease = world.run()
    world.finish(attempt_id, lease)
    (machine,) = doom.due(world.db)
    doom.accepted(world.db, [machine.uuid])
    world.account[machine.uuid] = replace(world.account[machine.uuid], status="terminating")
    for _ in range(10):
        world.clock.advance(30)
        world.list()
    attempt = world.show(job_id).attempts[0]
    assert (attempt.minutes, attempt.cost_estimated) == (1, False)


def test_a_machine_that_took_a_second_terminate_unseen_is_an_estimate(world: World) -> None:
    """The accepted one did nothing, and no listing had it until another was sent, which may have worked."""
    job_id, attempt_id, lease = world.run()
    world.finish(attempt_id, lease)
    (machine,) = doom.due(world.db)
    doom.accepted(world.db, [machine.uuid])
    world.clock.advance(10)
    world.list()
    assert not world.show(job_id).cost_estimated, "a listing lags"
    world.clock.advance(81)
    world.heartbeat()
    (again,) = doom.due(world.db)
    doom.accepted(world.db, [again.uuid])
    assert world.show(job_id).cost_estimated
    world.vanish(attempt_id)
    world.settled()
    view = world.show(job_id)
    assert (view.state, view.attempts[0].minutes, view.cost_estimated) == (State.SUCCEEDED, 1, True)


def test_a_machine_that_was_missing_before_its_end_was_accepted(world: World) -> None:
    """It may have ended minutes before, so the receipt is an estimate; that it is gone is proved after."""
    world.boot(), world.boot()  # else a listing without it would be a suspicious one
    job_id, attempt_id, lease = world.run()
    world.list()
    world.finish(attempt_id, lease)
    assert len(doom.due(world.db)) == 1
    uuid = world.instance(attempt_id).uuid
    doom.refused(world.db, [str(uuid)], "no answer, and yet it worked")
    world.vanish(attempt_id)

    def look() -> Any:
        world.clock.advance(31)
        world.heartbeat()
        world.list()
        return world.instance(attempt_id)

    assert [look().state, look().state] == ["doomed", "doomed"]
    assert len(doom.due(world.db)) == 1
    doom.accepted(world.db, [str(uuid)])
    assert [look().state, look().state, look().state] == ["doomed", "doomed", "gone"]
    assert world.instance(attempt_id).gone_proof == "absent"
    ending.settle(world.db, world.lead)
    attempt = world.show(job_id).attempts[0]
    assert (attempt.minutes, attempt.cost_estimated) == (2, True)
