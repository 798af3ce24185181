"""Which moment a job's ceilings end its machine at: by its price, by what else it costs, by time."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobs import meter, money
from jobs.money import Micros
from jobs.pictures import receipt_json
from jobs.states import Event, State
from jobs.store import admission, attempts, budgets, doom, ending, observing, spend, submissions
from jobs.store.attempts import CannotStart
from jobs.store.budgets import Every
from runner import present
from runner.cli import receipts
from tests.conformance.store_kit import PRICE, ROOM, World, submit
from workers.steps.context import Context
from workers.steps.deploy import deploy

MINUTE = PRICE // 60
CEILING = 20 * MINUTE
ENDING = timedelta(seconds=money.ending_seconds(money.GRACE_SECONDS))


def _given_up(world: World) -> tuple[str, str]:
    """A job whose first deploy had no answer and was given up, and that attempt; 20 minutes are paid."""
    job_id, attempt_id, lease = world.order(
        submit(world.db, max_cost=CEILING, max_runtime=36_000),
        expires_at=world.clock.now + timedelta(seconds=20 * 60 - 1),
    )
    attempts.deploy_unknown(world.db, world.work(attempt_id), lease)
    for _ in range(3):
        world.clock.advance(61)
        world.heartbeat()
        world.list()
        world.settle()
    assert world.show(job_id).state is State.QUEUED
    return job_id, attempt_id


def _left(world: World, job_id: str) -> Micros:
    candidate = admission.candidate(world.db, job_id)
    assert candidate is not None
    return candidate.left


def test_a_stray_that_comes_late_is_paid_by_the_ceiling_of_the_attempt_that_runs(world: World) -> None:
    job_id, first = _given_up(world)
    assert _left(world, job_id) == CEILING
    paid = money.paid_until(world.clock.now, CEILING, PRICE)
    _, second, _ = world.run(job_id, expires_at=paid.replace(microsecond=0))
    before = world.attempt(second).deadline_at
    assert before is not None
    world.clock.advance(30)
    world.appear(world.instance(first).name)
    world.list()
    cost = world.show(job_id).strays.minutes + world.show(job_id).attempts[0].minutes
    assert cost == 4
    after = world.attempt(second)
    assert (after.deadline_at, after.deadline_cause) == (before - timedelta(minutes=4), "max_cost")
    world.clock.advance(45)
    assert ending.enforce(world.db, world.lead) == 0
    world.list()
    assert world.attempt(second).deadline_at == before - timedelta(minutes=5), "it goes on costing"
    world.terminate()
    world.list()
    end = world.attempt(second).deadline_at
    assert end == before - timedelta(minutes=5)
    world.clock.now = end + ENDING
    world.settled()
    view = world.show(job_id)
    assert view.cost <= CEILING
    assert view.cost > CEILING - 2 * MINUTE


def test_a_stray_that_comes_while_the_next_one_boots_leaves_less_for_its_command(world: World) -> None:
    """Whoever starts it has read of the machine before the stray was seen."""
    job_id, first = _given_up(world)
    paid = money.paid_until(world.clock.now, CEILING, PRICE).replace(microsecond=0)
    _, second = world.boot(job_id, expires_at=paid)
    lease = world.attend(second)
    work = world.work(second)
    world.appear(world.instance(first).name)
    world.list()
    _, deadline_at, cause = attempts.order_go(world.db, work, lease)
    assert (deadline_at, cause) == (paid - timedelta(minutes=4) - ENDING, "max_cost")


def _turns_up_and_goes(world: World, attempt_id: str, minutes: int) -> None:
    """The machine of a deploy that was given up is seen, and gone after so many minutes on the bill."""
    world.appear(world.instance(attempt_id).name)
    world.list()
    row = world.instance(attempt_id)
    assert row.requested_at is not None
    world.clock.now = row.requested_at + timedelta(minutes=minutes, seconds=-1)
    world.heartbeat()
    observing.proved_gone(world.db, world.lead, row.id, "404")
    assert meter.charge(world.instance(attempt_id), world.clock.now).minutes == minutes


def test_a_stray_that_came_and_went_while_the_next_one_was_planned_is_paid_by_it(world: World) -> None:
    job_id, first = _given_up(world)
    planned = money.paid_until(world.clock.now, CEILING, PRICE).replace(microsecond=0)
    _turns_up_and_goes(world, first, 6)
    _, second, _ = world.order(job_id, expires_at=planned)
    row = world.instance(second)
    assert row.requested_at is not None
    assert row.expires_at == row.requested_at + timedelta(minutes=14, seconds=-1) < planned


@pytest.mark.parametrize(
    ("gone_after", "changes"),
    [(20, {}), (18, {}), (6, {"minimum_minutes": 15}), (16, {"outputs_seconds": 180})],
    ids=["nothing is left", "no time for a command", "less than the minimum", "no time beside outputs"],
)
def test_nothing_is_rented_by_a_plan_for_which_it_left_too_little(
    world: World, gone_after: int, changes: dict[str, Any]
) -> None:
    job_id, first = _given_up(world)
    planned = money.paid_until(world.clock.now, CEILING, PRICE).replace(microsecond=0)
    _turns_up_and_goes(world, first, gone_after)
    _, second, lease = world.admit(job_id, expires_at=planned, **changes)
    key, bells = SimpleNamespace(public_line=f"ssh-ed25519 {'A' * 68} runner"), SimpleNamespace()
    bells.observe = lambda: None
    deploy(cast("Context", SimpleNamespace(db=world.db, key=key, bells=bells)), second, lease, ())
    assert (world.instance(second).state, world.instance(second).requested_at) == ("refused", None)
    assert world.show(job_id).state is State.QUEUED, "another product may be cheap enough"
    assert ending.wanted(world.db, ROOM).admit == [job_id]
    assert _left(world, job_id) == CEILING - gone_after * MINUTE


def test_a_machine_that_nobody_claims_is_paid_by_the_job_that_its_name_tells_of(world: World) -> None:
    job_id, attempt_id, _ = world.run(submit(world.db, max_cost=CEILING, max_runtime=36_000))
    world.appear(world.instance(attempt_id).name)
    before = world.instance(attempt_id).expires_at
    world.clock.advance(100)
    world.list()
    world.clock.advance(100)
    world.heartbeat()
    world.list()
    assert world.show(job_id).strays.minutes == 4
    paid = money.paid_until(world.instance(attempt_id).requested_at or before, CEILING - 4 * MINUTE, PRICE)
    assert world.instance(attempt_id).expires_at == min(before, paid)
    assert paid < before


def test_a_command_that_a_ceiling_leaves_no_time_for_is_not_started(world: World) -> None:
    job_id, attempt_id = world.boot(submit(world.db, max_cost=3 * MINUTE))
    lease = world.attend(attempt_id)
    world.clock.advance(121)
    with pytest.raises(CannotStart) as caught:
        attempts.order_go(world.db, world.work(attempt_id), lease)
    assert (caught.value.event, caught.value.cause) == (Event.STOPPED, "max_cost")
    assert world.attempt(attempt_id).go_ordered_at is None
    assert world.show(job_id).state is State.BOOTING


def test_files_that_take_long_leave_less_time_and_it_is_not_the_money(world: World) -> None:
    expires_at = world.clock.now + timedelta(seconds=900 + 3600) + ENDING
    _, attempt_id = world.boot(submit(world.db, max_cost=100_000_000), expires_at=expires_at)
    lease = world.attend(attempt_id)
    world.clock.advance(1800)
    world.heartbeat()
    now, deadline_at, cause = attempts.order_go(world.db, world.work(attempt_id), lease)
    assert (deadline_at - now, cause) == (timedelta(seconds=2700), "max_runtime")


def test_a_boot_with_a_coupon_is_bounded_by_what_is_metered(world: World) -> None:
    """The listing does not say what is charged, so that the full price counts."""
    job_id, attempt_id = world.boot(
        submit(world.db, max_cost=10 * MINUTE, coupon="HALF"),
        price=PRICE // 2,
        full_price=PRICE,
        expires_at=world.clock.now + timedelta(seconds=20 * 60 - 1),
        boot_deadline_at=world.clock.now + timedelta(hours=1),
    )
    world.clock.advance(9 * 60 - 2)
    world.heartbeat()
    assert ending.enforce(world.db, world.lead) == 0
    world.clock.advance(2)
    assert ending.enforce(world.db, world.lead) == 1
    world.settled()
    view = world.show(job_id)
    assert (view.reason, view.cost) == ("max_cost", 9 * MINUTE)
    assert world.attempt(attempt_id).go_ordered_at is None


def test_a_price_with_a_coupon_that_nobody_told_is_too_dear_at_go(world: World) -> None:
    _, attempt_id = world.boot(
        submit(world.db, coupon="HALF", max_price=PRICE - 1), price=PRICE // 2, full_price=PRICE
    )
    lease = world.attend(attempt_id)
    with pytest.raises(CannotStart, match="more than its max-price of") as caught:
        attempts.order_go(world.db, world.work(attempt_id), lease)
    assert (caught.value.event, caught.value.cause) == (Event.BOOT_FAILED, "deploy_failed")
    world.change(world.instance(attempt_id).uuid, price=PRICE // 2, full_price=PRICE, final=True)
    world.list()
    assert attempts.order_go(world.db, world.work(attempt_id), lease)


def test_a_machine_that_is_only_shown_by_its_uuid_is_metered_at_what_it_costs(world: World) -> None:
    _, attempt_id, _ = world.run()
    before = world.attempt(attempt_id).deadline_at
    world.clock.advance(60)
    ((instance_id, uuid),) = world.list(sightings=[]).doubted
    world.change(uuid, price=100 * PRICE)
    observing.proved_alive(world.db, world.lead, instance_id, world.account[uuid])
    after = world.attempt(attempt_id).deadline_at
    assert before is not None
    assert after is not None
    assert (after < before, world.instance(attempt_id).price) == (True, 100 * PRICE)


def _void(world: World, job_id: str) -> str:
    """An attempt that came to nothing, though its machine will turn up."""
    _, attempt_id, lease = world.order(job_id)
    world.void(attempt_id, lease)
    world.appear(world.instance(attempt_id).name)
    return attempt_id


def test_what_a_stray_cost_is_shown_and_said_to_be_an_estimate(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = submit(world.db)
    _void(world, job_id)
    world.list()
    world.clock.advance(100)
    world.heartbeat()
    world.list()
    doom.refused(world.db, [item.uuid for item in doom.due(world.db)], "lost")
    world.account.clear()
    world.clock.advance(300)
    world.heartbeat()
    doom.accepted(world.db, [item.uuid for item in doom.due(world.db)])
    submissions.request_cancel(world.db, job_id)
    view = world.show(job_id)
    (stray,) = [row for row in world.machines() if row.attempt_id is None]
    assert meter.charge(stray, world.clock.now).estimated
    receipt = receipt_json(view)
    assert (receipt["strays"]["minutes"], receipt["cost_estimated"]) == (7, True)
    assert receipt["strays"]["cost_usd"] == receipt["cost_usd"]
    line = present.receipt_line(view)
    assert "a machine that came too late · 7 min · $0.1400 (estimated)" in line
    receipts.say(view)
    said = capsys.readouterr().out
    assert "strays        $0.14 for 7 min of machines that came too late" in said
    assert "sum           $0.14 (estimated)" in said


@pytest.mark.parametrize("every", [Every.NEVER, Every.MONTH])
def test_a_stray_of_a_job_that_took_nothing_is_on_its_budget_all_the_same(world: World, every: Every) -> None:
    budgets.put(world.db, "team", 5_000_000, every)
    job_id = submit(world.db, budget="team")
    _void(world, job_id)
    submissions.request_cancel(world.db, job_id)
    for _ in range(3):
        world.list()
        world.clock.advance(100)
        world.heartbeat()
    world.settled()
    (standing,) = budgets.standings(world.db)
    assert standing.spent == world.show(job_id).cost > 0


def test_a_machine_without_a_row_is_counted_from_its_creation(world: World) -> None:
    world.appear(world.stranger(expires_in=-36_000), created=world.clock.now - timedelta(hours=10))
    world.list()
    world.terminate()
    ever, _, _ = spend.metered(world.db)
    assert ever.micros == 10 * PRICE
