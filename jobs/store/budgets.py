"""Budgets: sums that many jobs share, and what of each one is taken.

A job takes from its budget what it can cost at most, in the transaction that admits it, and belongs to the
period in which that was. When it is final it takes what it has cost, and the rest is free again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import and_, func, insert, not_, or_, select, update
from sqlalchemy.orm import Session

from jobs import meter, money
from jobs.errors import InvalidJob
from jobs.models import Budget, Instance, Job
from jobs.money import Micros
from jobs.states import State
from jobs.store import leases
from jobs.store.costs import FINALS
from jobs.store.database import Database

WAITING = "waiting_for_budget"
RECKONED = timedelta(minutes=10)
"""What a job needs was reckoned at the prices of then: after so long they may be others."""


class InUse(InvalidJob):
    """A budget is not taken away from jobs that go on."""

    exit_code = 1


class Every(StrEnum):
    """When a budget is whole again: at midnight UTC, of a Monday, or of the first of a month; or never."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    NEVER = "never"


@dataclass(frozen=True)
class Standing:
    """How a budget stands in its present period, which began at ``since``; micro-dollars.

    ``spent``: by jobs that are final, and by what turned up for jobs in the queue that take nothing yet;
    ``reserved``: what all others can cost at most; ``waiting``: how many jobs wait for it.
    """

    name: str
    micros: Micros
    every: Every
    since: datetime | None
    spent: Micros
    reserved: Micros
    waiting: int

    @property
    def left(self) -> Micros:
        """What may still be taken; less than nothing where the budget was lowered."""
        return self.micros - self.spent - self.reserved


@dataclass(frozen=True)
class Lacks:
    """Why a job cannot take what it needs, as a sentence; ``need``: micro-dollars."""

    detail: str
    need: Micros


def begin(every: str | None, now: datetime) -> datetime | None:
    """When the present period began; None where there is only one."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    match every:
        case Every.DAY:
            return midnight
        case Every.WEEK:
            return midnight - timedelta(days=midnight.weekday())
        case Every.MONTH:
            return midnight.replace(day=1)
    return None


def put(db: Database, name: str, micros: Micros, every: Every | None) -> Standing:
    """Make a budget, or change one. What is taken of it stays taken, even where that is more than all.

    *every*: None leaves it as it is; of a new one it is never.
    """
    with db.write() as session:
        leases.one_admission(session)
        now = db.now(session)
        values: dict[str, Any] = {"micros": micros}
        if every is not None:
            values["every"] = None if every is Every.NEVER else every.value
        found = find(session, name)
        if found is None:
            session.execute(insert(Budget).values(name=name, created_at=now, **values))
        else:
            session.execute(update(Budget).where(Budget.id == found.id).values(**values))
            # Whoever waits for it is asked anew, and told how it stands now.
            waiting = Job.budget_id == found.id, Job.state == State.QUEUED, Job.reason == WAITING
            session.execute(update(Job).where(*waiting).values(budget_need=None))
        session.expire_all()
        return _standing(session, now, _found(session, name))


def remove(db: Database, name: str) -> None:
    """Take a budget away. Raises InvalidJob where there is none, and InUse where jobs need it still."""
    with db.write() as session:
        leases.one_admission(session)
        budget = find(session, name)
        if budget is None:
            raise InvalidJob(f"There is no budget {name!r}; `runner budget ls` shows those that there are.")
        left = session.execute(
            select(func.count()).where(Job.budget_id == budget.id, Job.state.not_in(FINALS))
        ).scalar_one()
        if left:
            jobs = "1 job is" if left == 1 else f"{left} jobs are"
            raise InUse(f"{jobs} not over yet that the budget {name!r} pays for; `runner ls` shows them.")
        session.execute(update(Budget).where(Budget.id == budget.id).values(removed_at=db.now(session)))


def standings(db: Database) -> list[Standing]:
    """All budgets, by name."""
    with db.read() as session:
        now = db.now(session)
        budgets = select(Budget).where(Budget.removed_at.is_(None)).order_by(Budget.name)
        return [_standing(session, now, budget) for budget in session.execute(budgets).scalars()]


def sums(db: Database, names: set[str]) -> dict[str, Micros]:
    """How large each of these budgets is. Raises InvalidJob where there is none of a name."""
    if not names:
        return {}
    with db.read() as session:
        return {name: _found(session, name).micros for name in names}


def find(session: Session, name: str) -> Budget | None:
    """The budget of that name, as it is now."""
    query = select(Budget).where(Budget.name == name, Budget.removed_at.is_(None))
    return session.execute(query).scalar()


def name(session: Session, budget_id: int | None) -> str | None:
    """What a budget is called, also one that was taken away."""
    return session.execute(select(Budget.name).where(Budget.id == budget_id)).scalar()


def ids(session: Session, names: set[str]) -> dict[str, int]:
    """The ids of these budgets. Raises InvalidJob where there is none of a name."""
    return {name: _found(session, name).id for name in names}


def take(session: Session, now: datetime, job: Job, need: Micros) -> Mapping[str, Any] | Lacks:
    """What is written into a job that takes *need* of its budget, or why it cannot.

    The caller holds the lock of admissions. A job that has its share keeps it, and takes no more.
    """
    if job.budget_id is None or job.budget_charged is not None:
        return {}
    budget = session.execute(select(Budget).where(Budget.id == job.budget_id)).scalar_one()
    strays = _strays(session, now, budget)
    strays.pop(job.id, None)  # that is in its need
    over, open_ = _taken(session, now, budget, strays)
    left = budget.micros - over - open_
    if need > left:
        return Lacks(_lacking(budget, over, left, need), need)
    return {"budget_charged": need, "budget_need": None, "admitted_at": now}


def given_back(number: int | None) -> Mapping[str, Any]:
    """What is written into a job whose first attempt never was: it has taken nothing, and belongs nowhere."""
    return {"budget_charged": None, "admitted_at": None} if number == 1 else {}


Turn = tuple[int, str]
"""A job's place in the queue, and its id."""


