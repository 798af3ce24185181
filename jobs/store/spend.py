"""What all of this database's machines have cost, by the meter: the account itself tells neither its balance
nor past charges.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs import meter
from jobs.meter import Charge
from jobs.models import Budget, Instance, Job
from jobs.store.database import Database

ROWS = 1000
"""How many are read at once: a database of years has many, and the sum needs none of them twice."""


@dataclass(frozen=True)
class Spend:
    """A sum in micro-dollars. ``unpriced``: machines whose price is not known, so that they are not in it.

    ``estimated``: of some machine the end is not known to the minute.
    """

    micros: int
    machines: int
    unpriced: int
    estimated: bool


class By(StrEnum):
    """What spend can be summed by. ``name`` and ``budget``: those of the job; ``day``: in UTC."""

    DAY = "day"
    PRODUCT = "product"
    NAME = "name"
    BUDGET = "budget"


@dataclass(frozen=True)
class Line:
    """What was spent on one day, or one product, and so on: micro-dollars. ``what`` is None for the rest."""

    what: str | None
    machines: int
    minutes: int
    micros: int


def summed(db: Database, by: By, since: timedelta | None) -> tuple[list[Line], Spend, datetime | None]:
    """What fell due within *since* of now, or ever: its parts, which add up to the sum; and when that begins.

    Days are in their order; all else is ordered by what was spent.
    """
    with db.read() as session:
        return sum_up(_rented(session, by), by, since, db.now(session))


def sum_up(
    rented: Iterable[tuple[Instance, str | None]], by: By, since: timedelta | None, now: datetime
) -> tuple[list[Line], Spend, datetime | None]:
    """The same of machines, each with what it is summed by where that is a job's."""
    start = None if since is None else now - since
    parts: defaultdict[str | None, list[Charge]] = defaultdict(list)
    machines: list[Charge] = []
    for instance, label in rented:
        charge = meter.charge_since(instance, start, now)
        if not charge.minutes:
            continue
        machines.append(charge)
        if by is By.DAY:
            for day, part in _by_day(instance, start, now):
                parts[day].append(part)
        else:
            parts[instance.product if by is By.PRODUCT else label].append(charge)
    found = sorted(parts.items(), key=lambda item: (item[0] is None, item[0] or ""))
    together = [Charge(tuple(part for each in some for part in each.parts), False) for _, some in found]
    lines = [
        Line(what, len(some), sum(charge.minutes for charge in some), micros)
        for (what, some), micros in zip(found, meter.shares(together), strict=True)
    ]
    if by is not By.DAY:
        lines.sort(key=lambda line: -line.micros)
    return lines, _sum(machines), start


def _rented(session: Session, by: By = By.NAME) -> Iterator[tuple[Instance, str | None]]:
    """All that was ever rented, and the name, or the budget, of the job that it was for."""
    query = (
        select(Instance, Budget.name if by is By.BUDGET else Job.name)
        .join(Job, Job.id == Instance.job_id, isouter=True)
        .join(Budget, Budget.id == Job.budget_id, isouter=True)
        .where(Instance.state.not_in(meter.UNCHARGED), Instance.requested_at.is_not(None))
    )
    for row in session.execute(query.execution_options(yield_per=ROWS)):
        yield row[0], row[1]


def _by_day(instance: Instance, start: datetime | None, now: datetime) -> Iterator[tuple[str, Charge]]:
    assert instance.requested_at is not None
    begin = instance.requested_at if start is None else max(start, instance.requested_at)
    end = instance.requested_at + timedelta(minutes=meter.charge(instance, now).minutes)
    day = _midnight(begin)
    later = [day + timedelta(days=number) for number in range(1, max(0, (end - day).days) + 1)]
    days = [begin, *later]
    for begun, charge in zip(days, meter.by_period(instance, days, now)[1:], strict=True):
        if charge.minutes:
            yield f"{begun:%Y-%m-%d}", charge


def _midnight(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def metered(db: Database) -> tuple[Spend, Spend, datetime]:
    """All that was ever spent, what of it fell due this month, and when that month began, in UTC.

    Machines that still run are counted up to now. What was rented and never bound to a job is in it too.
    """
    ever: list[meter.Charge] = []
    month: list[meter.Charge] = []
    with db.read() as session:
        now = db.now(session)
        first = _midnight(now).replace(day=1)
        for instance, _ in _rented(session):
            ever.append(meter.charge(instance, now))
            month.append(meter.charge_since(instance, first, now))
    return _sum(ever), _sum(month), first


def _sum(charges: list[meter.Charge]) -> Spend:
    counted = [charge for charge in charges if charge.minutes]
    return Spend(
        meter.total(counted),
        len(counted),
        sum(not charge.priced for charge in counted),
        any(charge.estimated for charge in counted),
    )
