"""Outputs as the database knows them: their machine is kept until they are in, or their time is over."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jobs import money
from jobs.spec import Packed
from jobs.states import State
from jobs.store import ending, files, leases, retention
from jobs.store.transitions import AttemptLease, Stale
from jobs.views import AttemptView
from tests.conformance.store_kit import ROOM, World, submit

SHARE = 120
LOST = "the machine was gone before all of them were here"
CAME = ("trees/ab/x", 2, 10)


def _finishing(world: World, **options: Any) -> tuple[str, str, AttemptLease]:
    """A job whose command has ended, and whose outputs are still on its machine."""
    job_id = submit(world.db, outputs=("out/**",), **options)
    job_id, attempt_id, lease = world.run(job_id, outputs_seconds=SHARE)
    world.finish(attempt_id, lease, with_outputs=True)
    return job_id, attempt_id, lease


def _state(attempt: AttemptView) -> dict[str, Any]:
    return {name: value for name, value in (attempt.outputs_state or {}).items() if name != "at"}


def test_the_machine_is_kept_until_its_outputs_are_in(world: World) -> None:
    job_id, attempt_id, lease = _finishing(world)
    world.heartbeat()
    for _ in range(2):
        world.settle()
    assert (world.show(job_id).state, world.instance(attempt_id).state) == (State.FINISHING, "live")
    files.note(
        world.db, world.work(attempt_id), lease, transfer={"what": "fetching outputs", "bytes": 5, "of": 10}
    )
    assert (world.show(job_id).attempts[0].transfer or {})["bytes"] == 5
    files.over(world.db, world.work(attempt_id), lease, CAME, None)
    assert world.instance(attempt_id).state == "doomed"
    for _ in range(2):
        world.settle()
    view = world.show(job_id)
    assert (view.state, view.detail) == (State.SUCCEEDED, "over")
    attempt = view.attempts[0]
    assert (attempt.outputs, attempt.transfer) == ("trees/ab/x", None)
    assert _state(attempt) == {"files": 2, "bytes": 10, "over": True, "complete": True, "note": None}


def test_what_is_missing_is_in_the_detail(world: World) -> None:
    job_id, attempt_id, lease = _finishing(world)
    files.over(world.db, world.work(attempt_id), lease, CAME, "nothing matches 'x'")
    for _ in range(2):
        world.settle()
    view = world.show(job_id)
    assert (view.state, view.detail) == (State.SUCCEEDED, "over; outputs_failed: nothing matches 'x'")


def test_another_worker_takes_them_over_without_a_seat(world: World) -> None:
    _, attempt_id, lease = _finishing(world)
    leases.release_attempts(world.db, world.owner, [attempt_id])
    assert ending.wanted(world.db, ROOM).attend == [attempt_id]
    other = leases.take_attempts(world.db, [attempt_id], "worker-2", room=0)
    assert other.keys() == {attempt_id}
    with pytest.raises(Stale):
        files.over(world.db, world.work(attempt_id), lease, CAME, None)
    files.over(world.db, world.work(attempt_id), other[attempt_id], CAME, None)
    leases.release_attempts(world.db, "worker-2", [attempt_id])
    assert ending.wanted(world.db, ROOM).attend == [attempt_id] * 0, "there is nothing to attend to any more"


def test_their_time_is_a_part_of_the_ceiling(world: World) -> None:
    job_id, attempt_id, _ = _finishing(world)
    until = world.work(attempt_id).outputs_until
    assert until == world.clock.now + timedelta(seconds=SHARE)
    world.clock.advance(SHARE + 1)
    world.heartbeat()
    for _ in range(2):
        world.settle()
    view = world.show(job_id)
    assert view.state is State.SUCCEEDED
    assert view.detail == "over; outputs_failed: the time that is reserved for them was over"
    assert (view.attempts[0].outputs_state or {})["complete"] is False


def test_they_end_before_their_machine_must(world: World) -> None:
    job_id, attempt_id, lease = world.run(submit(world.db, outputs=("x",)), outputs_seconds=4000)
    world.clock.advance(600)
    world.finish(attempt_id, lease, with_outputs=True)
    last = world.instance(attempt_id).expires_at - timedelta(seconds=money.TERMINATE_SECONDS)
    assert world.work(attempt_id).outputs_until == last
    assert world.show(job_id).state is State.FINISHING


def test_a_machine_that_vanishes_takes_the_rest_along(world: World) -> None:
    job_id, attempt_id, lease = _finishing(world)
    state = {"files": 1, "bytes": 3, "complete": False}
    files.note(world.db, world.work(attempt_id), lease, outputs="trees/ab/x", outputs_state=state)
    world.vanish(attempt_id)
    for _ in range(3):
        world.clock.advance(91)
        world.heartbeat()
        leases.heartbeat(world.db, world.owner, [attempt_id])
        world.settle()
    view = world.show(job_id)
    assert (view.state, view.exit_code) == (State.SUCCEEDED, 0)
    assert "outputs_failed: " in (view.detail or "")
    assert view.attempts[0].outputs == "trees/ab/x", "what was synced stays"
    assert _state(view.attempts[0]) == {**state, "over": True, "note": LOST}


def test_what_was_whole_by_then_is_kept(world: World) -> None:
    """Whoever fetched them is gone, and what it had written down last is what there is."""
    job_id, attempt_id, lease = _finishing(world)
    synced = {"files": 1, "bytes": 3, "complete": False}
    files.note(world.db, world.work(attempt_id), lease, outputs="trees/ab/x", outputs_state=synced)
    transfer = {"what": "fetching outputs", "bytes": 50, "of": 99, "kept": {"files": 4, "bytes": 40}}
    files.note(world.db, world.work(attempt_id), lease, outputs_part="trees/ab/part", transfer=transfer)
    world.clock.advance(SHARE + 1)
    world.heartbeat()
    leases.heartbeat(world.db, world.owner, [attempt_id])
    assert ending.enforce(world.db, world.lead) == 1
    # It comes back to itself, and brings what it has: that is kept, and what was said of them stays.
    files.over(world.db, world.work(attempt_id), lease, ("trees/ab/late", 5, 50), None)
    world.settle()
    view = world.show(job_id)
    assert view.state is State.SUCCEEDED
    assert view.detail == "over; outputs_failed: the time that is reserved for them was over"
    attempt = view.attempts[0]
    assert attempt.outputs == "trees/ab/late"
    assert (_state(attempt)["files"], _state(attempt)["complete"]) == (5, False)


def test_a_part_counts_where_nothing_else_comes(world: World) -> None:
    job_id, attempt_id, lease = _finishing(world)
    transfer = {"what": "fetching outputs", "bytes": 50, "of": 99, "kept": {"files": 4, "bytes": 40}}
    files.note(world.db, world.work(attempt_id), lease, outputs_part="trees/ab/part", transfer=transfer)
    world.clock.advance(SHARE + 1)
    world.heartbeat()
    for _ in range(2):
        world.settle()
    attempt = world.show(job_id).attempts[0]
    assert attempt.outputs == "trees/ab/part"
    assert (_state(attempt)["files"], _state(attempt)["bytes"], _state(attempt)["complete"]) == (4, 40, False)


def test_the_next_attempt_goes_on_from_what_was_synced(world: World) -> None:
    job_id = submit(world.db, outputs=("x",), sync_every=60, retries=1)
    job_id, attempt_id, lease = world.run(job_id)
    assert world.work(attempt_id).resumes is None
    files.note(world.db, world.work(attempt_id), lease, outputs="trees/ab/x", outputs_state={"files": 1})
    world.finish(attempt_id, lease, exit_code=1)
    for _ in range(2):
        world.settle()
    world.clock.advance(61)
    _, second, _ = world.admit(job_id)
    assert world.work(second).resumes == "trees/ab/x"
    assert world.work(second).private


def test_files_on_their_way_hold_the_boot_deadline_up(world: World) -> None:
    job_id, attempt_id = world.boot(submit(world.db, workdir=Packed("trees/ab/x", 1, 2)))
    lease = world.take(attempt_id)
    assert lease is not None
    before = world.work(attempt_id).boot_deadline_at
    world.clock.advance(880)
    leases.heartbeat(world.db, world.owner, [attempt_id])
    patience = timedelta(minutes=5)
    files.bringing(world.db, world.work(attempt_id), lease, 0, 2, patience)
    assert world.work(attempt_id).boot_deadline_at == before + timedelta(seconds=280)
    world.clock.advance(100)
    leases.heartbeat(world.db, world.owner, [attempt_id])
    files.bringing(world.db, world.work(attempt_id), lease, 1, 2, patience)
    until = world.work(attempt_id).boot_deadline_at
    assert until == before + timedelta(seconds=380)
    world.clock.advance(100)
    leases.heartbeat(world.db, world.owner, [attempt_id])
    for done in (0, 1):
        files.bringing(world.db, world.work(attempt_id), lease, done, 2, patience)
    assert world.work(attempt_id).boot_deadline_at == until, "who begins anew is no further than anybody was"
    world.clock.advance(100)
    leases.heartbeat(world.db, world.owner, [attempt_id])
    world.clock.advance(101)
    leases.heartbeat(world.db, world.owner, [attempt_id])
    world.settle()
    view = world.show(job_id)
    assert (view.state, view.attempts[0].outcome) == (State.QUEUED, "upload_failed"), "another one may do"


def test_old_outputs_are_forgotten_after_their_time(world: World) -> None:
    job_id, attempt_id, lease = _finishing(world)
    files.over(world.db, world.work(attempt_id), lease, CAME, None)
    for _ in range(2):
        world.settle()
    age = timedelta(days=1)
    assert retention.with_old_outputs(world.db, age) == []
    world.clock.advance(age.total_seconds() + 1)
    world.heartbeat()
    assert retention.with_old_outputs(world.db, age) == [attempt_id]
    retention.forget_outputs(world.db, world.lead, attempt_id, age)
    assert retention.with_old_outputs(world.db, age) == []
    attempt = world.show(job_id).attempts[0]
    assert attempt.outputs is None
    assert (attempt.outputs_state or {})["note"] == "deleted after 1d (RUNNER_RETENTION)"


def test_what_is_wrong_with_one_keeps_no_other_machine_alive(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = [attempt_id for _, attempt_id, _ in (_finishing(world), _finishing(world))]
    lose, asked = files.lose, []

    def stumble(session: Any, now: Any, attempt_id: str, why: str) -> None:
        asked.append(attempt_id)
        if len(asked) == 1:
            raise KeyError("files")
        lose(session, now, attempt_id, why)

    monkeypatch.setattr(files, "lose", stumble)
    world.clock.advance(SHARE + 1)
    world.heartbeat()
    leases.heartbeat(world.db, world.owner, late)
    assert ending.enforce(world.db, world.lead) == 1
    assert [world.instance(attempt_id).state for attempt_id in asked] == ["live", "doomed"]
    assert ending.enforce(world.db, world.lead) == 1
    assert {world.instance(attempt_id).state for attempt_id in late} == {"doomed"}
