"""Admission reserves: slots, burn and seats hold, however many admit at once; and the tickets of the API."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise

import pytest

from jobs import ids, money
from jobs.states import State
from jobs.store import admission, attempts, catalog, deadlines, ending, leases, limits
from jobs.store.admission import Admitted, Full, Limits
from jobs.store.catalog import Offer
from jobs.store.transitions import Stale
from tests.conformance.store_kit import PRICE, ROOM, World, count_events, job_row, submit


def _try(world: World, bounds: Limits, **changes: object) -> Admitted | Full:
    job_id = submit(world.db)
    lease = leases.take_job(world.db, job_id, world.owner)
    assert lease is not None
    return admission.admit(world.db, job_id, lease, world.plan(**changes), bounds)


def test_the_intent_stands_before_anything_is_sent(world: World) -> None:
    job_id, attempt_id, lease = world.admit(minimum_minutes=60)
    row, view = world.instance(attempt_id), world.show(job_id)
    name = ids.parse_instance_name(row.name)
    assert name is not None
    assert name.attempt_id == attempt_id
    assert name.expires_at == int(row.expires_at.timestamp())
    assert (row.state, row.uuid, row.price, row.minimum_minutes) == ("intended", None, PRICE, 60)
    assert (view.state, view.cost) == (State.DEPLOYING, 0)
    assert world.work(attempt_id).deploy_ordered_at is None
    attempts.order_deploy(world.db, world.work(attempt_id), lease)
    attempts.deployed(world.db, world.work(attempt_id), lease, "uuid")
    assert world.show(job_id).cost == 60 * PRICE // 60


def test_slots_hold_against_many_at_once(world: World) -> None:
    gate = threading.Barrier(8)
    bounds = Limits(max_instances=3, max_burn=None)

    def admit(_: int) -> Admitted | Full:
        gate.wait()
        return _try(world, bounds)

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(admit, range(8)))
    assert sum(isinstance(item, Admitted) for item in done) == 3
    assert {item.detail for item in done if isinstance(item, Full)} == {
        "3 instances are in use, and RUNNER_MAX_INSTANCES allows 3"
    }


def test_burn_holds_against_many_at_once(world: World) -> None:
    gate = threading.Barrier(8)
    bounds = Limits(max_instances=100, max_burn=5 * PRICE - 1)

    def admit(_: int) -> Admitted | Full:
        gate.wait()
        return _try(world, bounds)

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(admit, range(8)))
    assert sum(isinstance(item, Admitted) for item in done) == 4
    assert {"RUNNER_MAX_BURN" in item.detail for item in done if isinstance(item, Full)} == {True}


def test_seats_hold_against_many_at_once(world: World) -> None:
    leases.leave(world.db, world.owner)
    leases.sign_on(world.db, world.owner, leases.Process("h", 1, "0"), 2)
    gate = threading.Barrier(6)

    def admit(_: int) -> Admitted | Full:
        gate.wait()
        return _try(world, ROOM)

    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(admit, range(6)))
    assert sum(isinstance(item, Admitted) for item in done) == 2


def test_a_doomed_machine_keeps_its_slot_and_no_seat(world: World) -> None:
    leases.leave(world.db, world.owner)
    leases.sign_on(world.db, world.owner, leases.Process("h", 1, "0"), 1)
    _, attempt_id, lease = world.run()
    world.finish(attempt_id, lease)
    assert world.instance(attempt_id).state == "doomed"
    assert isinstance(_try(world, Limits(1, None)), Full)
    assert isinstance(_try(world, ROOM), Admitted)


def test_what_was_refused_is_free_again(world: World) -> None:
    bounds = Limits(max_instances=1, max_burn=None)
    job_id, attempt_id, lease = world.order()
    assert isinstance(_try(world, bounds), Full)
    attempts.deploy_refused(world.db, world.work(attempt_id), lease, "no", retryable=False)
    assert isinstance(_try(world, bounds), Admitted)
    ending.settle(world.db, world.lead)
    assert world.show(job_id).reason == "deploy_failed"


def test_a_stale_lease_admits_nothing(world: World) -> None:
    job_id = submit(world.db)
    first = leases.take_job(world.db, job_id, "a")
    assert first is not None
    world.clock.advance(61)
    world.heartbeat()
    assert leases.take_job(world.db, job_id, "b") is not None
    with pytest.raises(Stale):
        admission.admit(world.db, job_id, first, world.plan(), ROOM)
    assert world.machines() == []
    with pytest.raises(Stale):
        admission.wait(world.db, job_id, first, reason=None, detail="x", pause=timedelta(0))


def test_one_job_is_admitted_once_by_many_at_once(world: World) -> None:
    """Two that both hold the lease, which cannot be: the job's state lets one in."""
    job_id = submit(world.db)
    lease = leases.take_job(world.db, job_id, world.owner)
    assert lease is not None
    gate = threading.Barrier(4)

    def admit(_: int) -> bool:
        gate.wait()
        try:
            return isinstance(admission.admit(world.db, job_id, lease, world.plan(), ROOM), Admitted)
        except Stale:
            return False

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(admit, range(4))) == 1
    assert len(world.machines()) == 1


