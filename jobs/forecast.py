"""What a job can cost at least and at most, before anything is rented for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from jobs import money
from jobs.money import Meter, Micros

FREE_RETRIES = 3
"""Further attempts, by themselves, of a job whose command never started."""


class Asked(Protocol):
    """What of a job its cost depends on: money in micro-dollars, durations in seconds."""

    @property
    def max_cost(self) -> Micros: ...
    @property
    def max_runtime(self) -> int: ...
    @property
    def grace(self) -> int: ...
    @property
    def retries(self) -> int: ...
    @property
    def with_files(self) -> bool: ...
    @property
    def with_outputs(self) -> bool: ...


def least(price: int, minimum_minutes: int) -> Micros:
    """What a job costs that is over in its first minute. *price*: micro-dollars an hour."""
    meter = Meter()
    meter.add(max(1, minimum_minutes), price)
    return meter.micros


def most(job: Asked, prices: Iterable[int | None], boot_timeout: int, minimum_minutes: int) -> Micros:
    """The most that a job can cost: attempts that never start its command, and those that run to its end.

    It is no more than its ceiling, and is that where one of the *prices*, or which they are, is not known.
    """
    known = list(prices)
    if not known or not all(known):
        return job.max_cost
    price = max(price or 0 for price in known)
    boot = boot_timeout + money.ending_seconds(job.grace) + outputs_seconds(job, price, boot_timeout)
    # As long as files get on to a machine it may live until it expires, and yet never start the command.
    unstarted = boot + job.max_runtime if job.with_files else boot
    attempts = (*[unstarted] * FREE_RETRIES, *[boot + job.max_runtime] * (1 + job.retries))
    meter = Meter()
    for seconds in attempts:
        meter.add(max(-(-seconds // 60), minimum_minutes), price)
    # What was spent before each of them is rounded up.
    return min(job.max_cost, meter.micros + len(attempts) - 1)


def longest(job: Asked, price: int, boot_timeout: int) -> int:
    """For how many seconds a command may run that is started at once: what the ceilings leave."""
    paid = 60 * min(money.affordable_minutes(job.max_cost, price), money.FAR_MINUTES)
    paid -= money.ending_seconds(job.grace) + outputs_seconds(job, price, boot_timeout)
    return max(0, min(job.max_runtime, paid))


def outputs_seconds(job: Asked, price: int, boot_timeout: int) -> int:
    """What is reserved for its outputs before its machine expires."""
    if not job.with_outputs:
        return 0
    return money.outputs_seconds(job.max_cost, price, boot_timeout + job.max_runtime)
