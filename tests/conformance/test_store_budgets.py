"""Budgets: what jobs take of one, when it is free again; and many at once never take more than there is."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import pytest
from sqlalchemy import select

from bench.audit import taken
from jobs.errors import InvalidJob
from jobs.models import JobEvent
from jobs.states import Event, State
from jobs.store import admission, attempts, budgets, ending, leases, submissions
from jobs.store.admission import Admitted, Limits
from jobs.store.budgets import Every, InUse, Lacks, Standing
from jobs.store.database import Database
from tests.conformance.store_kit import PRICE, ROOM, World, job_row, submit

MINUTE = PRICE // 60
USD = 1_000_000


def _standing(world: World, name: str = "team") -> Standing:
    (found,) = [standing for standing in budgets.standings(world.db) if standing.name == name]
    return found


def _try(world: World, job_id: str, most: int) -> Admitted | Lacks:
    """One try to admit a job that may cost *most*."""
    lease = leases.take_job(world.db, job_id, world.owner)
    assert lease is not None
    found = admission.admit(world.db, job_id, lease, world.plan(most=most), ROOM)
    assert not isinstance(found, admission.Full)
    if isinstance(found, Lacks):
        admission.wait(
            world.db,
            job_id,
            lease,
            reason=budgets.WAITING,
            detail=found.detail,
            pause=timedelta(0),
            need=found.need,
        )
    return found


def _wanted(world: World) -> list[str]:
    return ending.wanted(world.db, ROOM).admit


def test_what_a_job_may_cost_is_taken_with_the_intent_and_its_cost_at_its_end(world: World) -> None:
    budgets.put(world.db, "team", 3 * USD, None)
    job_id, attempt_id, lease = world.run(submit(world.db, budget="team"), most=2 * USD)
    assert (_standing(world).spent, _standing(world).reserved, _standing(world).left) == (0, 2 * USD, USD)
    view = world.show(job_id)
    assert (view.budget, view.reserved) == ("team", 2 * USD)
    world.clock.advance(90)
    world.finish(attempt_id, lease)
    assert _standing(world).reserved == 2 * USD, "it may cost something still"
    world.settle()
    world.settle()
    view = world.show(job_id)
    assert (view.state, view.reserved, view.cost) == (State.SUCCEEDED, None, 2 * MINUTE)
    assert (_standing(world).spent, _standing(world).reserved) == (view.cost, 0)


def test_who_does_not_fit_waits_and_is_told_what_is_missing(world: World) -> None:
    budgets.put(world.db, "team", 3 * USD, Every.MONTH)
    _, first, lease = world.run(submit(world.db, budget="team"), most=2 * USD)
    waits = submit(world.db, budget="team")
    found = _try(world, waits, 1_500_000)
    assert isinstance(found, Lacks)
    view = world.show(waits)
    assert (view.state, view.reason) == (State.QUEUED, "waiting_for_budget")
    assert view.detail == (
        "the budget 'team' has $1.00 left of $3.00 this month; the job may cost $1.50, so $0.50 is missing"
    )
    assert _standing(world).waiting == 1
    assert _wanted(world) == [], "nobody is asked again while nothing has changed"
    world.finish(first, lease)
    world.settle()
    world.settle()
    assert _wanted(world) == [waits]
    assert isinstance(_try(world, waits, 1_500_000), Admitted)


def test_a_smaller_one_behind_is_not_kept_waiting(world: World) -> None:
    budgets.put(world.db, "team", 2 * USD, None)
    large = [submit(world.db, budget="team") for _ in range(ending.FRONT + 2)]
    small = submit(world.db, budget="team")
    taken = submit(world.db, budget="team")
    assert isinstance(_try(world, taken, USD), Admitted)
    for job_id in large:
        assert isinstance(_try(world, job_id, 2 * USD), Lacks)
    assert isinstance(_try(world, small, USD + 1), Lacks)
    budgets.put(world.db, "team", 2 * USD + 1, None)
    for job_id in _wanted(world):  # who waits is told how it stands now
        assert isinstance(_try(world, job_id, 2 * USD), Lacks)
    for job_id in _wanted(world):
        _try(world, job_id, USD + 1 if job_id == small else 2 * USD)
    assert world.show(small).state is State.DEPLOYING
    assert "left of $2.000001" in (world.show(large[0]).detail or "")
    assert _wanted(world) == []
    budgets.put(world.db, "team", 5 * USD, None)
    assert _wanted(world) == large[: ending.FRONT], "the first ones first"


def test_after_a_while_it_is_reckoned_anew(world: World) -> None:
    """Prices may have fallen, and what was too much then may fit."""
    budgets.put(world.db, "team", USD, None)
    job_id = submit(world.db, budget="team")
    assert isinstance(_try(world, job_id, 2 * USD), Lacks)
    whole = "the whole budget 'team' is $1.00: it waits until that is raised"
    assert world.show(job_id).detail == f"the job may cost $2.00, and {whole}"
    assert _wanted(world) == []
    world.clock.advance(601)
    world.heartbeat()
    assert _wanted(world) == [job_id]
    assert isinstance(_try(world, job_id, USD), Admitted)


def test_one_that_can_never_fit_keeps_nobody_waiting_who_can(world: World) -> None:
    """However long it has waited: it is asked again behind all those, and one of its kind at a time."""
    budgets.put(world.db, "team", USD, None)
    never = [submit(world.db, budget="team") for _ in range(3)]
    for job_id in never:
        assert isinstance(_try(world, job_id, 2 * USD), Lacks)
    taken = submit(world.db, budget="team")
    assert isinstance(_try(world, taken, USD), Admitted)
    fits = submit(world.db, budget="team")
    assert isinstance(_try(world, fits, USD // 2), Lacks)
    world.clock.advance(601)
    world.heartbeat()
    budgets.put(world.db, "team", 2 * USD - 1, None)
    for job_id in _wanted(world):
        _try(world, job_id, USD // 2 if job_id == fits else 2 * USD)
    assert world.show(fits).state is State.DEPLOYING
    world.clock.advance(601)
    world.heartbeat()
    another = submit(world.db, budget="team")
    assert _wanted(world) == [another, never[0]], "one of them, and last"


def test_lowering_it_stops_new_work_and_ends_nothing(world: World) -> None:
    budgets.put(world.db, "team", 5 * USD, None)
    job_id, _, _ = world.run(submit(world.db, budget="team"), most=4 * USD)
    standing = budgets.put(world.db, "team", USD, None)
    assert standing.left == -3 * USD
    assert isinstance(_try(world, submit(world.db, budget="team"), USD // 2), Lacks)
    world.settle()
    assert world.show(job_id).state is State.RUNNING


def test_a_job_is_stopped_at_what_it_took_where_that_is_less_than_its_ceiling(world: World) -> None:
    budgets.put(world.db, "team", 5 * USD, None)
    _, attempt_id, _ = world.run(submit(world.db, budget="team", max_cost=5 * USD), most=10 * MINUTE)
    world.change(world.instance(attempt_id).uuid, price=2 * PRICE)
    world.list()
    row = world.instance(attempt_id)
    assert row.requested_at is not None
    assert row.expires_at == row.requested_at + timedelta(seconds=5 * 60 - 1)


def test_a_deploy_that_was_not_to_be_takes_nothing(world: World) -> None:
    budgets.put(world.db, "team", 2 * USD, None)
    job_id, attempt_id, lease = world.order(submit(world.db, budget="team"), most=2 * USD)
    world.void(attempt_id, lease)
    assert _standing(world).left == 2 * USD
    assert job_row(world.db, job_id).admitted_at is None
    job_id, _, _ = world.admit(submit(world.db, budget="team"), most=2 * USD)
    world.clock.advance(20)  # whoever held it is dead, and never ordered it
    world.heartbeat()
    world.list()
    assert world.show(job_id).state is State.QUEUED
    assert _standing(world).left == 2 * USD


def test_a_retry_keeps_what_its_job_has_taken(world: World) -> None:
    budgets.put(world.db, "team", 2 * USD, Every.DAY)
    job_id, _ = world.boot(submit(world.db, budget="team"), most=2 * USD)
    world.clock.advance(901)
    world.settle()
    world.settle()
    assert world.show(job_id).state is State.QUEUED
    assert _standing(world).reserved == 2 * USD
    world.clock.advance(61)
    world.clock.now += timedelta(days=1)  # it belongs to the day on which it was admitted
    assert (_standing(world).reserved, _standing(world).left) == (0, 2 * USD)
    world.heartbeat()
    candidate = admission.candidate(world.db, job_id)
    assert candidate is not None
    assert candidate.left == 2 * USD - world.show(job_id).cost
    world.order(job_id, most=2 * USD)
    assert _standing(world).reserved == 0
    assert submissions.request_cancel(world.db, job_id) is State.DEPLOYING


def test_a_cancelled_job_in_the_queue_takes_what_it_has_cost(world: World) -> None:
    budgets.put(world.db, "team", 2 * USD, None)
    job_id, _ = world.boot(submit(world.db, budget="team"), most=2 * USD)
    world.clock.advance(901)
    world.settle()
    world.settle()
    assert submissions.request_cancel(world.db, job_id) is State.CANCELLED
    assert (_standing(world).spent, _standing(world).reserved) == (world.show(job_id).cost, 0)


def test_a_stray_of_a_job_that_is_final_is_on_its_budget(world: World) -> None:
    budgets.put(world.db, "team", 5 * USD, None)
    job_id, attempt_id, lease = world.order(submit(world.db, budget="team", max_cost=5 * USD), most=5 * USD)
    attempts.deploy_unknown(world.db, world.work(attempt_id), lease)
    submissions.request_cancel(world.db, job_id)
    world.clock.advance(61)
    world.list()
    world.settle()
    assert world.show(job_id).state is State.CANCELLED
    assert _standing(world).spent == 0
    world.appear(world.instance(attempt_id).name)
    world.list()
    world.clock.advance(100)
    world.list()
    assert _standing(world).spent == world.show(job_id).cost > 0, "while it lives"
    world.settle()
    world.settle()
    assert _standing(world).spent == world.show(job_id).cost > 0


def _with_stray(world: World) -> str:
    """A job that is in the queue again, for nothing was rented, it seemed: its machine turned up."""
    job_id, attempt_id, lease = world.order(submit(world.db, budget="team"), most=2 * USD)
    before = _standing(world)
    world.void(attempt_id, lease)
    assert _standing(world).left == before.left + 2 * USD == before.micros
    world.appear(world.instance(attempt_id).name)
    world.list()
    world.clock.advance(100)
    world.heartbeat()
    world.list()
    return job_id


@pytest.mark.parametrize("every", [None, Every.DAY])
def test_a_stray_of_a_job_that_is_back_in_the_queue_is_on_its_budget(
    world: World, every: Every | None
) -> None:
    budgets.put(world.db, "team", 2 * USD, every)
    job_id = _with_stray(world)
    cost = world.show(job_id).cost
    assert cost > 0
    assert (_standing(world).spent, _standing(world).left) == (cost, 2 * USD - cost)
    assert isinstance(_try(world, submit(world.db, budget="team", key="other"), 2 * USD), Lacks)
    assert _wanted(world) == [job_id]
    candidate = admission.candidate(world.db, job_id)
    assert candidate is not None
    assert (candidate.spent, candidate.left) == (cost, candidate.max_cost - cost)
    assert isinstance(_try(world, job_id, 2 * USD), Admitted), "its own stray is in what it needs"
    assert (_standing(world).spent, _standing(world).left) == (0, 0)


def test_a_stray_is_in_the_period_in_which_it_cost_something(world: World) -> None:
    budgets.put(world.db, "team", 2 * USD, Every.DAY)
    job_id = _with_stray(world)
    world.terminate()
    cost = world.show(job_id).cost
    assert _standing(world).spent == cost > 0
    world.clock.advance(86_400)
    assert (_standing(world).spent, world.show(job_id).cost) == (0, cost)


def test_one_that_waits_for_its_budget_beside_its_own_stray(world: World) -> None:
    """It is rung for when the rest of the budget is enough, and once."""
    budgets.put(world.db, "team", 4 * USD, None)
    job_id = _with_stray(world)
    world.terminate()
    _, other, held = world.run(submit(world.db, budget="team", key="other"), most=2 * USD)
    need = 4 * USD - 2 * MINUTE
    assert isinstance(_try(world, job_id, need), Lacks)
    assert _wanted(world) == []
    world.clock.advance(90)
    world.finish(other, held)
    world.terminate()
    world.settle()
    world.settle()
    world.clock.advance(3600)
    world.heartbeat()
    assert _standing(world).left == need - world.show(job_id).cost
    assert _wanted(world) == [job_id]
    assert isinstance(_try(world, job_id, need), Admitted)


@pytest.mark.parametrize(
    ("every", "begin"),
    [
        (None, None),
        (Every.DAY, datetime(2026, 3, 1, tzinfo=UTC)),
        (Every.WEEK, datetime(2026, 2, 23, tzinfo=UTC)),
        (Every.MONTH, datetime(2026, 3, 1, tzinfo=UTC)),
    ],
)
def test_when_a_period_begins(every: Every | None, begin: datetime | None) -> None:
    """The first of March 2026 was a Sunday."""
    assert budgets.begin(every, datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)) == begin
    assert budgets.begin(every, datetime(2026, 3, 1, tzinfo=UTC)) == begin


def test_a_month_that_ends_while_a_job_runs(world: World) -> None:
    world.clock.now = datetime(2026, 11, 30, 23, 58, tzinfo=UTC)
    budgets.put(world.db, "team", 3 * USD, Every.MONTH)
    job_id, attempt_id, lease = world.run(submit(world.db, budget="team"), most=2 * USD)
    world.clock.now = datetime(2026, 12, 1, 0, 3, tzinfo=UTC)
    world.heartbeat()
    assert _standing(world).left == 3 * USD
    lease = world.take(attempt_id) or lease
    world.finish(attempt_id, lease)
    world.settle()
    world.settle()
    assert world.show(job_id).state.final
    assert _standing(world).spent == 0, "all of it was November's"


def test_who_may_be_taken_away(world: World) -> None:
    with pytest.raises(InvalidJob, match="There is no budget 'team'; `runner budget ls`"):
        submit(world.db, budget="team")
    budgets.put(world.db, "team", USD, None)
    job_id = submit(world.db, budget="team")
    with pytest.raises(InUse, match="1 job is not over yet that the budget 'team' pays for"):
        budgets.remove(world.db, "team")
    submissions.request_cancel(world.db, job_id)
    budgets.remove(world.db, "team")
    assert budgets.standings(world.db) == []
    assert world.show(job_id).budget == "team"
    with pytest.raises(InvalidJob, match="There is no budget"):
        budgets.remove(world.db, "team")
    budgets.put(world.db, "team", 2 * USD, None)
    assert _standing(world) == Standing("team", 2 * USD, Every.NEVER, None, 0, 0, 0), "a new one"


def _audit(db: Database, whole: int) -> int:
    """The most that all jobs together had taken, at any instant, by the events."""
    highest = max(micros for _, micros in taken(db))
    assert highest <= whole
    return highest


def test_many_workers_at_once_take_no_more_than_there_is(world: World) -> None:
    """Eight threads admit and end jobs of random size: by money, by number and by what is spent an hour."""
    budgets.put(world.db, "team", 10 * USD, None)
    ids = [submit(world.db, budget="team") for _ in range(40)]
    dice = random.Random(7)
    needs = {job_id: dice.randrange(USD // 2, 4 * USD) for job_id in ids}
    bounds = Limits(max_instances=4, max_burn=5 * PRICE)
    todo, lock, wrong = list(ids), threading.Lock(), []
    lead = world.lead  # of one process, which takes it on one thread only

    def work(number: int) -> None:
        owner = f"one-of-many-{number}"
        leases.sign_on(world.db, owner, leases.Process("here", number, "0"), 1000)
        while True:
            with lock:
                if not todo:
                    return
                job_id = todo.pop(0)
            try:
                if not _one(owner, job_id):
                    with lock:
                        todo.append(job_id)
            except Exception as error:  # noqa: BLE001 - the test fails with it
                wrong.append(error)
                return

    def _one(owner: str, job_id: str) -> bool:
        lease = leases.take_job(world.db, job_id, owner)
        assert lease is not None
        found = admission.admit(world.db, job_id, lease, world.plan(most=needs[job_id]), bounds)
        if not isinstance(found, Admitted):
            leases.release_job(world.db, job_id, lease)
            return False
        held = [row for row in world.machines() if row.state in admission.HOLDING]
        assert len(held) <= 4
        work = attempts.load(world.db, found.attempt_id)
        assert work is not None
        if needs[job_id] % 2:  # it takes nothing any more; or it is over, and takes what it has cost
            later = timedelta(days=1)
            event = Event.THROTTLED
            attempts.deploy_void(world.db, work, found.lease, event, reason=None, detail="over", pause=later)
        else:
            attempts.deploy_refused(world.db, work, found.lease, "refused", retryable=False)
            ending.settle(world.db, lead)
        return True

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert not wrong
    assert not todo
    assert _audit(world.db, 10 * USD) > 5 * USD, "some were there at the same time"


def _events(db: Database) -> list[Any]:
    with db.read() as session:
        return list(session.execute(select(JobEvent).order_by(JobEvent.id)).scalars())


def test_the_events_tell_what_each_job_took(world: World) -> None:
    budgets.put(world.db, "team", 5 * USD, None)
    job_id, attempt_id, lease = world.run(submit(world.db, budget="team"), most=2 * USD)
    world.finish(attempt_id, lease)
    world.settle()
    world.settle()
    charged = [event.budget_charged for event in _events(world.db) if event.job_id == job_id]
    assert [amount for amount, _ in groupby(charged)] == [None, 2 * USD, world.show(job_id).cost]