def test_waiting_is_told_once(world: World) -> None:
    job_id = submit(world.db)
    for turn in range(3):
        lease = leases.take_job(world.db, job_id, world.owner)
        assert lease is not None
        admission.wait(
            world.db,
            job_id,
            lease,
            reason="waiting_for_slot",
            detail="full",
            pause=timedelta(seconds=5),
        )
        view = world.show(job_id)
        assert (view.state, view.reason, view.detail) == (State.QUEUED, "waiting_for_slot", "full")
        assert count_events(world.db, job_id) == 2
        candidate = admission.candidate(world.db, job_id)
        assert candidate is not None
        assert candidate.waits == turn + 1
        world.clock.advance(6)


def test_what_earlier_attempts_cost_is_spent(world: World) -> None:
    job_id, attempt_id = world.boot()
    world.clock.advance(901)
    world.settle()
    world.settle()
    assert world.show(job_id).state is State.QUEUED
    candidate = admission.candidate(world.db, job_id)
    assert candidate is not None
    assert world.show(job_id).cost == 16 * PRICE // 60
    assert candidate.left == 5_000_000 - world.show(job_id).cost
    world.clock.advance(61)
    _, second = world.boot(job_id)
    paid = money.paid_until(world.clock.now, candidate.left, PRICE)
    with world.db.read() as session:
        job, row = job_row(world.db, job_id), world.instance(second)
        row.expires_at = paid + timedelta(days=1)
        assert deadlines.expiry(session, world.clock.now, job, row) == (paid, "max_cost")
    assert world.attempt(attempt_id).state == "ended"


def test_out_of_stock_spares_the_others(world: World) -> None:
    _, attempt_id, lease = world.order()
    world.void(attempt_id, lease, pause=10)
    with world.db.read() as session:
        now = world.clock.now
        until = limits.blocked_until(session, now, limits.stock("gpu_1x_l40"))
        assert until == world.clock.now + timedelta(seconds=10)
        assert limits.blocked_until(session, now, limits.stock("other")) is None
        assert limits.out_of_stock(session, now) == ["gpu_1x_l40"]
        assert limits.out_of_stock(session, until) == []
        before = now - timedelta(hours=1)
        assert limits.out_of_stock(session, before) == [], "a clock that was set back blocks nothing"


def test_backoff_grows_until_there_is_a_machine(world: World) -> None:
    job_id = submit(world.db)
    for turn in range(3):
        _, attempt_id, lease = world.order(job_id)
        world.void(attempt_id, lease, pause=1)
        world.clock.advance(2)
        candidate = admission.candidate(world.db, job_id)
        assert candidate is not None
        assert candidate.waits == turn + 1
    world.boot(job_id)
    with world.db.read() as session:
        from jobs.models import Job

        job = session.get(Job, 1)
        assert job is not None
        assert job.waits == 0


# The tickets: two requests a second for all


TERMINATE, LIST, DEPLOY, REST = range(4)
GAP = limits.between_turns().total_seconds()


def _turns(world: World, priority: int, count: int) -> list[float]:
    """When calls that ask again as they are told begin, in seconds from now."""
    began = world.clock.now
    turns = []
    while len(turns) < count:
        taken, seconds = limits.take_ticket(world.db, priority)
        if taken:
            turns.append((world.clock.now - began).total_seconds() + seconds)
        else:
            world.clock.advance(max(seconds, 0.001))
    return turns


