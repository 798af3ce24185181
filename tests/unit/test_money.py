"""Money: what is read, what is written, and that a ceiling holds for any price and any start."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import money
from jobs.errors import InvalidJob
from jobs.money import Meter, affordable_minutes, expiry_within, parse_price, parse_usd, started_minutes
from tests.properties import examples

amounts = st.integers(1, 10**12)
prices = st.integers(1, 100 * 10**6)
starts = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
START = datetime(2026, 11, 23, 9, 0, 0, tzinfo=UTC)


def cost(minutes: int, price: int) -> int:
    meter = Meter()
    meter.add(minutes, price)
    return meter.micros


@pytest.mark.parametrize(
    ("price", "fraction", "left"),
    [(860_000, "0.1", 774_000), (990_001, "0.5", 495_001), (990_000, "0", 990_000), (990_000, "1", 0)],
)
def test_a_discount_is_rounded_up(price: int, fraction: str, left: int) -> None:
    assert money.discounted(price, Decimal(fraction)) == left


@pytest.mark.parametrize(
    ("value", "micros"),
    [
        (5, 5_000_000),
        ("5", 5_000_000),
        (" 5.00 ", 5_000_000),
        (".5", 500_000),
        ("5.", 5_000_000),
        (0.1, 100_000),
        (1e-6, 1),
        (Decimal("0.000001"), 1),
        (Decimal("5.0000000"), 5_000_000),
        ("1000000", 10**12),
    ],
)
def test_amounts_that_are_read(value: int | str | float | Decimal, micros: int) -> None:
    assert parse_usd(value, "--max-cost") == micros


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "must be an amount in US dollars"),
        ("five", "must be an amount in US dollars"),
        ("5,00", "must be an amount in US dollars"),
        ("$5", "must be an amount in US dollars"),
        ("1_000", "must be an amount in US dollars"),
        ("1e3", "must be an amount in US dollars"),
        ("1e400", "must be an amount in US dollars"),
        ("٣", "must be an amount in US dollars"),
        ("nan", "must be an amount in US dollars"),
        ("inf", "must be an amount in US dollars"),
        (float("nan"), "must be an amount in US dollars"),
        (math.inf, "must be an amount in US dollars"),
        (Decimal("sNaN"), "must be an amount in US dollars"),
        (True, "must be an amount in US dollars"),
        (None, "must be an amount in US dollars"),
        (b"5", "must be an amount in US dollars"),
        (0, "must be more than 0"),
        ("0.00", "must be more than 0"),
        ("-1", "must be more than 0"),
        (-0.5, "must be more than 0"),
        ("0.0000001", "at most six decimals"),
        (1e-7, "at most six decimals"),
        (Decimal("1." + "0" * 60 + "1"), "at most six decimals"),
        ("1000000.01", "must be at most 1000000"),
        (10**400, "must be at most 1000000"),
        pytest.param(10**5000, "must be at most 1000000", id="5000 digits"),
        pytest.param(-(10**5000), "must be more than 0", id="minus 5000 digits"),
        (Decimal("1e400"), "must be at most 1000000"),
    ],
)
def test_amounts_that_are_refused_in_one_sentence_naming_the_option(value: object, says: str) -> None:
    with pytest.raises(InvalidJob, match=says) as caught:
        parse_usd(value, "--max-cost")  # type: ignore[arg-type]
    sentence = str(caught.value)
    assert sentence.startswith("--max-cost ")
    assert sentence.endswith(".")
    assert len(sentence) < 160


@examples
@given(amounts)
def test_what_is_written_is_read_back_the_same(micros: int) -> None:
    text = money.format_usd(micros)
    assert parse_usd(text, "x") == micros
    assert parse_usd(Decimal(text), "x") == micros
    assert parse_price(text) == micros
    assert money.to_decimal(micros) == Decimal(text)
    assert 2 <= len(text.partition(".")[2]) <= 6


@examples
@given(st.integers(-(10**12), 10**15), st.integers(0, 6))
def test_rounding_is_up_and_by_less_than_one_place(micros: int, places: int) -> None:
    text = money.format_usd(micros, places)
    difference = Fraction(text) - Fraction(micros, 10**6)
    assert 0 <= difference < Fraction(1, 10**places)
    assert len(text.partition(".")[2]) == places


@pytest.mark.parametrize(
    ("micros", "exact", "receipt"),
    [
        (0, "0.00", "0.0000"),
        (12_300, "0.0123", "0.0123"),
        (12_301, "0.012301", "0.0124"),
        (860_000, "0.86", "0.8600"),
        (5_000_000, "5.00", "5.0000"),
        (-10_000, "-0.01", "-0.0100"),
    ],
)
def test_money_for_people(micros: int, exact: str, receipt: str) -> None:
    assert money.format_usd(micros) == exact
    assert money.format_cost(micros) == receipt


@pytest.mark.parametrize(
    ("said", "micros"),
    [
        ("0.990000", 990_000),
        (0.891, 891_000),
        (2, 2_000_000),
        (" 1.14 ", 1_140_000),
        ("0.33333333", 333_334),
        ("0", None),
        ("0.000000", None),
        (0, None),
        (None, None),
        ("", None),
        ("free", None),
        ("$1", None),
        ("-1", None),
        ("nan", None),
        ("1e99999", None),
        ("1e-999999999", None),
        (True, None),
        ([], None),
        ({}, None),
    ],
)
def test_prices_as_the_api_says_them(said: object, micros: int | None) -> None:
    assert parse_price(said) == micros  # type: ignore[arg-type]


def test_prices_in_cents() -> None:
    assert money.cents_to_micros(86) == 860_000
    assert money.cents_to_micros("86.5") == 865_000
    assert money.cents_to_micros(0) is None
    assert money.cents_to_micros(None) is None


@examples
@given(st.text() | st.floats() | st.integers() | st.decimals() | st.none())
def test_no_price_ever_raises_or_is_free(said: str | float | Decimal | None) -> None:
    price = parse_price(said)
    assert price is None or price > 0


@pytest.mark.parametrize(
    ("seconds", "minutes"),
    [(-5.0, 1), (0.0, 1), (0.000001, 1), (59.9, 1), (60.0, 1), (60.000001, 2), (119.0, 2), (3600.0, 60)],
)
def test_each_started_minute_is_whole(seconds: float, minutes: int) -> None:
    assert started_minutes(START, START + timedelta(seconds=seconds)) == minutes


def test_the_least_billed_time() -> None:
    assert started_minutes(START, START + timedelta(minutes=5), minimum=60) == 60
    assert started_minutes(START, START + timedelta(minutes=61), minimum=60) == 61


@examples
@given(st.lists(st.tuples(st.integers(0, 10**6), prices), max_size=20))
def test_the_meter_is_exact_and_rounds_once_up(parts: list[tuple[int, int]]) -> None:
    meter = Meter()
    for minutes, price in parts:
        meter.add(minutes, price)
    exact = sum((Fraction(minutes * price, 60) for minutes, price in parts), Fraction(0))
    assert meter.micros == math.ceil(exact)


@examples
@given(st.integers(-(10**6), 10**12), prices)
def test_affordable_minutes_are_the_most_that_fit(remaining: int, price: int) -> None:
    minutes = affordable_minutes(remaining, price)
    if minutes:
        assert cost(minutes, price) <= remaining
    assert cost(minutes + 1, price) > max(0, remaining)


@pytest.mark.parametrize("price", [0, -1])
def test_nothing_is_affordable_at_no_price(price: int) -> None:
    with pytest.raises(ValueError, match="unknown price"):
        affordable_minutes(10**6, price)


@examples
@given(
    starts,
    amounts,
    prices,
    st.integers(1, 31_536_000),
    st.integers(1, 31_536_000),
    st.integers(0, 3600),
    st.integers(0, 1440),
)
def test_a_machine_that_runs_until_its_expiry_stays_within_the_ceiling(
    start: datetime, ceiling: int, price: int, boot: int, runtime: int, ending: int, minimum: int
) -> None:
    expiry = expiry_within(
        start,
        boot_timeout_s=boot,
        max_runtime_s=runtime,
        ending_s=ending,
        remaining_micros=ceiling,
        price=price,
        minimum_minutes=minimum,
    )
    assert expiry.microsecond == 0
    assert expiry <= start + timedelta(seconds=boot + runtime + ending)
    if expiry >= start:  # else nothing is rented at all
        # Also where the terminate is accepted within the expiry's own second.
        latest = expiry + timedelta(microseconds=999_999)
        assert cost(started_minutes(start, latest, minimum), price) <= ceiling
    by_time = (start + timedelta(seconds=boot + runtime + ending)).replace(microsecond=0)
    if expiry < by_time and expiry >= start:  # money decided: two minutes more do not fit
        later = started_minutes(start, expiry + timedelta(minutes=2), minimum)
        assert cost(later, price) > ceiling


def test_a_ceiling_below_the_least_billed_time_rents_nothing() -> None:
    expiry = expiry_within(
        START,
        boot_timeout_s=900,
        max_runtime_s=60,
        ending_s=60,
        remaining_micros=1_000_000,
        price=2_000_000,
        minimum_minutes=60,
    )
    assert expiry < START


def test_the_parts_of_an_ending() -> None:
    assert money.ending_seconds(money.GRACE_SECONDS) == 60
    assert money.ending_seconds(5) == 35
