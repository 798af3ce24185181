"""What all of this database's machines have cost, by the meter: the account itself tells neither its balance
nor past charges.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select

from jobs import meter
from jobs.models import Instance
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


def metered(db: Database) -> tuple[Spend, Spend, datetime]:
    """All that was ever spent, what of it fell due this month, and when that month began, in UTC.

    Machines that still run are counted up to now. What was rented and never bound to a job is in it too.
    """
    ever: list[meter.Charge] = []
    month: list[meter.Charge] = []
    with db.read() as session:
        now = db.now(session)
        first = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        query = select(Instance).where(
            Instance.state.not_in(meter.UNCHARGED), Instance.requested_at.is_not(None)
        )
        for instance in session.execute(query.execution_options(yield_per=ROWS)).scalars():
            ever.append(meter.charge(instance, now))
            month.append(meter.charge_since(instance, first, now))
    return _sum(ever), _sum(month), first


def _sum(charges: list[meter.Charge]) -> Spend:
    counted = [charge for charge in charges if charge.minutes]
    return Spend(
        meter.total(counted),
        len(counted),
        sum(not charge.price for charge in counted),
        any(charge.estimated for charge in counted),
    )
