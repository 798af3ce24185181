"""The next try: after which end there is one, when, and what may be left for it."""

from __future__ import annotations

import pytest

from jobs.states import Event, State
from jobs.store import attempts, ending, submissions
from tests.conformance.store_kit import PRICE, ROOM, World, spec, submit


def test_three_further_tries_with_growing_pauses(world: World) -> None:
    job_id = submit(world.db)
    pauses = []
    for number in range(1, 5):
        world.boot(job_id)
        assert [item.number for item in world.show(job_id).attempts] == list(range(1, number + 1))
        world.clock.advance(901)
        world.settled()
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
    lease = world.attend(attempt_id)
    attempts.order_go(world.db, world.work(attempt_id), lease)
    world.clock.advance(901)
    world.settled()
    view = world.show(job_id)
    assert (view.state, view.reason) == (State.FAILED, "boot_timeout")


def _tried_again(world: World, job_id: str, cause: str, code: int | None = None) -> bool:
    """Run and end the next attempt; whether another one follows."""
    _, attempt_id, lease = world.run(job_id)
    world.finish(attempt_id, lease, cause=cause, exit_code=code)
    world.settled()
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
        world.settled()
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
    world.settled()
    assert world.show(job_id).state is State.FAILED


def test_a_machine_that_got_the_order_and_was_never_heard_of_again_counts_as_lost(world: World) -> None:
    job_id = submissions.submit(world.db, [spec(retries=1, retry_on=("lost",))])[0].id
    _, attempt_id = world.boot(job_id)
    lease = world.attend(attempt_id)
    attempts.order_go(world.db, world.work(attempt_id), lease)
    world.clock.advance(901)
    world.settled()
    assert world.show(job_id).state is State.QUEUED


def test_a_distrusted_machine_is_not_tried_again(world: World) -> None:
    job_id, attempt_id = world.boot()
    attempts.finish(
        world.db,
        world.work(attempt_id),
        world.attend(attempt_id),
        Event.DISTRUSTED,
        state=State.BOOTING,
        cause="host_key",
        detail="another key",
    )
    world.settled()
    assert (world.show(job_id).state, world.show(job_id).reason) == (State.FAILED, "host_key")


def test_a_cancel_while_finishing_forbids_the_next_try(world: World) -> None:
    job_id, _ = world.boot()
    world.clock.advance(901)
    world.heartbeat()
    ending.enforce(world.db, world.lead)
    assert submissions.request_cancel(world.db, job_id) is State.FINISHING
    world.settled()
    view = world.show(job_id)
    assert (view.state, view.reason) == (State.FAILED, "boot_timeout")


def test_no_next_try_where_the_ceiling_is_used_up(world: World) -> None:
    """17 of 18 minutes are spent: what is left pays for no ending."""
    job_id = submissions.submit(world.db, [spec(max_cost=18 * PRICE // 60)])[0].id
    world.boot(job_id)
    world.clock.advance(901)
    world.settled()
    view = world.show(job_id)
    assert (view.state, view.reason, view.cost) == (State.FAILED, "boot_timeout", 16 * PRICE // 60)


def test_a_next_try_where_just_enough_is_left(world: World) -> None:
    job_id = submissions.submit(world.db, [spec(max_cost=19 * PRICE // 60)])[0].id
    world.boot(job_id)
    world.clock.advance(901)
    world.settled()
    assert world.show(job_id).state is State.QUEUED


def test_no_next_try_where_the_billed_minimum_does_not_fit(world: World) -> None:
    job_id = submissions.submit(world.db, [spec(max_cost=100 * PRICE // 60)])[0].id
    world.boot(job_id, minimum_minutes=60)
    world.clock.advance(901)
    world.settled()
    view = world.show(job_id)
    assert (view.state, view.cost) == (State.FAILED, 60 * PRICE // 60)


def test_the_detail_tells_why_it_is_tried_again(world: World) -> None:
    job_id, _ = world.boot()
    world.clock.advance(901)
    world.settled()
    view = world.show(job_id)
    assert view.reason is None
    assert view.detail is not None
    assert "boot_timeout" in view.detail


def test_the_last_attempts_outcome_is_not_the_first_ones(world: World) -> None:
    job_id, _ = world.boot()
    world.clock.advance(901)
    world.settled()
    world.clock.advance(61)
    world.heartbeat()
    _, attempt_id, lease = world.run(job_id)
    world.finish(attempt_id, lease)
    world.settled()
    view = world.show(job_id)
    assert view.state is State.SUCCEEDED
    assert [item.outcome for item in view.attempts] == ["boot_timeout", "exit_code"]
    assert view.cost == sum(item.cost for item in view.attempts)
    assert [item.terminated_at is not None for item in view.attempts] == [True, True]
