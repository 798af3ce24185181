"""What the simulated cloud charges: the bill against which a receipt of ours can be held.

Written without the product's own arithmetic on purpose, so that a mistake there cannot hide here. Each
started minute counts whole, from the accepted deploy to the accepted terminate (or the loss of the machine).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import ceil


class Clock:
    """Aware UTC times that only go forward, whatever happens to the computer's clock meanwhile."""

    def __init__(self) -> None:
        self._wall = datetime.now(UTC)
        self._start = time.monotonic()

    def now(self) -> datetime:
        """The time, aware, UTC."""
        return self._wall + timedelta(seconds=time.monotonic() - self._start)


@dataclass(frozen=True)
class Charge:
    """One instance on the bill. Prices and costs are micro-dollars; *ended* is None while it runs.

    *earlier*: how many of its minutes began at which other price before.
    """

    uuid: str
    name: str
    product: str
    price_micros_per_hour: int
    started: datetime
    ended: datetime | None
    minutes: int
    earlier: tuple[tuple[int, int], ...] = ()

    @property
    def exact_micros(self) -> Fraction:
        """The cost so far, exactly."""
        last = self.minutes - sum(minutes for minutes, _ in self.earlier)
        parts = [*self.earlier, (last, self.price_micros_per_hour)]
        return sum((Fraction(minutes * price, 60) for minutes, price in parts), Fraction(0))

    @property
    def cost_micros(self) -> int:
        """The cost so far in micro-dollars, rounded up."""
        return ceil(self.exact_micros)


@dataclass(frozen=True)
class Ledger:
    """The whole bill at one moment: every instance that ever was, in the order of their deploys."""

    charges: tuple[Charge, ...]

    def __getitem__(self, uuid: str) -> Charge:
        """The charge of one instance; raises KeyError if there never was one."""
        for charge in self.charges:
            if charge.uuid == uuid:
                return charge
        raise KeyError(uuid)

    def named(self, name: str) -> tuple[Charge, ...]:
        """The charges of all instances of exactly this name."""
        return tuple(charge for charge in self.charges if charge.name == name)

    @property
    def minutes(self) -> int:
        """Minutes billed in all."""
        return sum(charge.minutes for charge in self.charges)

    @property
    def total_micros(self) -> int:
        """What all of it costs in micro-dollars: fractions carry over, and the sum is rounded up once."""
        return ceil(sum((charge.exact_micros for charge in self.charges), Fraction(0)))

    def as_json(self) -> dict[str, object]:
        """The bill as the control routes show it: money as decimal strings of US dollars."""
        return {
            "charges": [
                {
                    "uuid": charge.uuid,
                    "name": charge.name,
                    "product": charge.product,
                    "price_usd_per_hour": dollars(charge.price_micros_per_hour),
                    "started": stamp(charge.started),
                    "ended": None if charge.ended is None else stamp(charge.ended),
                    "minutes": charge.minutes,
                    "cost_usd": dollars(charge.cost_micros),
                }
                for charge in self.charges
            ],
            "minutes": self.minutes,
            "total_usd": dollars(self.total_micros),
        }


def billed_minutes(started: datetime, ended: datetime, minimum: int) -> int:
    """Each started minute whole, at least one, and at least *minimum*."""
    seconds = max((ended - started).total_seconds(), 0.0)
    return max(ceil(seconds / 60), 1, minimum)


def dollars(micros: int) -> str:
    """Micro-dollars as US dollars with six decimals, as the service writes its prices."""
    return f"{micros // 1_000_000}.{micros % 1_000_000:06d}"


def stamp(moment: datetime) -> str:
    """A time as the service writes it: UTC with milliseconds and a Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