def to_admit(session: Session, now: datetime, queued: Any, most: int) -> tuple[list[Turn], list[Turn]]:
    """Of the jobs in *queued* that wait for a budget: the first ones for which it has enough now.

    And one of each budget for which it had too little, at the prices of a while ago.
    """
    fits: list[Turn] = []
    stale: list[Turn] = []
    waiting = (queued, Job.reason == WAITING)
    for budget_id in session.execute(select(Job.budget_id).where(*waiting).distinct()).scalars().all():
        budget = session.execute(select(Budget).where(Budget.id == budget_id)).scalar_one()
        strays = _strays(session, now, budget)
        left = budget.micros - sum(_taken(session, now, budget, strays))
        query = select(Job.seq, Job.id).where(*waiting, Job.budget_id == budget_id)
        # What turned up for a job is taken already, and in its need.
        own = [and_(Job.id == job_id, Job.budget_need <= left + micros) for job_id, micros in strays.items()]
        enough = or_(Job.budget_need <= left, *own)
        first = query.where(or_(Job.budget_need.is_(None), enough)).order_by(Job.seq).limit(most)
        fits += [(row[0], row[1]) for row in session.execute(first)]
        old = query.where(not_(enough), Job.not_before < now - RECKONED).order_by(Job.not_before)
        stale += [(row[0], row[1]) for row in session.execute(old.limit(1))]
    return fits, stale


def _found(session: Session, name: str) -> Budget:
    budget = find(session, name)
    if budget is None:
        raise InvalidJob(
            f"There is no budget {name!r}; `runner budget ls` shows those that there are, and "
            f"`runner budget set {name} 100` makes one of $100."
        )
    return budget


def _standing(session: Session, now: datetime, budget: Budget) -> Standing:
    over, open_ = _taken(session, now, budget, _strays(session, now, budget))
    waiting = select(func.count()).where(
        Job.budget_id == budget.id, Job.state == State.QUEUED, Job.reason == WAITING
    )
    every = Every.NEVER if budget.every is None else Every(budget.every)
    count = session.execute(waiting).scalar_one()
    return Standing(budget.name, budget.micros, every, begin(budget.every, now), over, open_, count)


def _taken(
    session: Session, now: datetime, budget: Budget, strays: Mapping[str, Micros]
) -> tuple[Micros, Micros]:
    """What is taken of a budget in its present period: never to be given back, and reserved by jobs."""
    query = (
        select(Job.state, func.sum(Job.budget_charged))
        .where(Job.budget_id == budget.id, Job.budget_charged.is_not(None))
        .group_by(Job.state)
    )
    if (since := begin(budget.every, now)) is not None:
        query = query.where(Job.admitted_at >= since)
    over, others = sum(strays.values()), 0
    for state, micros in session.execute(query):
        if state in FINALS:
            over += int(micros or 0)
        else:
            others += int(micros or 0)
    return over, others


def _strays(session: Session, now: datetime, budget: Budget) -> dict[str, Micros]:
    """What turned up for jobs in the queue, which take nothing, costs in the present period, by job."""
    query = (
        select(Instance)
        .join(Job, Job.id == Instance.job_id)
        .where(
            Job.budget_id == budget.id,
            Job.budget_charged.is_(None),
            Job.state == State.QUEUED,
            Instance.state.not_in(meter.UNCHARGED),
        )
    )
    since = begin(budget.every, now)
    charges: dict[str, list[meter.Charge]] = {}
    for row in session.execute(query).scalars():
        charges.setdefault(row.job_id or "", []).append(meter.charge_since(row, since, now))
    return {job_id: meter.total(found) for job_id, found in charges.items()}


def _lacking(budget: Budget, over: Micros, left: Micros, need: Micros) -> str:
    usd = money.format_usd
    period = f" this {budget.every}" if budget.every is not None else ""
    if need > budget.micros:
        whole = f"the whole budget {budget.name!r} is ${usd(budget.micros)}"
        return f"the job may cost ${usd(need)}, and {whole}: it waits until that is raised"
    never = ", and nobody gives it back: it waits until the budget is raised"
    end = never if budget.every is None and need > budget.micros - over else ""
    return (
        f"the budget {budget.name!r} has ${usd(max(0, left))} left of ${usd(budget.micros)}{period}; the job "
        f"may cost ${usd(need)}, so ${usd(need - left)} is missing{end}"
    )
