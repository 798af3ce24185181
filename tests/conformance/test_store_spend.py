"""What was spent is what the meter counts of every machine; and which job runs on one."""

from __future__ import annotations

from datetime import UTC, datetime

from jobs.store import reads, spend
from jobs.store.spend import Spend
from tests.conformance.store_kit import PRICE, World

MINUTE = PRICE // 60


def test_nothing_was_spent(world: World) -> None:
    nothing = Spend(0, 0, 0, False)
    assert spend.metered(world.db) == (nothing, nothing, datetime(2026, 11, 1, tzinfo=UTC))
    world.admit()  # intended, and not asked for yet
    assert spend.metered(world.db)[0] == nothing


def test_the_spend_is_the_sum_of_what_the_jobs_cost(world: World) -> None:
    first, attempt, lease = world.run()
    world.clock.advance(125)
    world.finish(attempt, lease)
    world.settle()
    second, _, _ = world.run()
    world.clock.advance(60)
    ever, month, _ = spend.metered(world.db)
    assert ever.micros == sum(world.show(job).cost for job in (first, second))
    assert (ever.machines, ever.unpriced, ever.estimated) == (2, 0, False)
    assert month == ever


def test_a_month_begins_in_utc(world: World) -> None:
    world.clock.now = datetime(2026, 11, 30, 23, 58, tzinfo=UTC)
    world.run()
    world.clock.now = datetime(2026, 12, 1, 0, 3, tzinfo=UTC)
    ever, month, begun = spend.metered(world.db)
    assert begun == datetime(2026, 12, 1, tzinfo=UTC)
    assert (ever.micros, month.micros) == (5 * MINUTE, 3 * MINUTE)
    world.clock.now = datetime(2027, 1, 1, tzinfo=UTC)
    assert spend.metered(world.db)[1].micros == 0


def test_what_no_job_owns_is_in_it(world: World) -> None:
    """A machine under a name of ours that no job knows is billed like any other."""
    world.appear(world.stranger())
    world.list()
    world.clock.advance(121)
    world.list()
    ever, _, _ = spend.metered(world.db)
    assert reads.listing(world.db) == []
    assert (ever.machines, ever.micros) == (1, 3 * MINUTE)


def test_an_unknown_price_is_named_and_not_taken_for_zero(world: World) -> None:
    _, attempt_id = world.boot()
    with world.db.write() as session:
        session.merge(world.instance(attempt_id)).price = None
    world.clock.advance(90)
    assert spend.metered(world.db)[0] == Spend(0, 1, 1, False)


def test_which_jobs_run_on_which_machines(world: World) -> None:
    job, attempt_id, lease = world.run()
    other, _ = world.boot()
    uuid = world.instance(attempt_id).uuid
    assert uuid is not None
    assert reads.jobs_on(world.db, [uuid, "unknown"]) == {uuid: job}
    assert set(reads.jobs_on(world.db, list(world.account)).values()) == {job, other}
    assert reads.jobs_on(world.db, []) == {}
    world.finish(attempt_id, lease)
    assert reads.jobs_on(world.db, [uuid]) == {uuid: job}, "its log is still read"
    world.settle()
    assert reads.jobs_on(world.db, [uuid]) == {}
