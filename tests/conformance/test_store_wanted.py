"""Which doorbells are rung: as many as there is room for, the first ones first, and none in vain."""

from __future__ import annotations

from datetime import timedelta

from jobs.states import State
from jobs.store import admission, attempts, catalog, ending, leases, limits, submissions
from jobs.store.admission import Full, Limits
from jobs.store.catalog import Offer
from tests.conformance.store_kit import PRICE, ROOM, World, submit


def test_what_is_wanted(world: World) -> None:
    empty = ending.wanted(world.db, ROOM)
    assert (empty.admit, empty.attend, empty.terminate, empty.live, empty.hurried) == (
        [],
        [],
        False,
        0,
        False,
    )
    queued = submit(world.db)
    assert ending.wanted(world.db, ROOM).admit == [queued]
    job_id, attempt_id = world.boot()
    wanted = ending.wanted(world.db, ROOM)
    assert (wanted.attend, wanted.live, wanted.hurried) == ([attempt_id], 1, True)
    lease = world.take(attempt_id)
    assert lease is not None
    assert ending.wanted(world.db, ROOM).attend == []
    world.clock.advance(16)
    assert ending.wanted(world.db, ROOM).attend == [attempt_id]
    attempts.order_go(world.db, world.work(attempt_id), lease)
    attempts.started(world.db, world.work(attempt_id), lease)
    assert not ending.wanted(world.db, ROOM).hurried
    world.finish(attempt_id, lease)
    assert ending.wanted(world.db, ROOM).terminate
    assert ending.wanted(world.db, ROOM).hurried
    assert world.show(job_id).state is State.FINISHING


def test_jobs_beyond_the_room_are_rung_for_once(world: World) -> None:
    """They are told that they wait; a thousand of them must not be tried again and again."""
    world.boot()
    waiting = [submit(world.db) for _ in range(3)]
    assert ending.wanted(world.db, Limits(1, None)).admit == waiting, "to be told"
    for job_id in waiting:
        lease = leases.take_job(world.db, job_id, world.owner)
        assert lease is not None
        pause = timedelta(seconds=1)
        admission.wait(world.db, job_id, lease, reason="waiting_for_slot", detail="no room", pause=pause)
    world.clock.advance(60)
    world.heartbeat()
    assert ending.wanted(world.db, Limits(1, None)).admit == []
    assert ending.wanted(world.db, Limits(3, None)).admit == waiting[:2], (
        "as many as there is room for, the first ones first"
    )
    submissions.request_cancel(world.db, waiting[2])
    assert world.show(waiting[2]).state is State.CANCELLED
    late = submit(world.db)
    assert ending.wanted(world.db, Limits(1, None)).admit == [late]


def test_one_with_a_coupon_is_rung_for_where_its_full_price_has_no_room(world: World) -> None:
    catalog.keep(world.db, [Offer("gpu_1x_l40", PRICE, 5, 1)])
    full, half = submit(world.db), submit(world.db, coupon="HALF")
    for job_id in (full, half):
        _told(world, job_id, "waiting_for_slot")
    world.clock.advance(60)
    world.heartbeat()
    assert ending.wanted(world.db, Limits(10, PRICE * 3 // 4)).admit == [half]
    assert ending.wanted(world.db, Limits(10, PRICE)).admit == [full, half]


def _told(world: World, job_id: str, reason: str, product: str | None = None, pause: float = 1) -> None:
    lease = leases.take_job(world.db, job_id, world.owner)
    assert lease is not None
    wait = timedelta(seconds=pause)
    admission.wait(world.db, job_id, lease, reason=reason, detail=reason, pause=wait, product=product)


def test_only_the_front_of_what_waits_for_stock_is_tried_again(world: World) -> None:
    scarce = [submit(world.db) for _ in range(20)]
    other = submit(world.db, products=("gpu_8x_h100",))
    for job_id in scarce:
        _told(world, job_id, "no_capacity", "gpu_1x_l40", pause=30)
    _told(world, other, "no_capacity")
    world.clock.advance(2)
    world.heartbeat()
    assert ending.wanted(world.db, ROOM).admit == [other], "the others' product is known to be out of stock"
    world.clock.advance(30)
    assert ending.wanted(world.db, ROOM).admit == [*scarce[: ending.FRONT], other]
    assert ending.wanted(world.db, Limits(2, None)).admit == scarce[:2]


def test_where_no_more_may_be_spent_an_hour_nobody_is_tried_again(world: World) -> None:
    world.boot()
    waiting = submit(world.db)
    assert ending.wanted(world.db, Limits(1000, PRICE)).admit == [waiting], "to be told"
    _told(world, waiting, "waiting_for_slot")
    world.clock.advance(2)
    assert ending.wanted(world.db, Limits(1000, PRICE)).admit == []
    assert ending.wanted(world.db, Limits(1000, PRICE + 1)).admit == [waiting]
    catalog.keep(world.db, [Offer("gpu_1x_l40", PRICE, 3, 1)])
    assert ending.wanted(world.db, Limits(1000, 2 * PRICE - 1)).admit == [], "it would not fit"
    assert ending.wanted(world.db, Limits(1000, 2 * PRICE)).admit == [waiting]


def test_the_limit_of_the_account_is_one_refusal_for_all(world: World) -> None:
    job_id, attempt_id, lease = world.order()
    world.void(attempt_id, lease, reason="waiting_for_slot", pause=60)
    world.clock.advance(30)
    world.heartbeat()
    assert ending.wanted(world.db, ROOM).admit == []
    other = submit(world.db)
    assert ending.wanted(world.db, ROOM).admit == [other], "to be told"
    taken = leases.take_job(world.db, other, world.owner)
    assert taken is not None
    assert isinstance(admission.admit(world.db, other, taken, world.plan(), ROOM), Full)
    leases.release_job(world.db, other, taken)
    world.clock.advance(31)
    world.heartbeat()
    assert ending.wanted(world.db, ROOM).admit == [job_id, other]
    with world.db.read() as session:
        assert limits.blocked_until(session, world.clock.now, limits.QUOTA) is None


def test_as_many_are_rung_for_as_can_be_attended_to(world: World) -> None:
    world.boot()
    leases.leave(world.db, world.owner)
    leases.sign_on(world.db, "small", leases.Process("here", 1, "0"), 2)
    first, _ = submit(world.db), submit(world.db)
    assert ending.wanted(world.db, ROOM).admit == [first]


def test_while_the_api_wants_silence_nobody_is_admitted(world: World) -> None:
    first = submit(world.db)
    limits.silence(world.db, 30)
    _told(world, first, "waiting_for_slot")
    world.clock.advance(2)
    assert ending.wanted(world.db, ROOM).admit == []
    world.clock.advance(29)
    world.heartbeat()
    assert ending.wanted(world.db, ROOM).admit == [first]


def test_a_price_of_long_ago_keeps_nobody_waiting(world: World) -> None:
    waiting = submit(world.db)
    _told(world, waiting, "waiting_for_slot")
    catalog.keep(world.db, [Offer("gpu_1x_l40", PRICE, 3, 1)])
    world.clock.advance(60)
    world.heartbeat()
    assert ending.wanted(world.db, Limits(1000, PRICE - 1)).admit == []
    world.clock.advance(3600)
    world.heartbeat()
    assert ending.wanted(world.db, Limits(1000, PRICE - 1)).admit == [waiting], "it may have fallen"
