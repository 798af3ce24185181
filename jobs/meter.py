"""The meter: what an instance has cost so far, from its row alone. All of the product's money is counted
here, with the arithmetic of ``jobs.money``.

A machine is charged from the deploy request to the accepted terminate, each started minute whole. Where
a terminate was never accepted, or the machine lived on in spite of it, the first proof that the machine is
gone ends the count, and the figure is an estimate. So it is where the machine may have lived on for a while:
then the count ends where it was seen last. And so it is where the machine may have ended minutes before its
terminate was accepted: an earlier one may have worked whose answer was lost, or it was missing by then; or
minutes after it, because it took another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from jobs.money import FAR_MINUTES, Meter, started_minutes

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
    prices: dict[str, Any] | None
    minimum_minutes: int
    status: str | None
    requested_at: datetime | None
    seen_at: datetime | None
    missing_since: datetime | None
    terminate_tries: int
    terminate_accepted_at: datetime | None
    gone_at: datetime | None
    doomed_at: datetime | None


@dataclass(frozen=True)
class Charge:
    """Minutes at prices in micro-dollars an hour, in order; 0 where the price is not known.

    ``estimated``: the end is not known to the minute.
    """

    parts: tuple[tuple[int, int], ...]
    estimated: bool

    @property
    def minutes(self) -> int:
        return sum(minutes for minutes, _ in self.parts)

    @property
    def priced(self) -> bool:
        """Whether it is known what each of its minutes costs."""
        return all(price for _, price in self.parts)

    @property
    def micros(self) -> int:
        return total([self])

    def between(self, first: int, last: int) -> Charge:
        """What of it are the minutes from *first* on and before *last*."""
        parts, at = [], 0
        for minutes, price in self.parts:
            taken = min(last, at + minutes) - max(first, at)
            if taken > 0:
                parts.append((taken, price))
            at += minutes
        return Charge(tuple(parts), self.estimated)


NOTHING = Charge((), estimated=False)


def charge(instance: Metered, now: datetime) -> Charge:
    """What *instance* has cost by *now*, the billed minimum of its installation included."""
    if instance.state in UNCHARGED or instance.requested_at is None:
        return NOTHING
    end, estimated = _end(instance)
    minutes = started_minutes(instance.requested_at, end or now, instance.minimum_minutes)
    steps = _steps(instance)
    ends = [*(since for since, _ in steps[1:]), minutes]
    parts = [
        (min(end, minutes) - since, price)
        for (since, price), end in zip(steps, ends, strict=True)
        if since < minutes
    ]
    return Charge(tuple(parts), estimated)


def phases(
    instance: Metered, started_at: datetime | None, ended_at: datetime | None, now: datetime
) -> dict[str, Charge]:
    """:func:`charge` by what went on when each minute began: ``booting``, ``running``, ``finishing``.

    *started_at*, *ended_at*: of the command, as far as there was one. What is billed beyond that, because of
    the minimum, is ``minimum``.
    """
    whole = charge(instance, now)
    if not whole.minutes or instance.requested_at is None:
        return {}
    end = _end(instance)[0] or now
    used = started_minutes(instance.requested_at, end)
    found, first = {}, 0
    for name, mark in (("booting", started_at or ended_at), ("running", ended_at), ("finishing", None)):
        last = used if mark is None else min(used, max(first, started_minutes(instance.requested_at, mark)))
        found[name] = whole.between(first, last)
        first = last
    if first < whole.minutes:
        found["minimum"] = whole.between(first, whole.minutes)
    return found


def charge_since(instance: Metered, since: datetime | None, now: datetime) -> Charge:
    """What of :func:`charge` fell due from *since* on, see :func:`by_period`; None: all of it."""
    return by_period(instance, [] if since is None else [since], now)[-1]


def by_period(instance: Metered, begins: Sequence[datetime], now: datetime) -> list[Charge]:
    """:func:`charge` in parts that add up: before the first of *begins*, then from each one to the next.

    A minute falls due as it begins, and the billed minimum with the first one.
    """
    whole = charge(instance, now)
    at = [0]
    for begin in begins:
        due = 0
        if instance.requested_at is not None and instance.requested_at < begin:
            due = started_minutes(instance.requested_at, begin, instance.minimum_minutes)
        at.append(min(due, whole.minutes))
    return [whole.between(first, last) for first, last in zip(at, [*at[1:], whole.minutes], strict=True)]


def paid_until(instance: Metered, micros: int) -> datetime | None:
    """The last second whose started minutes fit into *micros*, at the prices so far; the last one stays.

    It lies before the request where not even one minute fits. None where nothing was requested, or the price
    is not known.
    """
    steps = _steps(instance)
    if instance.requested_at is None or not all(price for _, price in steps):
        return None
    left, minutes = micros * 60, 0
    for (since, price), (until, _) in zip(steps, [*steps[1:], (FAR_MINUTES, 0)], strict=True):
        taken = min(until - since, left // price)
        minutes += max(0, taken)
        left -= taken * price
        if taken < until - since:
            break
    return instance.requested_at + timedelta(seconds=60 * minutes - 1)


def repriced(steps: Sequence[Sequence[int]], minute: int, price: int) -> list[list[int]]:
    """The prices of a machine, each with the first minute that it holds for, and one seen in *minute*.

    A higher one holds from that minute on; a lower one from the next, for that minute has been charged.
    """
    kept = [list(step) for step in steps if step[0] <= minute]
    held = kept[-1][1]
    if price < held:
        return [*kept, [minute + 1, price]]
    if price > held:
        return [*(step for step in kept if step[0] < minute), [minute, price]]
    return kept


def _steps(instance: Metered) -> list[tuple[int, int]]:
    """From which minute on each price held."""
    listed = (instance.prices or {}).get("since")
    return [(since, price) for since, price in listed] if listed else [(0, instance.price or 0)]


def _end(instance: Metered) -> tuple[datetime | None, bool]:
    """When the count ends, and whether that is an estimate; None while it goes on."""
    if lived_on(instance):
        return instance.gone_at, instance.gone_at is not None
    if _seen_after(instance, LINGERED):
        return instance.seen_at, True
    if instance.terminate_accepted_at is None:
        return instance.gone_at, instance.gone_at is not None
    accepted = instance.terminate_accepted_at
    return accepted, _ended_before(instance, accepted) or _ended_after(instance, accepted)


def _ended_after(instance: Metered, accepted: datetime) -> bool:
    """Whether a terminate may have been sent again, because the machine was listed after the *accepted* one.

    That was the listing's lag, or the accepted one did nothing.
    """
    return instance.terminate_tries > 1 and instance.seen_at is not None and instance.seen_at > accepted


def _ended_before(instance: Metered, accepted: datetime) -> bool:
    """Whether a machine may have been gone for more than a minute when its end was *accepted*."""
    lived = [instance.requested_at]
    if instance.seen_at is not None:
        lived.append(instance.seen_at - LINGERED)  # the listing lags
    if instance.missing_since is None or instance.missing_since >= accepted:
        if instance.terminate_tries < 2:
            return False
        lived.append(instance.doomed_at)  # nothing was sent before
    return accepted - max(at for at in lived if at is not None) > timedelta(minutes=1)


def lived_on(instance: Metered) -> bool:
    """Whether a machine was still there, and not about to go, long after its end was accepted."""
    return _seen_after(instance, LIVED_ON)


def _seen_after(instance: Metered, patience: timedelta) -> bool:
    accepted, seen = instance.terminate_accepted_at, instance.seen_at
    leaving = (instance.status or "").strip().lower() in ("terminating", "deleting")
    return accepted is not None and seen is not None and not leaving and seen > accepted + patience


def total(charges: Iterable[Charge]) -> int:
    """The sum in micro-dollars, rounded once, up."""
    return sum(shares(charges))


def shares(charges: Iterable[Charge]) -> list[int]:
    """What each is of the sum, in micro-dollars: together they are :func:`total`, rounded as it is."""
    meter, found, before = Meter(), [], 0
    for item in charges:
        for minutes, price in item.parts:
            meter.add(minutes, price)
        found.append(meter.micros - before)
        before = meter.micros
    return found


def leak_suspected(instance: Metered, now: datetime) -> bool:
    """Whether a machine that should be gone for long is still there."""
    return (
        instance.state == "doomed"
        and instance.doomed_at is not None
        and now - instance.doomed_at > LEAK_AFTER
    )
