"""What was spent is what the meter counts of every machine; and which job runs on one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from jobs.models import Instance
from jobs.store import reads, spend
from jobs.store.spend import By, Spend
from tests.conformance.store_kit import PRICE, World, submit
from tests.properties import examples

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
        row = session.merge(world.instance(attempt_id))
        row.price, row.prices = None, None
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


def test_the_days_of_a_machine_and_their_sum(world: World) -> None:
    world.clock.now = datetime(2026, 11, 30, 23, 58, tzinfo=UTC)
    world.run()
    world.clock.now = datetime(2026, 12, 1, 0, 3, tzinfo=UTC)
    lines, total, begun = spend.summed(world.db, By.DAY, None)
    assert [(line.what, line.machines, line.minutes) for line in lines] == [
        ("2026-11-30", 1, 2),
        ("2026-12-01", 1, 3),
    ]
    assert (total.micros, total.machines, begun) == (5 * MINUTE, 1, None)
    lines, total, begun = spend.summed(world.db, By.DAY, timedelta(minutes=1))
    assert [line.what for line in lines] == ["2026-12-01"]
    assert (total.micros, begun) == (MINUTE, world.clock.now - timedelta(minutes=1))
    lines, total, _ = spend.summed(world.db, By.PRODUCT, timedelta(minutes=1))
    assert [(line.what, line.minutes) for line in lines] == [("gpu_1x_l40", 1)]


def test_by_name_and_the_rest(world: World) -> None:
    world.run(submit(world.db, name="small"))
    world.run(submit(world.db, name="large"), price=3 * PRICE)
    world.change(world.machines()[-1].uuid, price=3 * PRICE)
    world.list()
    world.run()
    world.clock.advance(59)
    lines, total, _ = spend.summed(world.db, By.NAME, timedelta(days=30))
    found = [(line.what, line.micros) for line in lines]
    assert found == [("large", 3 * MINUTE), ("small", MINUTE), (None, MINUTE)]
    assert total.machines == 3


@examples
@given(
    st.lists(st.tuples(st.integers(0, 400_000), st.integers(0, 300_000), st.integers(1, 10**7)), max_size=4),
    st.sampled_from(By),
    st.none() | st.integers(1, 500_000),
)
def test_the_lines_add_up_to_the_sum(machines: list[tuple[int, int, int]], by: By, since: int | None) -> None:
    """Whatever was rented, for how long, and at which odd price."""
    base = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
    rows = [
        Instance(
            name="m",
            state="gone",
            price=price,
            minimum_minutes=0,
            terminate_tries=0,
            product=f"gpu_{price % 3}",
            requested_at=base + timedelta(seconds=start),
            terminate_accepted_at=base + timedelta(seconds=start + length),
            gone_at=base + timedelta(seconds=start + length),
        )
        for start, length, price in machines
    ]
    now = base + timedelta(seconds=800_000)
    lines, total, _ = spend.sum_up(
        [(row, row.product) for row in rows], by, None if since is None else timedelta(seconds=since), now
    )
    assert sum(line.micros for line in lines) == total.micros
