"""What a job has cost by now, strays included; and at its end what it thereby takes of its budget."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from jobs import meter
from jobs.models import Instance, Job
from jobs.money import Micros
from jobs.states import FINAL

FINALS = [state.value for state in FINAL]


def spent(session: Session, now: datetime, job_id: str, *, but: int | None = None) -> Micros:
    """What all that was, or may have been, rented for a job has cost.

    *but*: the id of an instance that is not counted.
    """
    rented = Instance.state.not_in(meter.UNCHARGED)
    rows = session.execute(select(Instance).where(Instance.job_id == job_id, rented)).scalars()
    return meter.total(meter.charge(row, now) for row in rows if row.id != but)


def ceiling(job: Job) -> Micros:
    """What a job may cost in all: its ceiling, or what it took of its budget where that is less."""
    return job.max_cost if job.budget_charged is None else min(job.max_cost, job.budget_charged)


def left(session: Session, now: datetime, job: Job, *, but: int | None = None) -> Micros:
    """What a job may still spend."""
    return ceiling(job) - spent(session, now, job.id, but=but)


def settle(session: Session, now: datetime, job_id: str) -> None:
    """Where a job is final, it takes of its budget what it has cost, and no more."""
    over = Job.id == job_id, Job.state.in_(FINALS), Job.budget_id.is_not(None)
    if session.execute(select(Job.id).where(*over)).scalar() is not None:
        cost = spent(session, now, job_id)
        # One that was never admitted, so that nothing should have cost, belongs to the period of today.
        admitted_at = func.coalesce(Job.admitted_at, now) if cost else Job.admitted_at
        session.execute(
            update(Job).where(Job.id == job_id).values(budget_charged=cost, admitted_at=admitted_at)
        )
