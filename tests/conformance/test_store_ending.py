"""What time brings about: limits that pass, and jobs that settle."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jobs.states import State
from jobs.store import attempts, doom, ending, leases, submissions
from runner import present
from tests.conformance.store_kit import PRICE, ROOM, World, submit

# Each cause and its end


@pytest.mark.parametrize(
    ("cause", "code", "state"),
    [
        ("exit_code", 0, State.SUCCEEDED),
        ("exit_code", 1, State.FAILED),
        ("exit_code", 255, State.FAILED),
        ("max_runtime", 143, State.EXPIRED),
        ("max_cost", 137, State.EXPIRED),
        ("max_cost", 0, State.EXPIRED),
        ("idle", None, State.EXPIRED),
        ("cancelled_by_user", 143, State.CANCELLED),
        ("lost", None, State.FAILED),
        ("setup_failed", 2, State.FAILED),
    ],
)
def test_each_cause_has_its_end(world: World, cause: str, code: int | None, state: State) -> None:
    job_id, attempt_id, lease = world.run()
    world.finish(attempt_id, lease, cause=cause, exit_code=code)
    early = world.show(job_id)
    assert (early.state, early.reason, early.exit_code) == (State.FINISHING, cause, code)
    assert early.finished_at is None
    world.settled()
    view = world.show(job_id)
    assert (view.state, view.reason, view.exit_code) == (state, cause, code)
    assert view.finished_at is not None
    assert not ending.wanted(world.db, ROOM).hurried
    assert ending.wanted(world.db, ROOM).live == 0


def test_a_job_is_not_final_while_its_machine_lives(world: World) -> None:
    job_id, attempt_id, lease = world.run()
    world.finish(attempt_id, lease)
    for _ in range(50):
        world.clock.advance(120)
        world.heartbeat()
        assert [item.uuid for item in doom.due(world.db)] == [world.instance(attempt_id).uuid]
        uuid = world.instance(attempt_id).uuid
        assert uuid is not None
        doom.refused(world.db, [uuid], "500 the service failed")
        world.list()
        ending.settle(world.db, world.lead)
        assert world.show(job_id).state is State.FINISHING
    attempt = world.show(job_id).attempts[0]
    assert attempt.leak_suspected
    assert world.instance(attempt_id).terminate_tries == 50
    assert attempt.cost == 100 * 60 * PRICE // 3600
    world.clock.advance(120)
    world.settled()
    assert world.show(job_id).state is State.SUCCEEDED


# Booting


def test_booting_for_too_long(world: World) -> None:
    job_id, attempt_id = world.boot()
    world.clock.advance(900)
    world.heartbeat()
    assert ending.enforce(world.db, world.lead) == 0
    world.clock.advance(1)
    assert ending.enforce(world.db, world.lead) == 1
    view = world.show(job_id)
    assert (view.state, view.reason) == (State.FINISHING, "boot_timeout")
    assert world.instance(attempt_id).state == "doomed"
    assert ending.enforce(world.db, world.lead) == 0


def test_booting_stops_where_the_money_ends(world: World) -> None:
    """A ceiling that pays for five minutes holds although a boot may take fifteen."""
    job_id = submit(world.db, max_cost=5 * PRICE // 60)
    _, attempt_id = world.boot(job_id, expires_at=world.clock.now + timedelta(seconds=299))
    world.clock.advance(239)
    world.heartbeat()
    assert ending.enforce(world.db, world.lead) == 0
    world.clock.advance(1)
    assert ending.enforce(world.db, world.lead) == 1
    world.settled()
    view = world.show(job_id)
    assert (view.state, view.reason) == (State.EXPIRED, "max_cost")
    assert view.cost == 4 * PRICE // 60
    assert world.attempt(attempt_id).retryable is False


def test_booting_and_cancelled(world: World) -> None:
    job_id, _ = world.boot()
    submissions.request_cancel(world.db, job_id)
    world.settled()
    view = world.show(job_id)
    assert (view.state, view.reason, len(view.attempts)) == (State.CANCELLED, "cancelled_by_user", 1)


def test_booting_and_gone(world: World) -> None:
    job_id, attempt_id = world.boot()
    world.vanish(attempt_id)
    world.clock.advance(1)
    world.settled()
    assert world.instance(attempt_id).gone_proof == "404"
    assert world.show(job_id).state is State.QUEUED


# Running


def test_an_attendant_that_is_away_at_the_deadline(world: World) -> None:
    job_id, _, _ = world.run()
    world.clock.advance(3600 + 40)
    world.heartbeat()
    assert ending.enforce(world.db, world.lead) == 0
    world.clock.advance(1)
    assert ending.enforce(world.db, world.lead) == 1
    view = world.show(job_id)
    assert (view.state, view.reason) == (State.FINISHING, "max_runtime")
    assert (view.attempts[0].log_end or "").startswith("incomplete")
    world.settled()
    assert world.show(job_id).state is State.EXPIRED


def test_a_cancel_that_nobody_serves(world: World) -> None:
    job_id, _, _ = world.run()
    submissions.request_cancel(world.db, job_id)
    world.clock.advance(40)
    assert ending.enforce(world.db, world.lead) == 0
    world.clock.advance(1)
    assert ending.enforce(world.db, world.lead) == 1
    world.settled()
    assert world.show(job_id).state is State.CANCELLED


def test_a_stop_that_has_no_effect(world: World) -> None:
    job_id, attempt_id, lease = world.run()
    world.clock.advance(10)
    attempts.order_stop(world.db, world.work(attempt_id), lease, "idle")
    world.clock.advance(41)
    world.heartbeat()
    assert ending.enforce(world.db, world.lead) == 1
    assert world.show(job_id).reason == "idle"


def test_an_exit_of_its_own_beats_a_cancel(world: World) -> None:
    job_id, attempt_id, lease = world.run()
    submissions.request_cancel(world.db, job_id)
    world.finish(attempt_id, lease)
    world.settled()
    view = world.show(job_id)
    assert (view.state, view.reason, view.cancel_requested) == (State.SUCCEEDED, "exit_code", True)


def test_unreachable_for_too_long(world: World) -> None:
    job_id, attempt_id, lease = world.run(max_runtime_is_long := submit(world.db, max_runtime=86_400))
    assert job_id == max_runtime_is_long
    attempts.note_unreachable(world.db, world.work(attempt_id), lease, world.clock.now)
    world.clock.advance(900)
    assert ending.enforce(world.db, world.lead) == 0
    shown = dict(present.facts(world.show(job_id), world.clock.now))
    assert shown["reached"].startswith("not since 2026-11-23T"), "and until then somebody is told"
    world.clock.advance(1)
    assert ending.enforce(world.db, world.lead) == 1
    assert world.show(job_id).reason == "lost"


def test_reached_again_in_time(world: World) -> None:
    job_id, attempt_id, lease = world.run(submit(world.db, max_runtime=86_400))
    attempts.note_unreachable(world.db, world.work(attempt_id), lease, world.clock.now)
    assert world.work(attempt_id).unreachable_since == world.clock.now
    world.clock.advance(800)
    attempts.note_unreachable(world.db, world.work(attempt_id), lease, None)
    world.clock.advance(800)
    assert ending.enforce(world.db, world.lead) == 0
    assert world.show(job_id).state is State.RUNNING


# What passed while nobody served


@pytest.mark.parametrize("what", ["deadline", "stop", "cancel", "unreachable"])
def test_what_passed_while_nobody_served_is_not_held_against_the_machine(world: World, what: str) -> None:
    """The command may have ended by itself: whoever comes back fetches its code and its log first."""
    job_id, attempt_id, lease = world.run(
        submit(world.db, max_runtime=3600 if what == "deadline" else 86_400, max_cost=10**9),
        expires_at=world.clock.now + timedelta(days=2),
    )
    if what == "stop":
        attempts.order_stop(world.db, world.work(attempt_id), lease, "cancelled_by_user")
    elif what == "cancel":
        submissions.request_cancel(world.db, job_id)
    elif what == "unreachable":
        attempts.note_unreachable(world.db, world.work(attempt_id), lease, world.clock.now)
    world.clock.advance(8 * 3600)
    awake = world.clock.now
    patience = 900 if what == "unreachable" else 40
    world.clock.advance(patience)
    assert ending.enforce(world.db, world.lead, awake) == 0
    world.clock.advance(1)
    assert ending.enforce(world.db, world.lead, awake) == 1
    assert world.show(job_id).state is State.FINISHING


def test_a_start_that_nobody_heard_of_is_asked_for_before_its_boot_is_called_too_long(world: World) -> None:
    job_id, attempt_id = world.boot()
    lease = world.attend(attempt_id)
    attempts.order_go(world.db, world.work(attempt_id), lease)
    world.clock.advance(8 * 3600)
    awake = world.clock.now
    assert ending.enforce(world.db, world.lead, awake) == 0
    world.clock.advance(41)
    assert ending.enforce(world.db, world.lead, awake) == 1
    assert world.show(job_id).reason == "boot_timeout"


def test_a_machine_that_booted_for_too_long_is_told_from_a_ceiling(world: World) -> None:
    """After an outage both limits have passed; the ceiling was hardly touched, and there is a next try."""
    job_id, attempt_id = world.boot()
    world.clock.advance(8 * 3600)
    world.heartbeat()
    assert ending.enforce(world.db, world.lead, world.clock.now) == 1
    assert world.show(job_id).reason == "boot_timeout"
    assert world.attempt(attempt_id).retryable


def test_where_somebody_attends_the_leader_lets_him_go_first(world: World) -> None:
    job_id, attempt_id, _ = world.run()
    world.clock.advance(3600 + 41)
    leases.heartbeat(world.db, world.owner, [attempt_id])
    assert ending.enforce(world.db, world.lead) == 0
    world.clock.advance(5)
    assert ending.enforce(world.db, world.lead) == 1
    assert world.show(job_id).reason == "max_runtime"


# Deploying


def test_a_cancel_waits_until_the_deploy_is_settled(world: World) -> None:
    job_id, attempt_id, lease = world.order()
    submissions.request_cancel(world.db, job_id)
    world.settle()
    assert world.show(job_id).state is State.DEPLOYING
    attempts.deployed(world.db, world.work(attempt_id), lease, world.appear("x").uuid)
    world.settled()
    view = world.show(job_id)
    assert (view.state, view.reason) == (State.CANCELLED, "cancelled_by_user")
    assert view.cost == PRICE // 60
    assert world.account == {}


def test_a_deploy_that_is_refused_for_good(world: World) -> None:
    job_id, attempt_id, lease = world.order()
    attempts.deploy_refused(world.db, world.work(attempt_id), lease, "402 no money", retryable=False)
    ending.settle(world.db, world.lead)
    view = world.show(job_id)
    assert (view.state, view.reason, view.detail, view.cost) == (
        State.FAILED,
        "deploy_failed",
        "402 no money",
        0,
    )


def test_what_is_wrong_with_one_does_not_keep_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken, sound = world.run(), world.run()
    for _, attempt_id, lease in (broken, sound):
        world.finish(attempt_id, lease)
    settle_one = ending._settle_one

    def stumbling(session: Any, now: Any, lead: Any, attempt_id: str, prices: Any) -> None:
        settle_one(session, now, lead, attempt_id, prices)
        if attempt_id == broken[1]:
            raise RuntimeError("a fault that nobody foresaw")

    monkeypatch.setattr(ending, "_settle_one", stumbling)
    world.settled()
    assert world.show(sound[0]).state is State.SUCCEEDED
    assert world.show(broken[0]).state is State.FINISHING, "nothing of it was written"
    assert broken[1] in caplog.text
    monkeypatch.undo()
    world.settled()
    assert world.show(broken[0]).state is State.SUCCEEDED
