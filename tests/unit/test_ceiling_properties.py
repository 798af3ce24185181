"""The ceiling holds, whatever the price, the second, the provider's own minute, the minimum, the attempts."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import BigInteger

from jobs import forecast, meter, money
from jobs.models import Base, Instance
from jobs.store import sightings
from jobs.store.sightings import Sighting
from tests.properties import examples
from tests.unit.test_meter import Row

ROOT = Path(__file__).parents[2]
SEEN = Sighting(
    uuid="u",
    name="n",
    status="running",
    ready=True,
    over=False,
    failed=False,
    stopped=False,
    host=None,
    port=None,
    username=None,
    product=None,
    price=None,
    final=True,
)
START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
PRICES = st.integers(1_000, 60_000_000)
"""Micro-dollars an hour: from a tenth of a cent to sixty dollars."""


@dataclass(frozen=True)
class Try:
    """One attempt, as fate has it. Fractions say where in its span something happens."""

    price: int
    discount: Decimal
    latency: int  # milliseconds from our request to the machine that is billed
    ends_at: Fraction  # of what it may take
    pause: int  # milliseconds until the next one


def _fractions() -> st.SearchStrategy[Fraction]:
    return st.fractions(0, 1, max_denominator=1000)


TRIES = st.lists(
    st.builds(
        Try,
        price=PRICES,
        discount=st.decimals(0, "0.95", places=3),
        latency=st.integers(0, 12_000),
        ends_at=_fractions(),
        pause=st.integers(0, 100_000),
    ),
    min_size=1,
    max_size=5,
)


def _part(span: timedelta, fraction: Fraction) -> timedelta:
    return span * fraction.numerator // fraction.denominator


def _ticks(start: datetime, end: datetime, phase: int) -> int:
    """How often a provider charges a machine that takes a minute's price at its own moment of each minute."""
    origin = START + timedelta(milliseconds=phase)
    minute = timedelta(minutes=1)
    first, last = ceil((start - origin) / minute), ceil((end - origin) / minute)
    return max(0, last - first)


@examples
@given(
    st.integers(10_000, 500_000_000),
    TRIES,
    st.integers(0, 59_999),
    st.integers(0, 90),
    st.integers(1, 3600),
    st.integers(1, 40_000),
    st.integers(0, 59_999),
)
def test_no_bill_is_above_its_ceiling(
    max_cost: int, tries: list[Try], phase: int, minimum: int, grace: int, max_runtime: int, second: int
) -> None:
    """Each machine is gone by its expiry; what it is charged for by then is all that counts."""
    now = START + timedelta(milliseconds=second)
    bill, metered = Fraction(0), []
    for one in tries:
        price = money.discounted(one.price, one.discount) or 1
        left = max_cost - meter.total(metered)
        if money.too_little(left, price, minimum, grace_seconds=grace):
            break
        expiry = money.expiry_within(
            now,
            boot_timeout_s=900,
            max_runtime_s=max_runtime,
            ending_s=money.ending_seconds(grace),
            remaining_micros=left,
            price=price,
            minimum_minutes=minimum,
        )
        deadline = expiry - timedelta(seconds=money.ending_seconds(grace))
        assert deadline >= now + timedelta(seconds=min(money.LEAST_SECONDS, 900 + max_runtime)), "its minute"
        end = now + _part(expiry - now, one.ends_at)
        row = Row(
            state="gone",
            price=price,
            minimum_minutes=minimum,
            requested_at=now,
            terminate_accepted_at=end,
            gone_at=end,
        )
        metered.append(meter.charge(row, end))
        billed_from = min(end, now + timedelta(milliseconds=one.latency))
        minutes = max(_ticks(billed_from, end, phase), minimum)
        bill += Fraction(minutes * price, 60)
        assert minutes <= metered[-1].minutes, "a receipt is never below the bill"
        now = end + timedelta(milliseconds=one.pause)
    assert bill <= meter.total(metered) <= max_cost