@pytest.mark.parametrize("priority", [TERMINATE, LIST, DEPLOY, REST])
def test_two_a_second_and_nothing_is_saved_up(world: World, priority: int) -> None:
    world.clock.advance(100)
    turns = _turns(world, priority, 20)
    gaps = [later - earlier for earlier, later in pairwise(turns)]
    assert turns[0] == 0
    assert min(gaps) >= GAP - 1e-6
    assert max(gaps) <= GAP + 0.01


@pytest.mark.parametrize("phase", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
def test_no_minute_holds_more_than_its_share_although_requests_are_held_up(phase: float) -> None:
    """All whose turn comes before a minute are late by half a second, and none whose turn lies in it."""
    turns = [number * GAP for number in range(1000)]
    for turn in turns[:500]:
        begins = turn + phase
        arrivals = [at + 0.5 if at < begins else at for at in turns]
        assert sum(begins <= at <= begins + 60 for at in arrivals) <= 120


def test_the_urgent_go_first(world: World) -> None:
    world.clock.advance(100)
    assert limits.take_ticket(world.db, DEPLOY) == (True, 0)
    assert limits.take_ticket(world.db, REST)[0] is False
    assert limits.take_ticket(world.db, DEPLOY) == (True, pytest.approx(GAP))
    taken, seconds = limits.take_ticket(world.db, DEPLOY)
    assert not taken
    assert seconds == pytest.approx(GAP)
    assert limits.take_ticket(world.db, LIST) == (True, pytest.approx(2 * GAP))
    assert limits.take_ticket(world.db, TERMINATE) == (True, pytest.approx(3 * GAP))
    assert limits.take_ticket(world.db, TERMINATE) == (True, pytest.approx(4 * GAP))
    assert limits.take_ticket(world.db, LIST)[0] is False
    assert limits.take_ticket(world.db, TERMINATE) == (True, pytest.approx(5 * GAP))


def test_where_the_api_wants_silence_only_terminates_go_on(world: World) -> None:
    world.clock.advance(100)
    limits.silence(world.db, 20)
    assert limits.take_ticket(world.db, TERMINATE) == (True, 0)
    world.clock.advance(15)
    for priority in (LIST, DEPLOY, REST):
        assert limits.take_ticket(world.db, priority) == (False, 5)
    world.clock.advance(5)
    assert limits.take_ticket(world.db, LIST) == (True, 0)
    limits.silence(world.db, 20)
    limits.silence(world.db, 1)
    world.clock.advance(10)
    assert limits.take_ticket(world.db, LIST)[0] is False, "the longer one counts"
    world.clock.advance(10)
    limits.silence(world.db, 86_400)
    world.clock.advance(60)
    assert limits.take_ticket(world.db, REST) == (True, 0), "a minute is the longest"


def test_no_two_get_the_same_turn(world: World) -> None:
    gate = threading.Barrier(8)

    def take(_: int) -> float:
        gate.wait()
        taken, seconds = limits.take_ticket(world.db, TERMINATE)
        assert taken
        return seconds

    world.clock.advance(100)
    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(take, range(8))) == pytest.approx([n * GAP for n in range(8)])


def test_a_clock_that_was_set_back_stops_nobody(world: World) -> None:
    world.clock.advance(3600)
    assert limits.take_ticket(world.db, REST) == (True, 0)
    world.clock.advance(-3600)
    assert limits.take_ticket(world.db, REST) == (True, 0)


def test_facts_are_kept_with_their_age(world: World) -> None:
    assert limits.recall(world.db, "a") is None
    limits.remember(world.db, "a", {"x": 1})
    limits.remember(world.db, "ab", {"x": 2})
    limits.remember(world.db, "a", {"x": [3, None, "ü"]})
    world.clock.advance(7)
    assert limits.recall(world.db, "a") == ({"x": [3, None, "ü"]}, timedelta(seconds=7))
    world.clock.advance(-3600)
    kept = limits.recall(world.db, "a")
    assert kept is not None
    assert kept[1] > timedelta(minutes=50)
    limits.forget(world.db, "a")
    assert limits.recall(world.db, "ab") is None


def test_the_inventory(world: World) -> None:
    assert catalog.offers(world.db) is None
    offers = [Offer("a", PRICE, 3, 1), Offer("b", None, None, 8)]
    catalog.keep(world.db, offers)
    kept = catalog.offers(world.db)
    assert kept is not None
    assert list(kept[0].values()) == offers
