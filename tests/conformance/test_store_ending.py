"""What time brings about: limits that pass, jobs that settle, and the next try."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from jobs.states import Event, State
from jobs.store import attempts, doom, ending, leases, observing, submissions
from jobs.store.transitions import AttemptLease
from runner import present
from tests.conformance.store_kit import PRICE, ROOM, World, spec, submit


def _settled(world: World) -> None:
    world.heartbeat()
    for _ in range(2):
        world.settle()


def _attend(world: World, attempt_id: str) -> AttemptLease:
    lease = world.take(attempt_id)
    assert lease is not None
    return lease


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
    _settled(world)
    view = world.show(job_id)
    assert (view.state, view.reason, view.exit_code) == (state, cause, code)
    assert view.finished_at is not None
    assert not ending.wanted(world.db, ROOM).hurried
    assert ending.wanted(world.db, ROOM).live == 0


def test_a_job_is_not_final_while_its_machine_lives(world: World) -> None:
    job_id, attempt_id, lease = world.run()
    world.finish(attempt_id, lease)
    for _ in range(50):
        world.clock.advance(60)
        world.heartbeat()
        assert [item.uuid for item in doom.due(world.db)] == [world.instance(attempt_id).uuid]
        uuid = world.instance(attempt_id).uuid
        assert uuid is not None
        doom.refused(world.db, [uuid], "500 the service failed", timedelta(seconds=30))
        world.list()
        ending.settle(world.db, world.lead)
        assert world.show(job_id).state is State.FINISHING
    attempt = world.show(job_id).attempts[0]
    assert attempt.leak_suspected
    assert world.instance(attempt_id).terminate_tries == 50
    assert attempt.cost == 50 * 60 * PRICE // 3600
    world.clock.advance(31)
    _settled(world)
    assert world.show(job_id).state is State.SUCCEEDED


def test_a_machine_that_was_missing_before_its_end_was_accepted(world: World) -> None:
    """It may have ended minutes before, so the receipt is an estimate; that it is gone is proved after."""
    world.boot(), world.boot()  # else a listing without it would be a suspicious one
    job_id, attempt_id, lease = world.run()
    world.list()
    world.finish(attempt_id, lease)
    assert [item.tries for item in doom.due(world.db)] == [0]
    uuid = world.instance(attempt_id).uuid
    doom.refused(world.db, [str(uuid)], "no answer, and yet it worked", timedelta(seconds=60))
    world.vanish(attempt_id)

    def look() -> Any:
        world.clock.advance(31)
        world.heartbeat()
        world.list()
        return world.instance(attempt_id)

    assert [look().state, look().state] == ["doomed", "doomed"]
    assert [item.tries for item in doom.due(world.db)] == [1]
    doom.accepted(world.db, [str(uuid)])
    assert [look().state, look().state, look().state] == ["doomed", "doomed", "gone"]
    assert world.instance(attempt_id).gone_proof == "absent"
    ending.settle(world.db, world.lead)
    attempt = world.show(job_id).attempts[0]
    assert (attempt.minutes, attempt.cost_estimated) == (2, True)


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
    job_id, attempt_id = world.boot(expires_at=world.clock.now + timedelta(seconds=299))
    world.clock.advance(239)
    world.heartbeat()
    assert ending.enforce(world.db, world.lead) == 0
    world.clock.advance(1)
    assert ending.enforce(world.db, world.lead) == 1
    _settled(world)
    view = world.show(job_id)
    assert (view.state, view.reason) == (State.EXPIRED, "max_cost")
    assert view.cost == 4 * PRICE // 60
    assert world.attempt(attempt_id).retryable is False


def test_booting_and_cancelled(world: World) -> None:
    job_id, _ = world.boot()
    submissions.request_cancel(world.db, job_id)
    _settled(world)
    view = world.show(job_id)
    assert (view.state, view.reason, len(view.attempts)) == (State.CANCELLED, "cancelled_by_user", 1)


def test_booting_and_gone(world: World) -> None:
    job_id, attempt_id = world.boot()
    world.vanish(attempt_id)
    world.clock.advance(1)
    _settled(world)
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
    _settled(world)
    assert world.show(job_id).state is State.EXPIRED


def test_a_cancel_that_nobody_serves(world: World) -> None:
    job_id, _, _ = world.run()
    submissions.request_cancel(world.db, job_id)
    world.clock.advance(40)
    assert ending.enforce(world.db, world.lead) == 0
    world.clock.advance(1)
    assert ending.enforce(world.db, world.lead) == 1
    _settled(world)
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
    _settled(world)
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
    lease = _attend(world, attempt_id)
    deadline = world.clock.now + timedelta(seconds=3600)
    attempts.order_go(world.db, world.work(attempt_id), lease, deadline, "max_runtime")
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
    _settled(world)
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


# The next try


def test_three_further_tries_with_growing_pauses(world: World) -> None:
    job_id = submit(world.db)
    pauses = []
    for number in range(1, 5):
        world.boot(job_id)
        assert [item.number for item in world.show(job_id).attempts] == list(range(1, number + 1))
        world.clock.advance(901)
        _settled(world)
        if number < 4:
            assert world.show(job_id).state is State.QUEUED
            waited = 0.0
            while ending.wanted(world.db, ROOM).admit == []:
                world.clock.advance(0.25)
                waited += 0.25
            pauses.append(waited)
    view = world.show(job_id)
    assert (view.state, view.reason, len(view.attempts)) == (State.FAILED, "boot_timeout", 4)
    for pause, middle in zip(pauses, (5, 10, 20), strict=True):
        assert middle * 0.75 <= pause <= middle * 1.25 + 0.25


def test_nothing_is_tried_again_after_go(world: World) -> None:
    """From the order of `go` on the command may have run, also where no answer to it came."""
    job_id, attempt_id = world.boot()
    lease = _attend(world, attempt_id)
    deadline = world.clock.now + timedelta(seconds=3600)
    attempts.order_go(world.db, world.work(attempt_id), lease, deadline, "max_runtime")
    world.clock.advance(901)
    _settled(world)
    view = world.show(job_id)
    assert (view.state, view.reason) == (State.FAILED, "boot_timeout")


def _tried_again(world: World, job_id: str, cause: str, code: int | None = None) -> bool:
    """Run and end the next attempt; whether another one follows."""
    _, attempt_id, lease = world.run(job_id)
    world.finish(attempt_id, lease, cause=cause, exit_code=code)
    _settled(world)
    world.clock.advance(76)
    world.heartbeat()
    return world.show(job_id).state is State.QUEUED


def test_a_started_command_is_tried_again_as_often_as_wanted(world: World) -> None:
    job_id = submissions.submit(world.db, [spec(retries=2)])[0].id
    assert _tried_again(world, job_id, "exit_code", 3)
    between = world.show(job_id)
    assert (between.exit_code, between.reason, between.finished_at) == (None, None, None)
    assert "exit_code" in (between.detail or "")
    assert _tried_again(world, job_id, "lost")
    assert not _tried_again(world, job_id, "exit_code", 4)
    view = world.show(job_id)
    assert (view.state, view.reason, view.exit_code) == (State.FAILED, "exit_code", 4)
    assert [(item.number, item.exit_code, item.outcome) for item in view.attempts] == [
        (1, 3, "exit_code"),
        (2, None, "lost"),
        (3, 4, "exit_code"),
    ]


def test_the_first_success_is_the_end(world: World) -> None:
    job_id = submissions.submit(world.db, [spec(retries=2)])[0].id
    assert _tried_again(world, job_id, "exit_code", 1)
    assert not _tried_again(world, job_id, "exit_code", 0)
    view = world.show(job_id)
    assert (view.state, view.exit_code, len(view.attempts)) == (State.SUCCEEDED, 0, 2)


@pytest.mark.parametrize(
    ("retry_on", "cause", "again"),
    [
        ("lost", "exit_code", False),
        ("lost", "lost", True),
        ("exit_code", "exit_code", True),
        ("exit_code", "lost", False),
        ("lost,exit_code", "max_runtime", False),
        ("lost,exit_code", "max_cost", False),
        ("lost,exit_code", "cancelled_by_user", False),
    ],
)
def test_only_for_the_reasons_that_were_named(world: World, retry_on: str, cause: str, again: bool) -> None:
    job_id = submissions.submit(world.db, [spec(retries=1, retry_on=tuple(retry_on.split(",")))])[0].id
    assert _tried_again(world, job_id, cause, 1) is again


def test_attempts_that_never_started_use_up_no_retry(world: World) -> None:
    job_id = submissions.submit(world.db, [spec(retries=1)])[0].id
    for _ in range(3):
        world.boot(job_id)
        world.clock.advance(901)
        _settled(world)
        world.clock.advance(76)
        world.heartbeat()
    assert _tried_again(world, job_id, "lost")
    assert not _tried_again(world, job_id, "lost")
    assert [item.number for item in world.show(job_id).attempts] == [1, 2, 3, 4, 5]


def test_a_machine_that_vanishes_after_a_stop_is_not_tried_again(world: World) -> None:
    job_id = submissions.submit(world.db, [spec(retries=1)])[0].id
    _, attempt_id, lease = world.run(job_id)
    attempts.order_stop(world.db, world.work(attempt_id), lease, "max_cost")
    world.finish(attempt_id, lease, cause="lost", exit_code=None)
    _settled(world)
    assert world.show(job_id).state is State.FAILED


def test_a_machine_that_got_the_order_and_was_never_heard_of_again_counts_as_lost(world: World) -> None:
    job_id = submissions.submit(world.db, [spec(retries=1, retry_on=("lost",))])[0].id
    _, attempt_id = world.boot(job_id)
    lease = _attend(world, attempt_id)
    deadline = world.clock.now + timedelta(seconds=3600)
    attempts.order_go(world.db, world.work(attempt_id), lease, deadline, "max_runtime")
    world.clock.advance(901)
    _settled(world)
    assert world.show(job_id).state is State.QUEUED


def test_a_distrusted_machine_is_not_tried_again(world: World) -> None:
    job_id, attempt_id = world.boot()
    attempts.finish(
        world.db,
        world.work(attempt_id),
        _attend(world, attempt_id),
        Event.DISTRUSTED,
        state=State.BOOTING,
        cause="host_key",
        detail="another key",
    )
    _settled(world)
    assert (world.show(job_id).state, world.show(job_id).reason) == (State.FAILED, "host_key")


def test_a_cancel_while_finishing_forbids_the_next_try(world: World) -> None:
    job_id, _ = world.boot()
    world.clock.advance(901)
    world.heartbeat()
    ending.enforce(world.db, world.lead)
    assert submissions.request_cancel(world.db, job_id) is State.FINISHING
    _settled(world)
    view = world.show(job_id)
    assert (view.state, view.reason) == (State.FAILED, "boot_timeout")


def test_no_next_try_where_the_ceiling_is_used_up(world: World) -> None:
    """17 of 18 minutes are spent: what is left pays for no ending."""
    job_id = submissions.submit(world.db, [spec(max_cost=18 * PRICE // 60)])[0].id
    world.boot(job_id)
    world.clock.advance(901)
    _settled(world)
    view = world.show(job_id)
    assert (view.state, view.reason, view.cost) == (State.FAILED, "boot_timeout", 16 * PRICE // 60)


def test_a_next_try_where_just_enough_is_left(world: World) -> None:
    job_id = submissions.submit(world.db, [spec(max_cost=19 * PRICE // 60)])[0].id
    world.boot(job_id)
    world.clock.advance(901)
    _settled(world)
    assert world.show(job_id).state is State.QUEUED


def test_no_next_try_where_the_billed_minimum_does_not_fit(world: World) -> None:
    job_id = submissions.submit(world.db, [spec(max_cost=100 * PRICE // 60)])[0].id
    world.boot(job_id, minimum_minutes=60)
    world.clock.advance(901)
    _settled(world)
    view = world.show(job_id)
    assert (view.state, view.cost) == (State.FAILED, 60 * PRICE // 60)


def test_the_detail_tells_why_it_is_tried_again(world: World) -> None:
    job_id, _ = world.boot()
    world.clock.advance(901)
    _settled(world)
    view = world.show(job_id)
    assert view.reason is None
    assert view.detail is not None
    assert "boot_timeout" in view.detail


def test_the_last_attempts_outcome_is_not_the_first_ones(world: World) -> None:
    job_id, _ = world.boot()
    world.clock.advance(901)
    _settled(world)
    world.clock.advance(61)
    world.heartbeat()
    _, attempt_id, lease = world.run(job_id)
    world.finish(attempt_id, lease)
    _settled(world)
    view = world.show(job_id)
    assert view.state is State.SUCCEEDED
    assert [item.outcome for item in view.attempts] == ["boot_timeout", "exit_code"]
    assert view.cost == sum(item.cost for item in view.attempts)
    assert [item.terminated_at is not None for item in view.attempts] == [True, True]


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
    _settled(world)
    assert world.show(sound[0]).state is State.SUCCEEDED
    assert world.show(broken[0]).state is State.FINISHING, "nothing of it was written"
    assert broken[1] in caplog.text
    monkeypatch.undo()
    _settled(world)
    assert world.show(broken[0]).state is State.SUCCEEDED


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
