"""One setter changes states: under its guards, with exactly one event, or not at all."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from jobs.states import Event, IllegalMove, State
from jobs.store import attempts, reads
from jobs.store.transitions import AttemptLease, Change, JobLease, Lead, Person, Stale, move
from tests.conformance.store_kit import World, count_events, submit


def _move(
    world: World, event: Event, job_id: str, state: State, attempt_id: str | None, guard: object
) -> None:
    with world.db.write() as session:
        move(
            session,
            world.clock.now,
            event,
            job_id=job_id,
            state=state,
            attempt_id=attempt_id,
            guard=guard,  # type: ignore[arg-type]
            change=Change("cancelled_by_user" if event is Event.CANCELLED else "lost", "x"),
        )


def test_a_whole_life_leaves_one_event_for_each_move(world: World) -> None:
    job_id, attempt_id, lease = world.run()
    world.finish(attempt_id, lease)
    for _ in range(2):
        world.settle()
    view = world.show(job_id)
    assert (view.state, view.reason, view.exit_code) == (State.SUCCEEDED, "exit_code", 0)
    assert [
        (event.event, event.from_state, event.to_state, event.who)
        for event in reads.history(world.db, job_id)
    ] == [
        ("submitted", None, "queued", "person"),
        ("admitted", "queued", "deploying", "admission"),
        ("deployed", "deploying", "booting", "holder"),
        ("started", "booting", "running", "holder"),
        ("exited", "running", "finishing", "holder"),
        ("ended with success", "finishing", "succeeded", "observer"),
    ]
    attempt = view.attempts[0]
    assert (attempt.number, attempt.state, attempt.outcome) == (1, "ended", "exit_code")
    moments = (attempt.deployed_at, attempt.ready_at, attempt.started_at, attempt.ended_at)
    assert None not in (*moments, attempt.terminated_at)


@pytest.mark.parametrize("wrong", ["fence", "owner"])
def test_a_stale_holder_changes_nothing(world: World, wrong: str) -> None:
    job_id, attempt_id, lease = world.run()
    stale = replace(lease, fence=lease.fence - 1) if wrong == "fence" else replace(lease, owner="other")
    before = count_events(world.db, job_id)
    with pytest.raises(Stale):
        _move(world, Event.GONE, job_id, State.RUNNING, attempt_id, stale)
    assert world.show(job_id).state is State.RUNNING
    assert world.attempt(attempt_id).outcome is None
    assert count_events(world.db, job_id) == before


def test_a_stale_admission_changes_nothing(world: World) -> None:
    job_id = submit(world.db)
    with pytest.raises(Stale):
        _move(world, Event.CANNOT_START, job_id, State.QUEUED, None, JobLease("nobody", 1))
    assert world.show(job_id).state is State.QUEUED
    assert count_events(world.db, job_id) == 1


def test_a_stale_leader_changes_nothing(world: World) -> None:
    job_id, attempt_id, _ = world.run()
    lead = world.lead
    for stale in (replace(lead, fence=lead.fence - 1), Lead("other", lead.fence)):
        with pytest.raises(Stale):
            _move(world, Event.GONE, job_id, State.RUNNING, attempt_id, stale)
    assert world.show(job_id).state is State.RUNNING


def test_a_wrong_state_changes_nothing(world: World) -> None:
    job_id, attempt_id = world.boot()
    with pytest.raises(Stale):
        _move(world, Event.GONE, job_id, State.RUNNING, attempt_id, world.lead)
    with pytest.raises(Stale):
        _move(world, Event.CANCELLED, job_id, State.QUEUED, None, Person())
    assert world.show(job_id).state is State.BOOTING


def test_another_jobs_attempt_changes_nothing(world: World) -> None:
    first, first_attempt, _ = world.run()
    second, second_attempt, lease = world.run()
    with pytest.raises(Stale):
        _move(world, Event.GONE, first, State.RUNNING, second_attempt, lease)
    assert world.show(second).state is State.RUNNING
    assert world.attempt(second_attempt).state == "running"
    assert world.attempt(first_attempt).state == "running"


def test_what_the_table_does_not_hold_is_a_bug(world: World) -> None:
    job_id, attempt_id, lease = world.run()
    with pytest.raises(IllegalMove):
        _move(world, Event.DEPLOYED, job_id, State.RUNNING, attempt_id, lease)
    with pytest.raises(IllegalMove):
        _move(world, Event.EXITED, job_id, State.RUNNING, attempt_id, world.lead)


def test_a_final_state_needs_one_of_its_reasons(world: World) -> None:
    job_id, attempt_id, lease = world.run()
    world.finish(attempt_id, lease)
    with pytest.raises(IllegalMove, match="no reason"):
        _move(world, Event.SUCCEEDED, job_id, State.FINISHING, attempt_id, world.lead)
    assert world.show(job_id).state is State.FINISHING


def test_a_cause_that_a_machine_made_up(world: World) -> None:
    job_id, attempt_id, lease = world.run()
    world.finish(attempt_id, lease, cause="x" * 40, exit_code=None)
    view = world.show(job_id)
    assert (view.state, view.reason) == (State.FINISHING, "lost")
    assert view.detail is not None
    assert "x" * 40 in view.detail


def test_two_ends_at_once_are_one(world: World) -> None:
    """The holder's exit record and the observer's verdict race: one wins, with one event and one doom."""
    from jobs.store import ending

    for _ in range(15):
        job_id, attempt_id, lease = world.run()
        world.clock.advance(3600 + 41)
        world.heartbeat()
        lead, gate = world.lead, threading.Barrier(2)

        def exits(
            attempt_id: str = attempt_id, lease: AttemptLease = lease, gate: threading.Barrier = gate
        ) -> bool:
            work = world.work(attempt_id)
            gate.wait()
            try:
                attempts.finish(
                    world.db,
                    work,
                    lease,
                    Event.EXITED,
                    state=State.RUNNING,
                    cause="exit_code",
                    detail="exited",
                    exit_code=0,
                )
            except Stale:
                return False
            return True

        def judges(lead: Lead = lead, gate: threading.Barrier = gate) -> int:
            gate.wait()
            return ending.enforce(world.db, lead)

        before = count_events(world.db, job_id)
        with ThreadPoolExecutor(2) as pool:
            exited, judged = pool.submit(exits), pool.submit(judges)
            assert exited.result() + judged.result() == 1
        assert count_events(world.db, job_id) == before + 1
        assert world.show(job_id).reason == ("exit_code" if exited.result() else "max_runtime")
        assert world.instance(attempt_id).state == "doomed"
        world.settle()
        world.settle()


def test_the_deploy_is_ordered_once(world: World) -> None:
    _, attempt_id, lease = world.order()
    with pytest.raises(Stale):
        attempts.order_deploy(world.db, world.work(attempt_id), lease)


def test_a_cancelled_job_is_not_deployed(world: World) -> None:
    from jobs.store import ending, submissions

    job_id, attempt_id, lease = world.admit()
    submissions.request_cancel(world.db, job_id)
    with pytest.raises(Stale):
        attempts.order_deploy(world.db, world.work(attempt_id), lease)
    assert world.work(attempt_id).deploy_ordered_at is None
    attempts.stop_unsent(world.db, world.work(attempt_id), lease, "cancelled_by_user", "cancelled")
    ending.settle(world.db, world.lead)
    view = world.show(job_id)
    assert (view.state, view.cost) == (State.CANCELLED, 0)


def test_a_deploy_that_was_sent_is_not_called_unsent(world: World) -> None:
    _, attempt_id, lease = world.order()
    with pytest.raises(Stale):
        attempts.stop_unsent(world.db, world.work(attempt_id), lease, "cancelled_by_user", "cancelled")


def test_a_cancelled_job_gets_no_go(world: World) -> None:

    from jobs.store import submissions

    job_id, attempt_id = world.boot()
    lease = world.take(attempt_id)
    assert lease is not None
    submissions.request_cancel(world.db, job_id)
    with pytest.raises(Stale):
        attempts.order_go(world.db, world.work(attempt_id), lease)
    assert world.attempt(attempt_id).go_ordered_at is None


def test_go_is_ordered_at_its_first_time(world: World) -> None:
    """The answer to `go` was lost: the second order keeps the moment of the first, which may have worked."""

    _, attempt_id = world.boot()
    lease = world.take(attempt_id)
    assert lease is not None
    first = world.clock.now
    for _ in range(2):
        attempts.order_go(world.db, world.work(attempt_id), lease)
        world.clock.advance(5)
    assert world.attempt(attempt_id).go_ordered_at == first


def test_the_first_cause_of_a_stop_stays(world: World) -> None:
    _, attempt_id, lease = world.run()
    first = attempts.order_stop(world.db, world.work(attempt_id), lease, "cancelled_by_user")
    world.clock.advance(10)
    assert attempts.order_stop(world.db, world.work(attempt_id), lease, "max_runtime") == first
    assert world.work(attempt_id).stop_cause == "cancelled_by_user"


def test_a_retry_starts_the_second_attempt_with_the_next_number(world: World) -> None:

    job_id, attempt_id, lease = world.order()
    world.void(attempt_id, lease, event=Event.THROTTLED, reason=None, pause=1)
    assert world.show(job_id).attempts == ()
    world.clock.advance(2)
    _, second, _ = world.admit(job_id)
    assert [item.number for item in world.show(job_id).attempts] == [1]
    assert world.attempt(second).number == 1
    assert world.attempt(attempt_id).number is None
