"""Deploys that had no answer, or whose holder died: what the listing tells of them, and what it does not."""

from __future__ import annotations

import pytest

from jobs.states import State
from jobs.store import attempts, ending
from tests.conformance.store_kit import PRICE, World, count_events


def test_unknown_and_then_listed_is_live(world: World) -> None:
    job_id, attempt_id, _ = world.unknown()
    sighting = world.appear(world.instance(attempt_id).name)
    world.list()
    row = world.instance(attempt_id)
    assert (row.state, row.uuid) == ("live", sighting.uuid)
    assert world.show(job_id).state is State.BOOTING
    assert world.take(attempt_id, "anybody") is not None


def test_listed_before_the_answer_came(world: World) -> None:
    job_id, attempt_id, lease = world.order()
    sighting = world.appear(world.instance(attempt_id).name)
    world.list()
    assert world.show(job_id).state is State.BOOTING
    with pytest.raises(attempts.Stale):
        attempts.deployed(world.db, world.work(attempt_id), lease, sighting.uuid)
    assert world.instance(attempt_id).uuid == sighting.uuid


def test_unknown_and_absent_through_the_quarantine_is_tried_again(world: World) -> None:
    job_id, attempt_id, _ = world.unknown()
    world.clock.advance(59)
    world.list()
    assert world.instance(attempt_id).state == "unknown"
    assert world.show(job_id).cost > 0  # it may exist
    world.clock.advance(2)
    world.list()
    assert world.instance(attempt_id).state == "absent"
    view = world.show(job_id)
    assert (view.state, view.reason, view.cost) == (State.FINISHING, "deploy_failed", 0)
    ending.settle(world.db, world.lead)
    assert world.show(job_id).state is State.QUEUED


def test_a_listing_that_began_before_proves_no_absence(world: World) -> None:
    _, attempt_id, _ = world.unknown()
    world.clock.advance(65)
    world.list(ago=10)
    assert world.instance(attempt_id).state == "unknown"


def test_an_incomplete_listing_proves_no_absence(world: World) -> None:
    _, attempt_id, _ = world.unknown()
    world.clock.advance(3600)
    world.heartbeat()
    world.list(complete=False)
    assert world.instance(attempt_id).state == "unknown"


def test_unknown_absent_and_cancelled(world: World) -> None:
    from jobs.store import submissions

    job_id, _, _ = world.unknown()
    assert submissions.request_cancel(world.db, job_id) is State.DEPLOYING
    world.clock.advance(61)
    world.list()
    ending.settle(world.db, world.lead)
    view = world.show(job_id)
    assert (view.state, view.reason, view.cost) == (State.CANCELLED, "cancelled_by_user", 0)


def test_absent_and_then_seen_is_a_stray(world: World) -> None:
    """It turns up long after the job went on: doomed on sight, and on the receipt of its job."""
    job_id, attempt_id, _ = world.unknown()
    world.clock.advance(61)
    world.list()
    ending.settle(world.db, world.lead)
    world.clock.advance(70)
    world.run(job_id)
    before = world.show(job_id).cost
    world.appear(world.instance(attempt_id).name)
    assert world.list().doomed == 1
    row = world.instance(attempt_id)
    assert (row.state, row.doomed_why) == ("doomed", "a stray of a deploy that was given up")
    assert world.show(job_id).state is State.RUNNING
    assert world.show(job_id).cost >= before + 2 * PRICE // 60
    world.terminate()
    world.settle()
    assert world.instance(attempt_id).state == "gone"


def test_a_stray_of_a_job_that_is_final(world: World) -> None:
    from jobs.store import submissions

    job_id, attempt_id, _ = world.unknown()
    submissions.request_cancel(world.db, job_id)
    world.clock.advance(61)
    world.list()
    ending.settle(world.db, world.lead)
    events = count_events(world.db, job_id)
    world.appear(world.instance(attempt_id).name)
    world.list()
    assert world.instance(attempt_id).state == "doomed"
    view = world.show(job_id)
    assert (view.state, count_events(world.db, job_id)) == (State.CANCELLED, events)
    assert view.cost > 0


def test_a_stray_of_an_attempt_that_is_not_shown_is_billed_all_the_same(world: World) -> None:
    """The API refused, and rented nevertheless: the machine is ended after the grace, and paid by the job."""
    from jobs.states import Event

    job_id, attempt_id, lease = world.order()
    world.void(attempt_id, lease, event=Event.THROTTLED, reason=None, pause=1)
    world.appear(world.instance(attempt_id).name)
    world.list()
    assert len(world.machines()) == 1
    world.clock.advance(91)
    world.list()
    stray = world.machines()[-1]
    assert (stray.state, stray.job_id, stray.attempt_id) == ("doomed", job_id, None)
    assert stray.requested_at == world.instance(attempt_id).requested_at
    assert world.show(job_id).cost == 2 * PRICE // 60
    assert world.show(job_id).attempts == ()


# A holder that died


def test_an_intent_that_was_never_ordered(world: World) -> None:
    job_id, attempt_id, _ = world.admit()
    world.list()
    assert world.show(job_id).state is State.DEPLOYING
    world.clock.advance(16)
    world.list()
    view = world.show(job_id)
    assert (view.state, view.attempts) == (State.QUEUED, ())
    assert world.instance(attempt_id).state == "refused"


def test_an_ordered_deploy_whose_holder_died(world: World) -> None:
    job_id, attempt_id, _ = world.order()
    world.clock.advance(16)
    world.list()
    assert world.instance(attempt_id).state == "unknown"
    assert world.show(job_id).state is State.DEPLOYING
    world.appear(world.instance(attempt_id).name)
    world.list()
    assert world.show(job_id).state is State.BOOTING


def test_a_late_answer_after_the_doubt(world: World) -> None:
    job_id, attempt_id, lease = world.order()
    work = world.work(attempt_id)
    world.clock.advance(16)
    world.list()
    attempts.deployed(world.db, work, lease, "late")
    assert (world.instance(attempt_id).state, world.instance(attempt_id).uuid) == ("live", "late")
    assert world.show(job_id).state is State.BOOTING


def test_a_late_refusal_after_the_doubt(world: World) -> None:
    _, attempt_id, lease = world.order()
    work = world.work(attempt_id)
    world.clock.advance(16)
    world.list()
    attempts.deploy_refused(world.db, work, lease, "no", retryable=False)
    assert world.instance(attempt_id).state == "refused"
