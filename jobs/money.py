"""Money: integer micro-dollars inside, decimal strings outside, floats nowhere.

A price per hour divided by sixty rarely comes out even. So sums are kept exact, in micro-dollars times
minutes per hour, and are rounded once, up: a receipt is never below what the cloud charges.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Context, Decimal, Inexact, InvalidOperation
from typing import TypeAlias

from jobs.errors import InvalidJob
from jobs.values import shown

Micros: TypeAlias = int
"""Millionths of a US dollar."""

MICROS_PER_USD = 1_000_000
LARGEST_USD = 1_000_000

GRACE_SECONDS = 30
"""Between TERM and KILL, where a job names no other."""
LONGEST_GRACE_SECONDS = 3600
SEAL_SECONDS = 10
"""To fetch the end of the log."""
TERMINATE_SECONDS = 20
"""To have the machine's end accepted."""
GUARD_SECONDS = 10
"""Of those, how long before its expiry a machine ends itself: its order and its call take a while. Whoever
serves has asked for its end by then."""
LEAST_OUTPUTS_SECONDS = 60
"""The least that is reserved for outputs, where there are any; else it is a tenth of what is left."""
LEAST_SECONDS = 60
"""A ceiling that leaves less than this between the deploy request and the deadline is refused."""

FAR_MINUTES = 10 * 365 * 24 * 60
"""Nothing is calculated further ahead: a large ceiling over a small price would leave the calendar."""

_AMOUNT = re.compile(r"[0-9]*\.?[0-9]+|[0-9]+\.")
_MINUTE = timedelta(minutes=1)
_MICRO = Decimal("0.000001")


def parse_usd(value: int | str | Decimal | float, what: str) -> Micros:
    """Read an amount of US dollars that a person gave; *what* names the option or variable.

    Raises InvalidJob, with a sentence, for all that is not a plain positive amount of at most six
    decimals and a million dollars.
    """
    amount = _strict(value)
    if amount is None:
        raise InvalidJob(f"{what} must be an amount in US dollars, such as 5 or 0.50, not {shown(value)}.")
    if amount <= 0:
        raise InvalidJob(f"{what} must be more than 0 US dollars, not {shown(value)}.")
    if amount > LARGEST_USD:
        raise InvalidJob(f"{what} must be at most {LARGEST_USD} US dollars, not {shown(value)}.")
    try:
        exact = amount.quantize(_MICRO, context=Context(prec=30, traps=[Inexact, InvalidOperation]))
    except (Inexact, InvalidOperation):
        raise InvalidJob(f"{what} may have at most six decimals, not {shown(value)}.") from None
    return int(exact.scaleb(6))


def parse_price(value: str | int | float | Decimal | None) -> Micros | None:
    """Read a price in US dollars an hour as the API says it: micro-dollars an hour, rounded up.

    Zero means "not known" there; that, and what is no price at all, is None. Never raises.
    """
    return _tolerant(value, MICROS_PER_USD)


