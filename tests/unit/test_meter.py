"""The meter: minutes times price, from the deploy request to the accepted terminate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import meter
from tests.properties import examples

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def _charge(minutes: int, *, estimated: bool) -> meter.Charge:
    """At the price of a row."""
    return meter.Charge(((minutes, 1_200_000),), estimated)


@dataclass
class Row:
    """What the meter reads of an instance."""

    state: str = "live"
    price: int | None = 1_200_000
    prices: dict[str, Any] | None = None
    minimum_minutes: int = 0
    status: str | None = "running"
    requested_at: datetime | None = START
    seen_at: datetime | None = None
    missing_since: datetime | None = None
    terminate_tries: int = 1
    terminate_accepted_at: datetime | None = None
    gone_at: datetime | None = None
    doomed_at: datetime | None = None


@pytest.mark.parametrize(
    ("seconds", "minutes"), [(0, 1), (1, 1), (59.9, 1), (60, 1), (60.001, 2), (3600, 60), (86_400, 1440)]
)
def test_each_started_minute_is_whole(seconds: float, minutes: int) -> None:
    charge = meter.charge(Row(), at(seconds))
    assert (charge.minutes, charge.estimated) == (minutes, False)
    assert charge.micros == minutes * 20_000


@pytest.mark.parametrize("state", sorted(meter.UNCHARGED))
def test_what_was_not_rented_costs_nothing(state: str) -> None:
    assert meter.charge(Row(state=state), at(1000)) == meter.NOTHING


def test_what_was_never_requested_costs_nothing() -> None:
    assert meter.charge(Row(state="unknown", requested_at=None), at(1000)).micros == 0


def test_what_may_exist_is_charged() -> None:
    assert meter.charge(Row(state="unknown"), at(61)).minutes == 2


def test_an_accepted_terminate_that_did_nothing_does_not_end_the_count() -> None:
    row = Row(state="doomed", terminate_accepted_at=at(90), seen_at=at(90 + 46))
    assert meter.charge(row, at(600)) == _charge(10, estimated=False)
    row.gone_at, row.state = at(601), "gone"
    assert meter.charge(row, at(10_000)) == _charge(11, estimated=True)
    row.seen_at = at(90 + 45)
    assert meter.charge(row, at(10_000)) == _charge(3, estimated=True), "it may have lived"
    row.seen_at = at(90 + 15)
    assert meter.charge(row, at(10_000)) == _charge(2, estimated=False), "a listing may lag"
    row.terminate_tries = 2
    assert meter.charge(row, at(10_000)) == _charge(2, estimated=True), "another one was sent, and may count"
    row.terminate_tries, row.seen_at = 2, at(90)
    assert meter.charge(row, at(10_000)) == _charge(2, estimated=False), "both were sent before"
    row.seen_at, row.status = at(500), " Terminating"
    assert meter.charge(row, at(10_000)).minutes == 2, "it is on its way"


def test_the_accepted_terminate_ends_the_count() -> None:
    row = Row(state="gone", terminate_accepted_at=at(90), gone_at=at(900))
    assert meter.charge(row, at(10_000)) == _charge(2, estimated=False)


def test_a_terminate_that_was_accepted_late_is_an_estimate() -> None:
    """An earlier one may have worked without an answer, or the machine vanished before the first."""
    row = Row(state="doomed", doomed_at=at(100), terminate_accepted_at=at(161), seen_at=at(90))
    assert meter.charge(row, at(300)) == _charge(3, estimated=False), "it is the first that was sent"
    row.terminate_tries = 2
    assert meter.charge(row, at(300)) == _charge(3, estimated=True)
    row.doomed_at = at(101)
    assert meter.charge(row, at(300)) == _charge(3, estimated=False), "a minute at most is no estimate"
    row.doomed_at, row.seen_at = at(100), at(116)
    assert meter.charge(row, at(300)) == _charge(3, estimated=False), "it was still there"
    row.terminate_tries, row.missing_since = 1, at(120)
    assert meter.charge(row, at(300)) == _charge(3, estimated=False)
    row.seen_at = at(115)
    assert meter.charge(row, at(300)) == _charge(3, estimated=True)
    row.missing_since = at(161)
    assert meter.charge(row, at(300)) == _charge(3, estimated=False), "missing because it was ended"


def test_the_first_proof_of_gone_is_an_estimate() -> None:
    row = Row(state="gone", gone_at=at(130))
    assert meter.charge(row, at(10_000)) == _charge(3, estimated=True)


def test_the_billed_minimum() -> None:
    assert meter.charge(Row(minimum_minutes=60), at(90)).minutes == 60
    assert meter.charge(Row(minimum_minutes=60), at(60 * 61)).minutes == 61


@pytest.mark.parametrize(
    ("row", "since", "minutes"),
    [
        (Row(), -1, 10),
        (Row(), 0, 10),
        (Row(), 61, 8),
        (Row(), 10_000, 0),
        (Row(minimum_minutes=60), 30, 0),  # the minimum falls due at once
        (Row(minimum_minutes=5), 30, 5),
        (Row(state="gone", terminate_accepted_at=at(90), gone_at=at(95)), 61, 0),
        (Row(state="intended"), 61, 0),
        (Row(state="unknown", requested_at=None), 61, 0),
    ],
)
def test_what_fell_due_since(row: Row, since: float, minutes: int) -> None:
    assert meter.charge_since(row, at(since), at(600)).minutes == minutes


@examples
@given(st.integers(0, 200), st.lists(st.integers(-1000, 20_000), max_size=4), st.integers(0, 20_000))
def test_the_charges_of_periods_that_follow_each_other_add_up(
    minimum: int, begins: list[int], end: int
) -> None:
    row = Row(minimum_minutes=minimum)
    marks = [*sorted(begins), 10**6]
    rest = [meter.charge_since(row, at(begin), at(end)).minutes for begin in marks]
    assert rest == sorted(rest, reverse=True)
    assert meter.charge_since(row, at(-1000), at(end)) == meter.charge(row, at(end))
    assert rest[-1] == 0


def test_a_clock_that_was_set_back() -> None:
    assert meter.charge(Row(), at(-5000)).minutes == 1


def test_an_unknown_price_costs_nothing_yet() -> None:
    assert meter.charge(Row(price=None), at(90)).micros == 0


@examples
@given(st.lists(st.tuples(st.integers(1, 10_000), st.integers(1, 10**9)), max_size=30))
def test_the_sum_is_rounded_once_and_up(parts: list[tuple[int, int]]) -> None:
    total = meter.total(meter.Charge((part,), False) for part in parts)
    exact = sum(minutes * price for minutes, price in parts)
    assert 60 * (total - 1) < exact <= 60 * total or exact == total == 0


def test_a_leak_is_suspected_after_five_minutes() -> None:
    row = Row(state="doomed", doomed_at=START)
    assert not meter.leak_suspected(row, at(300))
    assert meter.leak_suspected(row, at(301))
    assert not meter.leak_suspected(Row(state="gone", doomed_at=START), at(10_000))
    assert not meter.leak_suspected(Row(), at(10_000))
