"""What the holder of an attempt writes of its files: on their way to the machine, and back.

The files themselves are in the artifact store; here is which tree is whose, how far a transfer is, and until
when what is still on a machine may be waited for.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from jobs.models import Attempt, Instance, Job
from jobs.states import State
from jobs.store import doom
from jobs.store.attempts import Work, write
from jobs.store.database import Database
from jobs.store.transitions import AttemptLease, Lead, confirm_lead

SHORT = "outputs_failed"
"""The word in a job's detail where not all outputs came."""


def bringing(
    db: Database, work: Work, lease: AttemptLease, transfer: dict[str, Any], patience: timedelta
) -> None:
    """Files are on their way to the machine, and may take *patience* until more is heard of them."""
    with db.write() as session:
        until = max(work.boot_deadline_at, db.now(session) + patience)
        write(session, work, lease, State.BOOTING, transfer=transfer, boot_deadline_at=until)


def note(db: Database, work: Work, lease: AttemptLease, **values: Any) -> None:
    """Keep how far a transfer is: ``outputs``, ``outputs_part``, ``outputs_state``, ``transfer``."""
    with db.write() as session:
        write(session, work, lease, None, **values)


def over(
    db: Database, work: Work, lease: AttemptLease, state: dict[str, Any], missing: str | None, **values: Any
) -> None:
    """No more of the outputs will come, and the machine is doomed; *missing*: a sentence, or None."""
    with db.write() as session:
        now = db.now(session)
        values |= {"outputs_state": state, "outputs_part": None, "transfer": None}
        write(session, work, lease, State.FINISHING, **values)
        if missing is not None:
            _tell(session, work.attempt_id, missing)
        doom.of_attempt(session, now, work.attempt_id, "its outputs are in" if missing is None else SHORT)


def give_up_late(db: Database, lead: Lead) -> int:
    """Doom the machines whose outputs have had their time, whoever fetches them. Returns how many."""
    with db.read() as session:
        late = list(session.execute(select(Attempt.id).where(*_late(db.now(session)))).scalars())
    for attempt_id in late:
        with db.write() as session:
            confirm_lead(session, lead)
            now = db.now(session)
            if (
                session.execute(select(Attempt.id).where(Attempt.id == attempt_id, *_late(now))).scalar()
                is None
            ):
                continue
            lose(session, attempt_id, "the time that is reserved for them was over")
            doom.of_attempt(session, now, attempt_id, SHORT)
    return len(late)


def lose(session: Session, attempt_id: str, why: str) -> None:
    """The outputs of an attempt that were not here yet will not come."""
    row = session.execute(
        select(Attempt.outputs_state, Attempt.outputs_until).where(Attempt.id == attempt_id)
    ).one()
    state = dict(row.outputs_state or {})
    if row.outputs_until is None or state.get("over"):
        return
    state |= {"over": True, "complete": False, "note": why}
    session.execute(
        update(Attempt).where(Attempt.id == attempt_id).values(outputs_state=state, transfer=None)
    )
    _tell(session, attempt_id, why)


def _late(now: datetime) -> tuple[Any, ...]:
    waits = select(Instance.id).where(Instance.attempt_id == Attempt.id, Instance.state.in_(doom.DOOMABLE))
    return Attempt.state == State.FINISHING, Attempt.outputs_until < now, waits.exists()


def _tell(session: Session, attempt_id: str, why: str) -> None:
    """Say in the detail of an attempt, and of its job, what is missing."""
    row = session.execute(select(Attempt.job_id, Attempt.detail).where(Attempt.id == attempt_id)).one()
    detail = f"{row.detail}; {SHORT}: {why}"
    session.execute(update(Attempt).where(Attempt.id == attempt_id).values(detail=detail))
    session.execute(update(Job).where(Job.id == row.job_id).values(detail=detail))
