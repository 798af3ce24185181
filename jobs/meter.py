"""The meter: what an instance has cost so far, from its row alone. All of the product's money is counted
here, with the arithmetic of ``jobs.money``.

A machine is charged from the deploy request to the accepted terminate, each started minute whole. Where
a terminate was never accepted, the first proof that the machine is gone ends the count, and the figure
is an estimate.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from jobs.money import Meter, started_minutes

LEAK_AFTER = timedelta(minutes=5)
"""A machine that should end and still lives after this long is called a suspected leak."""

UNCHARGED = frozenset({"intended", "refused", "absent"})
"""States of an instance in which nothing has been rented."""


class Metered(Protocol):
    """What the meter reads of an instance's row."""

    state: str
    price: int | None
    minimum_minutes: int
    requested_at: datetime | None
    terminate_accepted_at: datetime | None
    gone_at: datetime | None
    doomed_at: datetime | None


@dataclass(frozen=True)
class Charge:
    """Minutes times a price in micro-dollars an hour. ``estimated``: the end is not known to the minute."""

    minutes: int
    price: int
    estimated: bool

    @property
    def micros(self) -> int:
        return total([self])


def charge(instance: Metered, now: datetime) -> Charge:
    """What *instance* has cost by *now*, the billed minimum of its installation included."""
    if instance.state in UNCHARGED or instance.requested_at is None:
        return Charge(0, 0, estimated=False)
    end = instance.terminate_accepted_at or instance.gone_at
    estimated = instance.terminate_accepted_at is None and instance.gone_at is not None
    minutes = started_minutes(instance.requested_at, end or now, instance.minimum_minutes)
    return Charge(minutes, instance.price or 0, estimated)


def total(charges: Iterable[Charge]) -> int:
    """The sum in micro-dollars, rounded once, up."""
    meter = Meter()
    for item in charges:
        meter.add(item.minutes, item.price)
    return meter.micros


def leak_suspected(instance: Metered, now: datetime) -> bool:
    """Whether a machine that should be gone for long is still there."""
    return (
        instance.state == "doomed"
        and instance.doomed_at is not None
        and now - instance.doomed_at > LEAK_AFTER
    )