@examples
@given(PRICES, st.integers(1, 3600), st.booleans(), st.integers(0, 120), st.integers(0, 500))
def test_an_accepted_ceiling_leaves_a_minute_for_the_command(
    price: int, grace: int, outputs: bool, minimum: int, more: int
) -> None:
    """However much of it is kept for the end: with outputs that is a tenth of all."""
    minutes = money.least_minutes(minimum, grace_seconds=grace, outputs=outputs) + more
    max_cost = -(-minutes * price // 60)
    kept = money.outputs_seconds(max_cost, price, 10**9) if outputs else 0
    now = START + timedelta(seconds=0.999)
    expires_at = money.expiry_within(
        now,
        boot_timeout_s=900,
        max_runtime_s=10**8,
        ending_s=money.ending_seconds(grace) + kept,
        remaining_micros=max_cost,
        price=price,
        minimum_minutes=minimum,
    )
    deadline = expires_at - timedelta(seconds=money.ending_seconds(grace) + kept)
    assert deadline - now >= timedelta(seconds=money.LEAST_SECONDS)
    if not more:
        told = money.ending_of(minutes, grace_seconds=grace, outputs=outputs)
        assert told >= money.ending_seconds(grace) + kept


@examples
@given(PRICES, PRICES, st.integers(3, 10_000), _fractions())
def test_a_price_that_rises_ends_it_by_what_is_left(
    price: int, more: int, minutes: int, rises_at: Fraction
) -> None:
    """From the minute in which it is seen; it may be that what is left pays for no whole minute any more."""
    max_cost, dear = minutes * price // 60 + 1, price + more
    expiry = money.paid_until(START, max_cost, price)
    seen = START + _part(expiry - START, rises_at)
    minute = floor((seen - START) / timedelta(minutes=1))
    row = Row(
        price=dear,
        prices={"final": True, "since": meter.repriced([[0, price]], minute, dear)},
        requested_at=START,
    )
    until = meter.paid_until(row, max_cost)
    assert until is not None
    assert until <= expiry, "earlier only"
    if until >= seen:
        assert meter.charge(row, until).micros <= max_cost
    else:
        # The minute that has begun was paid for at the old price, and is dearer now than what is left.
        assert meter.charge(row, seen).micros > max_cost
        before = Row(price=price, requested_at=START)
        overrun = meter.charge(row, seen).micros - meter.charge(before, seen).micros
        assert overrun <= ceil(Fraction(more, 60)) + 1, "by that one minute at most"


@examples
@given(
    st.lists(st.tuples(st.integers(20, 200), PRICES), max_size=5),
    PRICES,
    st.integers(0, 12),
    st.integers(0, 900),
)
def test_whichever_way_prices_go_a_receipt_is_not_below_the_bill(
    later: list[tuple[int, int]], price: int, latency: int, end: int
) -> None:
    """A provider charges each minute as it begins; we look every ten seconds, and count from the request."""
    changes, at = [(0, price)], 0
    for pause, new in later:
        at += pause
        changes.append((at, new))

    def charged(second: int) -> int:
        return next(new for since, new in reversed(changes) if since <= second)

    row = Instance(
        state="live", minimum_minutes=0, terminate_tries=0, requested_at=START, price=price, prices=None
    )
    for second in range(0, end + 1, 10):
        sight = replace(SEEN, price=charged(second), full_price=charged(second))
        sightings.keep_price(row, sight, START + timedelta(seconds=second))
    row.state, row.terminate_accepted_at = "doomed", START + timedelta(seconds=end)
    bill = sum(Fraction(charged(second), 60) for second in range(latency, max(end, latency + 1), 60))
    assert meter.charge(row, START + timedelta(days=1)).micros >= (bill if end > latency else 0)


@dataclass(frozen=True)
class Asked:
    max_cost: int
    max_runtime: int
    grace: int
    retries: int
    with_files: bool
    with_outputs: bool


@examples
@given(
    st.builds(
        Asked,
        max_cost=st.integers(10_000, 500_000_000),
        max_runtime=st.integers(1, 40_000),
        grace=st.integers(1, 3600),
        retries=st.integers(0, 4),
        with_files=st.booleans(),
        with_outputs=st.booleans(),
    ),
    PRICES,
    st.integers(0, 90),
    st.integers(1, 3600),
    st.integers(0, 4),
    st.integers(0, 999_999),
)
def test_what_is_reserved_pays_for_all_attempts(
    job: Asked, price: int, minimum: int, boot_timeout: int, failed_boots: int, micros: int
) -> None:
    """With less than its ceiling reserved, no attempt is cut short that its time would have allowed."""
    most = forecast.most(job, [price], boot_timeout, minimum)
    assert most > 0
    assert most <= job.max_cost
    if money.too_little(job.max_cost, price, minimum, grace_seconds=job.grace, outputs=job.with_outputs):
        return
    charges: list[meter.Charge] = []
    now = START + timedelta(microseconds=micros)
    boots = min(failed_boots, forecast.FREE_RETRIES)
    outputs = forecast.outputs_seconds(job, price, boot_timeout)
    bringing = job.max_runtime if job.with_files else 0
    for runtime in [bringing] * boots + [job.max_runtime] * (1 + job.retries):
        seconds = boot_timeout + runtime + money.ending_seconds(job.grace) + outputs
        by_time = (now + timedelta(seconds=seconds)).replace(microsecond=0)
        expiry = min(by_time, money.paid_until(now, most - meter.total(charges), price))
        if most < job.max_cost:
            assert expiry == by_time
        row = Row(price=price, minimum_minutes=minimum, requested_at=now, terminate_accepted_at=expiry)
        if expiry > now:
            charges.append(meter.charge(row, expiry))
        now = expiry + timedelta(seconds=5)
    if most < job.max_cost:
        assert meter.total(charges) <= most


def test_the_least_is_no_more_than_the_most() -> None:
    job = Asked(10**9, 60, 30, 0, False, False)
    for minimum in (0, 60):
        assert forecast.least(860_000, minimum) <= forecast.most(job, [860_000], 900, minimum)
    assert forecast.most(job, [860_000, None], 900, 0) == forecast.most(job, [], 900, 0) == job.max_cost


MONEY = (
    "jobs/money.py",
    "jobs/meter.py",
    "jobs/forecast.py",
    "jobs/pictures.py",
    "jobs/store/admission.py",
    "jobs/store/budgets.py",
    "jobs/store/costs.py",
    "jobs/store/spend.py",
    "jobs/store/sightings.py",
    "runner/cli/account.py",
    "runner/cli/budgets.py",
    "runner/cli/plan.py",
    "runner/cli/receipts.py",
    "runner/cli/spend.py",
)


@pytest.mark.parametrize("path", MONEY)
def test_there_is_no_float_where_money_is_counted(path: str) -> None:
    """No literal, no conversion and no division that would make one."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        literal = isinstance(node, ast.Constant) and isinstance(node.value, float)
        call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float"
        divided = isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div)
        found = literal or call or divided
        assert not found, f"{path}, line {getattr(node, 'lineno', '?')}"


def test_amounts_are_integers_at_rest() -> None:
    amounts = {"max_cost", "max_price", "price", "full_price", "micros", "budget_need", "budget_charged"}
    columns = [column for table in Base.metadata.sorted_tables for column in table.columns]
    found = [column for column in columns if column.name in amounts]
    assert {column.name for column in found} == amounts
    assert all(isinstance(column.type, BigInteger) for column in found)
