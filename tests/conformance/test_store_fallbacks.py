"""Several products for one job, as the database knows them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from jobs.models import Attempt
from jobs.states import Event, State
from jobs.store import admission, attempts, catalog, ending, leases, limits
from jobs.store.catalog import Offer, choices
from tests.conformance.store_kit import PRICE, ROOM, World, submit

TWO = ("gpu_1x_h100", "gpu_1x_l40")


def _void(world: World, event: Event, product: str = TWO[0], **options: Any) -> tuple[str, str]:
    job_id, attempt_id, lease = world.order(submit(world.db, **{"products": TWO, **options}), product=product)
    reason = "no_capacity" if event is Event.NO_CAPACITY else None
    world.void(attempt_id, lease, event=event, reason=reason, pause=10)
    return job_id, attempt_id


def _candidate(world: World, job_id: str) -> admission.Candidate:
    found = admission.candidate(world.db, job_id)
    assert found is not None
    return found


@pytest.mark.parametrize("event", [Event.NO_CAPACITY, Event.IMAGE_REFUSED])
def test_the_next_product_is_tried_at_once(world: World, event: Event) -> None:
    job_id, _ = _void(world, event)
    world.heartbeat()
    assert world.show(job_id).state is State.QUEUED
    assert world.show(job_id).attempts == ()
    assert ending.wanted(world.db, ROOM).admit == [job_id]
    over = {TWO[0]} if event is Event.IMAGE_REFUSED else set()
    assert _candidate(world, job_id).passed_over == over
    with world.db.read() as session:
        blocked = limits.blocked_until(session, world.clock.now, limits.stock(TWO[0]))
    assert (blocked is not None) == (event is Event.NO_CAPACITY)


def test_without_another_product_there_is_a_pause(world: World) -> None:
    job_id, _ = _void(world, Event.NO_CAPACITY, products=TWO[:1])
    world.heartbeat()
    assert ending.wanted(world.db, ROOM).admit == []
    world.clock.advance(11)
    world.heartbeat()
    assert ending.wanted(world.db, ROOM).admit == [job_id]


def test_one_that_waits_for_several_is_tried_where_the_first_is_out_of_stock(world: World) -> None:
    several, alone = submit(world.db, products=TWO), submit(world.db, products=TWO[:1])
    for job_id in (several, alone):
        lease = leases.take_job(world.db, job_id, world.owner)
        assert lease is not None
        pause = timedelta(seconds=1)
        admission.wait(world.db, job_id, lease, reason="no_capacity", detail="out", pause=pause)
    with world.db.write() as session:
        limits.block(session, world.clock.now, limits.stock(TWO[0]), world.clock.now + timedelta(minutes=1))
    world.clock.advance(2)
    world.heartbeat()
    assert ending.wanted(world.db, ROOM).admit == [several]


def test_any_product_is_tried_too(world: World) -> None:
    job_id, attempt_id = _void(world, Event.IMAGE_REFUSED, products=(), cheapest=True)
    world.heartbeat()
    assert ending.wanted(world.db, ROOM).admit == [job_id]
    assert _candidate(world, job_id).passed_over == {TWO[0]}
    assert attempts.load(world.db, attempt_id) is None


def _bad_boot(world: World, job_id: str, product: str) -> None:
    _, attempt_id = world.boot(job_id, product=product)
    world.clock.advance(901)
    leases.heartbeat(world.db, world.owner, [attempt_id])
    for _ in range(2):
        world.settle()
    world.clock.advance(61)
    world.heartbeat()


def test_two_bad_boots_pass_a_product_over(world: World) -> None:
    job_id = submit(world.db, products=TWO)
    _bad_boot(world, job_id, TWO[0])
    assert _candidate(world, job_id).passed_over == frozenset()
    _bad_boot(world, job_id, TWO[0])
    assert _candidate(world, job_id).passed_over == {TWO[0]}
    _bad_boot(world, job_id, TWO[1])
    _bad_boot(world, job_id, TWO[1])
    assert world.show(job_id).state is State.FAILED, "four attempts are all that are free"


def test_a_dear_one_that_fails_leaves_money_for_a_cheap_one(world: World) -> None:
    catalog.keep(world.db, [Offer(TWO[0], 75 * PRICE, 1, 1), Offer(TWO[1], PRICE, 1, 1)])
    job_id, attempt_id = world.boot(submit(world.db, products=TWO), product=TWO[0], price=75 * PRICE)
    world.change(world.instance(attempt_id).uuid, price=75 * PRICE)
    world.clock.advance(150)
    leases.heartbeat(world.db, world.owner, [attempt_id])
    with world.db.write() as session:
        session.execute(
            update(Attempt).where(Attempt.id == attempt_id).values(boot_deadline_at=world.clock.now)
        )
    world.clock.advance(1)
    for _ in range(2):
        world.settle()
    assert world.show(job_id).state is State.QUEUED, world.show(job_id)


def test_which_products_and_in_which_order() -> None:
    offers = {
        offer.name: offer
        for offer in (
            Offer("dear", 3, 1, 1),
            Offer("cheap", 1, 1, 1),
            Offer("spot", 1, 1, 1, spot=True),
            Offer("unknown", None, 1, 1),
            Offer("cpu", 1, 1, 0),
        )
    }
    assert choices(["dear", "cheap"], offers, cheapest=False) == ["dear", "cheap"]
    assert choices(["dear", "unknown", "spot", "cheap"], offers, cheapest=True) == [
        "cheap",
        "spot",
        "dear",
        "unknown",
    ]
    assert choices([], offers, cheapest=True) == ["cheap", "dear"]


def test_the_inventory_keeps_what_is_spot_beside_what_older_workers_read(world: World) -> None:
    offers = [Offer("spot", 1, 1, 1, spot=True), Offer("other", 1, 1, 1)]
    catalog.keep(world.db, offers)
    kept = catalog.offers(world.db)
    assert kept is not None
    assert list(kept[0].values()) == offers
    raw = limits.recall(world.db, "inventory")
    assert raw is not None
    assert {name for item in raw[0]["products"] for name in item} == {"name", "price", "capacity", "gpus"}
