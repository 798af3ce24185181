"""What a machine costs, as its listing says: what is counted, until when it is paid, when it is too dear."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jobs import money
from jobs.pictures import receipt_json
from jobs.states import State
from jobs.store import attempts, ending, leases
from runner.cli import receipts
from tests.conformance.store_kit import PRICE, World, job_row, submit

MINUTE = PRICE // 60


def _lists(world: World, attempt_id: str, **changes: Any) -> None:
    world.change(world.instance(attempt_id).uuid, **changes)
    world.list()


def test_a_price_that_changes_counts_from_the_minute_in_which_it_is_seen(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id, attempt_id, _ = world.run()
    world.clock.advance(150)
    _lists(world, attempt_id, price=2 * PRICE)
    assert world.show(job_id).cost == 2 * MINUTE + 2 * MINUTE
    world.clock.advance(60)
    _lists(world, attempt_id, price=PRICE // 2)
    world.clock.advance(60)
    view = world.show(job_id)
    assert view.cost == 2 * MINUTE + 2 * 2 * MINUTE + MINUTE // 2, "what has begun was charged"
    assert (view.attempts[0].price, view.attempts[0].minutes) == (PRICE // 2, 5)
    assert view.attempts[0].prices == ((2, PRICE), (2, 2 * PRICE), (1, PRICE // 2))
    (attempt,) = receipt_json(view)["attempts"]
    assert attempt["prices"][1] == {"minutes": 2, "price_usd_per_hour": money.format_usd(2 * PRICE)}
    receipts.say(view)
    assert "2 min at $1.20/h, 2 min at $2.40/h, 1 min at $0.60/h" in capsys.readouterr().out


def test_dearer_from_now_on_ends_earlier_by_what_is_left(world: World) -> None:
    """Five dollars: ten minutes at two cents, then at a dollar."""
    _, attempt_id, _ = world.run()
    world.clock.advance(599)
    _lists(world, attempt_id, price=60_000_000)
    row = world.instance(attempt_id)
    assert row.requested_at is not None
    # Nine minutes for 18 cents; of what is left four whole minutes are paid.
    assert row.expires_at == row.requested_at + timedelta(seconds=13 * 60 - 1)
    assert world.attempt(attempt_id).deadline_at == row.expires_at - timedelta(seconds=60)


def test_the_first_final_price_is_that_of_all_minutes(world: World) -> None:
    """Before it only the price without the coupon was listed."""
    job_id, attempt_id, _ = world.run()
    world.clock.advance(150)
    _lists(world, attempt_id, price=PRICE // 2, full_price=PRICE, final=True)
    view = world.show(job_id)
    assert view.cost == 3 * MINUTE // 2
    assert (view.attempts[0].price, view.attempts[0].full_price) == (PRICE // 2, PRICE)


def test_zero_means_not_known_and_what_was_charged_goes_on(world: World) -> None:
    job_id, attempt_id, _ = world.run()
    _lists(world, attempt_id, price=PRICE // 2, full_price=PRICE, final=True)
    world.clock.advance(150)
    _lists(world, attempt_id, price=PRICE, full_price=PRICE, final=False)
    _lists(world, attempt_id, price=None, full_price=None, final=False)
    assert world.show(job_id).cost == 3 * MINUTE // 2
    assert world.instance(attempt_id).price == PRICE // 2


def test_a_machine_above_the_price_of_its_job_is_ended_while_it_boots(world: World) -> None:
    job_id, attempt_id = world.boot(submit(world.db, max_price=PRICE))
    _lists(world, attempt_id, price=PRICE + 1)
    assert world.instance(attempt_id).state == "doomed"
    world.settle()
    world.settle()
    view = world.show(job_id)
    assert (view.state, view.reason) == (State.FAILED, "deploy_failed")
    assert view.detail == "the machine costs $1.200001 an hour, more than its max-price of $1.20"


def test_where_another_product_will_do_that_is_tried(world: World) -> None:
    products = ("gpu_1x_l40", "gpu_1x_a6000")
    job_id, attempt_id = world.boot(submit(world.db, max_price=PRICE, products=products))
    _lists(world, attempt_id, price=PRICE + 1)
    world.settle()
    world.settle()
    view = world.show(job_id)
    assert (view.state, view.attempts[0].outcome) == (State.QUEUED, "deploy_failed")
    assert job_row(world.db, job_id).passed_over == ["gpu_1x_l40"]


def test_a_command_whose_machine_becomes_too_dear_is_stopped(world: World) -> None:
    job_id, attempt_id, _ = world.run(submit(world.db, max_price=PRICE))
    world.clock.advance(30)
    _lists(world, attempt_id, price=PRICE + 1)
    attempt = world.attempt(attempt_id)
    assert (attempt.deadline_at, attempt.deadline_cause) == (world.clock.now, "max_cost")
    assert world.show(job_id).state is State.RUNNING
    world.clock.advance(5)
    world.list()
    assert world.attempt(attempt_id).deadline_at == world.clock.now - timedelta(seconds=5), "it stays"


def test_the_price_that_a_job_pays_at_most_is_no_more_than_that(world: World) -> None:
    _, attempt_id, _ = world.run(submit(world.db, max_price=2 * PRICE))
    before = world.attempt(attempt_id).deadline_at
    _lists(world, attempt_id, price=2 * PRICE)
    assert world.attempt(attempt_id).deadline_at == before


@pytest.mark.parametrize("grace", [5, 300])
def test_a_command_has_the_grace_of_its_job_to_end(world: World, grace: int) -> None:
    job_id, _, _ = world.run(submit(world.db, grace=grace))
    leases.release_attempts(world.db, world.owner)
    patience = max(grace + money.SEAL_SECONDS, 40)  # whoever takes over needs as long
    world.clock.advance(3600 + patience)
    world.heartbeat()
    assert ending.enforce(world.db, world.lead) == 0
    world.clock.advance(1)
    assert ending.enforce(world.db, world.lead) == 1
    assert world.show(job_id).reason == "max_runtime"


@pytest.mark.parametrize("grace", [1, 5, 29, 30])
def test_the_ceiling_does_not_wait_for_whoever_takes_over(world: World, grace: int) -> None:
    expires_at = world.clock.now + timedelta(seconds=1200)
    job_id, attempt_id, _ = world.run(submit(world.db, grace=grace), expires_at=expires_at)
    leases.release_attempts(world.db, world.owner)
    deadline = world.attempt(attempt_id).deadline_at
    assert deadline == expires_at - timedelta(seconds=money.ending_seconds(grace))
    world.clock.now = expires_at - timedelta(seconds=money.TERMINATE_SECONDS)
    world.heartbeat()
    assert ending.enforce(world.db, world.lead) == 0
    world.clock.advance(1)
    assert ending.enforce(world.db, world.lead) == 1
    assert (world.show(job_id).state, world.instance(attempt_id).state) == (State.FINISHING, "doomed")


@pytest.mark.parametrize(("grace", "ended"), [(5, 0), (300, 1)])
def test_a_boot_ends_where_what_is_left_is_only_enough_for_the_end(
    world: World, grace: int, ended: int
) -> None:
    expires_at = world.clock.now + timedelta(seconds=600)
    _, attempt_id = world.boot(submit(world.db, grace=grace), expires_at=expires_at)
    world.clock.advance(600 - 60)
    assert ending.enforce(world.db, world.lead) == ended
    assert (world.instance(attempt_id).state == "doomed") is bool(ended)


def test_a_coupon_that_was_not_applied_ends_the_machine(world: World) -> None:
    """The service takes any coupon for any product, and charges the full price without a word."""
    coupon = submit(world.db, coupon="TEN", max_price=PRICE - 1)
    job_id, attempt_id = world.boot(coupon, price=PRICE // 2, full_price=PRICE)
    before = world.instance(attempt_id).expires_at
    _lists(world, attempt_id, price=PRICE, full_price=PRICE)
    assert world.show(job_id).state is State.BOOTING, "what is charged is not known yet"
    assert world.instance(attempt_id).expires_at == before
    _lists(world, attempt_id, price=PRICE, full_price=PRICE, final=True)
    assert world.instance(attempt_id).state == "doomed"
    world.settle()
    world.settle()
    view = world.show(job_id)
    assert (view.state, view.reason, len(view.attempts)) == (State.FAILED, "deploy_failed", 1)
    job_id, attempt_id = world.boot(submit(world.db, coupon="TEN"), price=PRICE // 2, full_price=PRICE)
    _lists(world, attempt_id, price=PRICE, full_price=PRICE, final=True)
    world.settle()
    world.settle()
    view = world.show(job_id)
    assert (view.state, view.reason, len(view.attempts)) == (State.FAILED, "coupon", 1)
    assert view.detail == "the coupon 'TEN' was not applied: the machine is charged at the full price"


def test_a_coupon_that_was_applied(world: World) -> None:
    job_id, attempt_id = world.boot(submit(world.db, coupon="TEN"), price=PRICE // 2, full_price=PRICE)
    _lists(world, attempt_id, price=PRICE // 2, full_price=PRICE, final=True)
    view = world.show(job_id)
    assert (view.state, view.cost) == (State.BOOTING, MINUTE // 2)
    assert (view.attempts[0].price, view.attempts[0].full_price) == (PRICE // 2, PRICE)


def test_what_is_above_the_ceiling_is_shown(world: World) -> None:
    """Nobody could end the machine in time: the receipt has all of it."""
    job_id, attempt_id, lease = world.run(submit(world.db, max_cost=5 * MINUTE))
    world.clock.advance(10 * 60)
    assert world.show(job_id).overrun == 5 * MINUTE
    world.heartbeat()
    world.finish(attempt_id, world.take(attempt_id) or lease)
    world.settle()
    world.settle()
    found = receipt_json(world.show(job_id))
    assert (found["cost_usd"], found["max_cost_usd"], found["overrun_usd"]) == ("0.20", "0.10", "0.10")


def test_a_coupon_that_is_gone_while_the_command_runs_stops_it(world: World) -> None:
    _, attempt_id, _ = world.run(submit(world.db, coupon="TEN"), price=PRICE // 2, full_price=PRICE)
    _lists(world, attempt_id, price=PRICE // 2, full_price=PRICE, final=True)
    assert world.attempt(attempt_id).deadline_at != world.clock.now
    _lists(world, attempt_id, price=PRICE, full_price=PRICE, final=True)
    attempt = world.attempt(attempt_id)
    assert (attempt.deadline_at, attempt.deadline_cause) == (world.clock.now, "max_cost")


def test_a_final_price_replaces_the_last_one_only(world: World) -> None:
    job_id, attempt_id, _ = world.run()
    world.clock.advance(150)
    _lists(world, attempt_id, price=2 * PRICE)
    world.clock.advance(60)
    _lists(world, attempt_id, price=PRICE // 2, full_price=2 * PRICE, final=True)
    assert world.show(job_id).cost == 2 * MINUTE + 2 * MINUTE // 2


def test_a_full_price_that_rises_counts_though_nobody_says_what_is_charged(world: World) -> None:
    job_id, attempt_id, _ = world.run()
    _lists(world, attempt_id, price=PRICE, full_price=PRICE, final=True)
    world.clock.advance(60)
    _lists(world, attempt_id, price=2 * PRICE, full_price=2 * PRICE, final=False)
    assert world.show(job_id).cost == MINUTE
    world.clock.advance(59)
    assert world.show(job_id).cost == MINUTE + 2 * MINUTE


def test_a_machine_that_becomes_dearer_before_its_command_is_started_has_an_earlier_deadline(
    world: World,
) -> None:
    """Whoever starts it decided by the price of before."""
    _, attempt_id = world.boot()
    lease = world.take(attempt_id)
    assert lease is not None
    work = world.work(attempt_id)
    late = work.expires_at - timedelta(seconds=money.ending_seconds(work.grace))
    _lists(world, attempt_id, price=100 * PRICE)
    _, deadline_at, cause = attempts.order_go(world.db, work, lease)
    row = world.instance(attempt_id)
    assert (deadline_at, cause) == (row.expires_at - timedelta(seconds=60), "max_cost")
    assert deadline_at < late
    assert world.attempt(attempt_id).deadline_at == deadline_at