def cents_to_micros(cents: str | int | float | Decimal | None) -> Micros | None:
    """Read a price in cents as the API says it; like :func:`parse_price`."""
    return _tolerant(cents, MICROS_PER_USD // 100)


def discounted(price: Micros, fraction: Decimal) -> Micros:
    """A price less a discount, which is a fraction from 0 to 1; rounded up to a whole micro-dollar."""
    context = Context(prec=60)
    left = context.multiply(Decimal(price), context.subtract(Decimal(1), fraction))
    return int(left.to_integral_value(ROUND_CEILING))


def format_usd(micros: Micros, places: int | None = None) -> str:
    """A decimal string without a currency sign: ``0.86``, ``0.0123``.

    Exact with two to six decimals; or, with *places* (0 to 6), rounded up to that many.
    """
    if places is not None:
        step = 10 ** (6 - places)
        micros = -(-micros // step) * step
    whole, rest = divmod(abs(micros), MICROS_PER_USD)
    decimals = f"{rest:06d}"
    decimals = decimals[:places] if places is not None else decimals[:2] + decimals[2:].rstrip("0")
    return ("-" if micros < 0 else "") + str(whole) + (f".{decimals}" if decimals else "")


def format_cost(micros: Micros) -> str:
    """What something has cost: four decimals, rounded up."""
    return format_usd(micros, 4)


def to_decimal(micros: Micros) -> Decimal:
    """US dollars, exact."""
    return Decimal(micros).scaleb(-6, Context(prec=60))


def ending_seconds(grace_seconds: int) -> int:
    """What an ending takes, reserved before an instance's expiry: TERM, KILL, the log, the machine's end."""
    return grace_seconds + SEAL_SECONDS + TERMINATE_SECONDS


def started_minutes(start: datetime, end: datetime, minimum: int = 0) -> int:
    """Billed minutes from *start* to *end*: each started one whole, at least one and at least *minimum*."""
    return max(1, minimum, -(-(end - start) // _MINUTE))


class Meter:
    """An exact sum of minutes times prices."""

    def __init__(self) -> None:
        self._sixtieths = 0

    def add(self, minutes: int, price_micros_per_hour: int) -> None:
        """Add *minutes* at a price in micro-dollars an hour."""
        self._sixtieths += minutes * price_micros_per_hour

    @property
    def micros(self) -> Micros:
        """The sum in micro-dollars, rounded once, up."""
        return -(-self._sixtieths // 60)


def affordable_minutes(remaining_micros: Micros, price_micros_per_hour: int) -> int:
    """Most whole minutes whose cost, rounded up, fits into *remaining_micros*.

    Raises ValueError where the price is not positive: nothing is rented without a known one.
    """
    if price_micros_per_hour <= 0:
        raise ValueError("nothing can be afforded at an unknown price")
    return max(0, remaining_micros * 60 // price_micros_per_hour)


def too_dear(price: Micros | None, max_price: Micros | None) -> bool:
    """Whether a price an hour is above the most that one pays; a price that is not known is not."""
    return price is not None and max_price is not None and price > max_price


def dearer(what: str, price: Micros | None, max_price: Micros | None) -> str:
    """That a price is too much, as a clause."""
    most = format_usd(max_price or 0)
    return f"{what} costs ${format_usd(price or 0)} an hour, more than its max-price of ${most}"


def paid_until(requested_at: datetime, remaining_micros: Micros, price_micros_per_hour: int) -> datetime:
    """The last second whose started minutes, counted from *requested_at*, fit into *remaining_micros*.

    It lies before the request where not even one minute fits, and no further ahead than a price can be known.
    Raises ValueError where the price is not positive.
    """
    minutes = affordable_minutes(remaining_micros, price_micros_per_hour)
    return requested_at + timedelta(seconds=60 * min(minutes, FAR_MINUTES) - 1)


def too_little(
    remaining_micros: Micros,
    price_micros_per_hour: int,
    minimum_minutes: int = 0,
    *,
    grace_seconds: int = GRACE_SECONDS,
    outputs: bool = False,
) -> bool:
    """Whether *remaining_micros* pay neither for the billed minimum nor for a command of LEAST_SECONDS.

    Raises ValueError where the price is not positive.
    """
    least = least_minutes(minimum_minutes, grace_seconds=grace_seconds, outputs=outputs)
    return affordable_minutes(remaining_micros, price_micros_per_hour) < least


def least_minutes(
    minimum_minutes: int = 0, *, grace_seconds: int = GRACE_SECONDS, outputs: bool = False
) -> int:
    """How many minutes a ceiling must pay for, so that it is not refused; *outputs*: if there are any."""
    # The last second of the last minute is not paid for, and an expiry is rounded down to a whole one.
    needed = LEAST_SECONDS + ending_seconds(grace_seconds) + 2
    if not outputs:
        return max(minimum_minutes, -(-needed // 60))
    # Of each minute a tenth is kept for them, and that may be more than the least.
    return max(minimum_minutes, -(-(needed + LEAST_OUTPUTS_SECONDS) // 60), -(-needed // 54))


def ending_of(minutes: int, *, grace_seconds: int, outputs: bool) -> int:
    """How many seconds of so many paid minutes are kept for the end."""
    return ending_seconds(grace_seconds) + (_for_outputs(60 * minutes) if outputs else 0)


def outputs_seconds(remaining_micros: Micros, price_micros_per_hour: int, by_time_seconds: int) -> int:
    """What is reserved for outputs before the expiry: a tenth of what is left, in money or time.

    *by_time_seconds*: how long an attempt may take by its ceiling in time. Raises ValueError where the price
    is not positive.
    """
    paid = 60 * min(affordable_minutes(remaining_micros, price_micros_per_hour), FAR_MINUTES)
    return _for_outputs(min(paid, by_time_seconds))


def _for_outputs(seconds: int) -> int:
    return max(LEAST_OUTPUTS_SECONDS, seconds // 10)


def expiry_within(
    requested_at: datetime,
    *,
    boot_timeout_s: int,
    max_runtime_s: int,
    ending_s: int,
    remaining_micros: Micros,
    price: int,
    minimum_minutes: int = 0,
) -> datetime:
    """When an instance that is requested now must be gone, as a whole second.

    The earlier of (request + boot timeout + max_runtime + ending) and the last second whose started
    minutes fit into *remaining_micros*. Where not even *minimum_minutes* fit, it lies before the request.
    *price*: micro-dollars an hour; raises ValueError where it is not positive.
    """
    if affordable_minutes(remaining_micros, price) < minimum_minutes:
        remaining_micros = 0
    by_time = requested_at + timedelta(seconds=boot_timeout_s + max_runtime_s + ending_s)
    # A name holds whole seconds; rounding down keeps both the name and the ceiling true.
    return min(by_time, paid_until(requested_at, remaining_micros, price)).replace(microsecond=0)


def _strict(value: object) -> Decimal | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip()
        plain = len(text) <= 100 and _AMOUNT.fullmatch(text.removeprefix("-"))
        return Decimal(text) if plain else None
    amount = _number(value)
    return amount if amount is not None and amount.is_finite() else None


def _tolerant(value: object, micros_per_unit: int) -> Micros | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            amount: Decimal | None = Decimal(value.strip()[:100])
        except InvalidOperation:
            return None
    else:
        amount = _number(value)
    if amount is None or not amount.is_finite():
        return None
    if not _MICRO <= amount <= LARGEST_USD * 100:
        return None
    context = Context(prec=60)
    return int(context.multiply(amount, micros_per_unit).to_integral_value(ROUND_CEILING)) or None


def _number(value: object) -> Decimal | None:
    if isinstance(value, int):
        return Decimal(value) if abs(value) < 10**30 else Decimal("1e30").copy_sign(-1 if value < 0 else 1)
    if isinstance(value, float):
        return Decimal(float.__repr__(value))
    return value if isinstance(value, Decimal) else None
