"""`runner receipt`: what a job has cost, and for what."""

from __future__ import annotations

from collections.abc import Iterator

from jobs import money
from jobs.money import Micros
from jobs.pictures import receipt_json
from jobs.store import reads
from jobs.views import AttemptView, JobView, Share
from runner import present
from runner.cli import output as out
from runner.cli.options import Job, Json
from runner.client import Client

HEADERS = ("attempt", "product", "price", "booting", "running", "finishing", "billed", "cost")


def receipt(job: Job, json: Json = False) -> None:
    """Print what a job has cost: each attempt, by what its machine was doing, and the ceiling over all.

    Where its price changed, the minutes at each one are shown.

    Example: runner receipt my-training
    """
    with Client() as client:
        view = reads.show(client.database, reads.find(client.database, job))
    if json:
        out.print_json(receipt_json(view))
    else:
        say(view)


def say(view: JobView) -> None:
    """Print a job's receipt for people."""
    if view.attempts or view.strays.minutes:
        print("receipt")
        if view.attempts:
            out.table(HEADERS, [_row(attempt) for attempt in view.attempts])
        for label, value in _sums(view):
            print(f"{label:<13} {out.clean(value)}")
        print()
    print(out.clean(present.receipt_line(view)))


def _row(attempt: AttemptView) -> tuple[str, ...]:
    phases = (_share(attempt.phases.get(name)) for name in HEADERS[3:6])
    minimum = attempt.phases.get("minimum")
    return (
        f"{attempt.number} ({attempt.outcome or attempt.state})",
        attempt.product,
        _price(attempt),
        *phases,
        f"{attempt.minutes} min" + (f", of them for the minimum {_share(minimum)}" if minimum else ""),
        f"${money.format_usd(attempt.cost)}" + (" (estimated)" if attempt.cost_estimated else ""),
    )


def _price(attempt: AttemptView) -> str:
    before = attempt.full_price
    full = f" (full price ${money.format_usd(before)})" if before not in (None, attempt.price) else ""
    if len(attempt.prices) > 1:
        steps = (f"{minutes} min at {_hourly(price or None)}" for minutes, price in attempt.prices)
        return ", ".join(steps) + full
    return _hourly(attempt.price) + full


def _hourly(price: Micros | None) -> str:
    return "unknown" if price is None else f"${money.format_usd(price)}/h"


def _share(share: Share | None) -> str:
    return (
        "-" if share is None or not share.minutes else f"{share.minutes} min ${money.format_usd(share.cost)}"
    )


def _sums(view: JobView) -> Iterator[tuple[str, str]]:
    if view.strays.minutes:
        minutes = view.strays.minutes
        yield (
            "strays",
            f"${money.format_usd(view.strays.cost)} for {minutes} min of machines that came too late",
        )
    if view.failures:
        yield "failures", f"${money.format_usd(view.failures)} of the sum did not lead to a success"
    yield "sum", f"${money.format_usd(view.cost)}" + (" (estimated)" if view.cost_estimated else "")
    yield "ceiling", f"${money.format_usd(view.max_cost)} ({view.max_cost_source})"
    if view.budget is not None:
        yield "budget", view.budget
    if view.coupon is not None:
        yield "coupon", view.coupon
    if view.overrun:
        yield "overrun", f"${money.format_usd(view.overrun)} above the ceiling"
