"""The meter: what an instance has cost so far, from its row alone. All of the product's money is counted
here, with the arithmetic of ``jobs.money``.

A machine is charged from the deploy request to the accepted terminate, each started minute whole. Where
a terminate was never accepted, or the machine lived on in spite of it, the first proof that the machine is
gone ends the count, and the figure is an estimate. So it is where the machine may have lived on for a while:
then the count ends where it was seen last.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from jobs.money import Meter, started_minutes

LINGERED = timedelta(seconds=15)
"""Listed so long after its terminate was accepted, a machine may have lived on, or the listing lags."""
LIVED_ON = timedelta(seconds=45)
"""Listed so long after its terminate was accepted, a machine lives on in spite of it, and is billed on."""
LEAK_AFTER = timedelta(minutes=5)
"""A machine that should end and still lives after this long is called a suspected leak."""

UNCHARGED = frozenset({"intended", "refused", "absent"})
"""States of an instance in which nothing has been rented."""


class Metered(Protocol):
    """What the meter reads of an instance's row."""

    state: str
    price: int | None
    minimum_minutes: int
    status: str | None
    requested_at: datetime | None
    seen_at: datetime | None
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
    if lived_on(instance):
        end, estimated = instance.gone_at, instance.gone_at is not None
    elif _seen_after(instance, LINGERED):
        end, estimated = instance.seen_at, True
    else:
        end = instance.terminate_accepted_at or instance.gone_at
        estimated = instance.terminate_accepted_at is None and end is not None
    minutes = started_minutes(instance.requested_at, end or now, instance.minimum_minutes)
    return Charge(minutes, instance.price or 0, estimated)


def charge_since(instance: Metered, since: datetime, now: datetime) -> Charge:
    """What of :func:`charge` fell due from *since* on: the charges of periods that follow each other add up.

    A minute falls due as it begins, and the billed minimum with the first one.
    """
    whole = charge(instance, now)
    if not whole.minutes or instance.requested_at is None or instance.requested_at >= since:
        return whole
    before = started_minutes(instance.requested_at, since, instance.minimum_minutes)
    return Charge(max(0, whole.minutes - before), whole.price, whole.estimated)


def lived_on(instance: Metered) -> bool:
    """Whether a machine was still there, and not about to go, long after its end was accepted."""
    return _seen_after(instance, LIVED_ON)


def _seen_after(instance: Metered, patience: timedelta) -> bool:
    accepted, seen = instance.terminate_accepted_at, instance.seen_at
    leaving = (instance.status or "").strip().lower() in ("terminating", "deleting")
    return accepted is not None and seen is not None and not leaving and seen > accepted + patience


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
