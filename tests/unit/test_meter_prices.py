"""The meter where prices change: what is counted at which price, and until when a ceiling pays for it."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import meter
from tests.properties import examples
from tests.unit.test_meter import START, Row, at

MICROS = st.integers(1, 10**9)
STEPS = st.builds(
    lambda first, later: [[0, first], *([minute, price] for minute, price in sorted(later.items()))],
    MICROS,
    st.dictionaries(st.integers(1, 500), MICROS, max_size=5),
)


def _row(steps: list[list[int]], **values: Any) -> Row:
    return Row(price=steps[-1][1], prices={"final": True, "since": steps}, **values)


def test_each_minute_at_the_price_that_it_began_with() -> None:
    row = _row([[0, 600_000], [3, 1_200_000], [5, 300_000]])
    charge = meter.charge(row, at(360))
    assert charge.parts == ((3, 600_000), (2, 1_200_000), (1, 300_000))
    assert charge.micros == 30_000 + 40_000 + 5_000
    assert meter.charge(row, at(120)).parts == ((2, 600_000),)


def test_the_billed_minimum_goes_on_at_the_last_price() -> None:
    row = _row([[0, 600_000], [3, 1_200_000]], minimum_minutes=10)
    assert meter.charge(row, at(30)).parts == ((3, 600_000), (7, 1_200_000))


def test_a_later_price_replaces_what_was_to_hold_after_its_minute() -> None:
    assert meter.repriced([[0, 5]], 7, 9) == [[0, 5], [7, 9]]
    assert meter.repriced([[0, 5], [7, 9]], 7, 6) == [[0, 5], [7, 9], [8, 6]], "it was charged"
    assert meter.repriced([[0, 5], [8, 3]], 7, 4) == [[0, 5], [8, 4]]
    assert meter.repriced([[0, 5], [8, 3]], 7, 5) == [[0, 5]]
    assert meter.repriced([[0, 5], [7, 9]], 3, 6) == [[0, 5], [3, 6]], "a clock was set back"
    assert meter.repriced([[0, 5]], 0, 6) == [[0, 6]]


@pytest.mark.parametrize(
    ("micros", "minutes"),
    [(0, 0), (9_999, 0), (10_000, 1), (30_000, 3), (49_999, 3), (50_000, 4), (90_000, 6)],
)
def test_until_when_a_ceiling_pays(micros: int, minutes: int) -> None:
    row = _row([[0, 600_000], [3, 1_200_000]])
    assert meter.paid_until(row, micros) == at(60 * minutes - 1)


def test_nobody_can_say_until_when_an_unknown_price_is_paid() -> None:
    assert meter.paid_until(Row(price=None), 10**6) is None
    assert meter.paid_until(Row(requested_at=None), 10**6) is None


@examples
@given(STEPS, st.integers(0, 10**9))
def test_to_the_last_second_that_is_paid_the_bill_fits(steps: list[list[int]], micros: int) -> None:
    row = _row(steps)
    until = meter.paid_until(row, micros)
    assert until is not None
    if until >= START:
        assert meter.charge(row, until).micros <= micros
    if until - START < timedelta(days=3649):  # further ahead nothing is calculated
        later = max(until, START - timedelta(seconds=1)) + timedelta(seconds=2)
        assert meter.charge(row, later).micros > micros, "not a minute is given away"


@examples
@given(STEPS, st.integers(0, 40_000), st.integers(0, 120), st.lists(st.integers(-100, 50_000), max_size=2))
def test_the_phases_add_up_to_the_whole(
    steps: list[list[int]], end: int, minimum: int, marks: list[int]
) -> None:
    row = _row(
        steps, minimum_minutes=minimum, state="gone", terminate_accepted_at=at(end), gone_at=at(end + 5)
    )
    started, ended = [*(at(mark) for mark in sorted(marks)), None, None][:2]
    whole = meter.charge(row, at(10**6))
    phases = meter.phases(row, started, ended, at(10**6))
    assert sum(phase.minutes for phase in phases.values()) == whole.minutes
    assert sum(meter.shares(phases.values())) == whole.micros == meter.total(phases.values())
    started_minutes = meter.charge(_row(steps), at(end)).minutes
    billed = phases["minimum"].minutes if "minimum" in phases else 0
    assert billed == max(0, minimum - started_minutes)


def test_a_minute_belongs_to_what_it_began_with() -> None:
    row = Row(state="gone", terminate_accepted_at=at(301), gone_at=at(310))
    phases = meter.phases(row, at(61), at(200), at(1000))
    assert {name: phase.minutes for name, phase in phases.items()} == {
        "booting": 2,
        "running": 2,
        "finishing": 2,
    }
    never = meter.phases(row, None, at(130), at(1000))
    assert [never[name].minutes for name in ("booting", "running", "finishing")] == [3, 0, 3]


@examples
@given(st.lists(st.lists(st.tuples(st.integers(1, 10_000), MICROS), max_size=4), max_size=8))
def test_shares_add_up_to_the_sum_that_is_rounded_once(parts: list[list[tuple[int, int]]]) -> None:
    charges = [meter.Charge(tuple(some), False) for some in parts]
    shares = meter.shares(charges)
    assert sum(shares) == meter.total(charges)
    for share, charge in zip(shares, charges, strict=True):
        exact = sum((Fraction(minutes * price, 60) for minutes, price in charge.parts), Fraction(0))
        assert abs(share - exact) < 1
