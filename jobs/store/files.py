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
    db: Database, work: Work, lease: AttemptLease, done: int, total: int, patience: timedelta
) -> None:
    """So many bytes of files have got on to the machine, which has *patience* until it has more of them.

    Who begins anew gets no more time before it is further than anybody before it.
    """
    with db.write() as session:
        before = session.execute(select(Attempt.transfer).where(Attempt.id == work.attempt_id)).scalar()
        most = int((before or {}).get("most", -1))
        transfer = {"what": "bringing files", "bytes": done, "of": total, "most": max(most, done)}
        values: dict[str, Any] = {"transfer": transfer}
        if done > most:
            values["boot_deadline_at"] = max(work.boot_deadline_at, db.now(session) + patience)
        write(session, work, lease, State.BOOTING, **values)


def note(db: Database, work: Work, lease: AttemptLease, **values: Any) -> None:
    """Keep how far a transfer is: ``outputs``, ``outputs_part``, ``outputs_state``, ``transfer``.

    Beside a part, the transfer says in ``kept`` how many ``files`` and ``bytes`` of it are whole.
    """
    with db.write() as session:
        write(session, work, lease, None, **values)


def over(
    db: Database,
    work: Work,
    lease: AttemptLease,
    came: tuple[str, int, int] | None,
    missing: str | None,
) -> None:
    """No more of the outputs will come, and the machine is doomed.

    *came*: the tree, its files and its bytes, or None where it could not be written down; *missing*: a
    sentence, or None. Where that was said of them before, only what has come is added.
    """
    with db.write() as session:
        now = db.now(session)
        write(session, work, lease, State.FINISHING)
        _end(session, now, work.attempt_id, came, missing)
        doom.of_attempt(session, now, work.attempt_id, "its outputs are in" if missing is None else SHORT)


def late(db: Database) -> list[str]:
    """The attempts whose outputs have had their time, whoever fetches them, and whose machines live."""
    with db.read() as session:
        return list(session.execute(select(Attempt.id).where(*_late(db.now(session)))).scalars())


def give_up_late(session: Session, now: datetime, lead: Lead, attempt_id: str) -> int:
    """Doom the machine of one of them, if that is still so. Returns how many. Raises Stale."""
    confirm_lead(session, lead)
    if session.execute(select(Attempt.id).where(Attempt.id == attempt_id, *_late(now))).scalar() is None:
        return 0
    lose(session, now, attempt_id, "the time that is reserved for them was over")
    doom.of_attempt(session, now, attempt_id, SHORT)
    return 1


def lose(session: Session, now: datetime, attempt_id: str, why: str) -> None:
    """The outputs of an attempt that were not here yet will not come; what came whole stays."""
    row = session.execute(
        select(Attempt.outputs_state, Attempt.outputs_until).where(Attempt.id == attempt_id)
    ).one()
    if row.outputs_until is not None and not (row.outputs_state or {}).get("over"):
        _end(session, now, attempt_id, None, why)


def _end(
    session: Session, now: datetime, attempt_id: str, came: tuple[str, int, int] | None, missing: str | None
) -> None:
    row = session.execute(
        select(Attempt.outputs_part, Attempt.outputs_state, Attempt.transfer).where(Attempt.id == attempt_id)
    ).one()
    kept = (row.transfer or {}).get("kept")
    if came is None and row.outputs_part is not None and kept is not None:
        came = (row.outputs_part, kept["files"], kept["bytes"])
    values: dict[str, Any] = {"outputs_part": None, "transfer": None}
    state = {"files": 0, "bytes": 0, "at": now.isoformat(), **(row.outputs_state or {})}
    if came is not None:
        values["outputs"] = came[0]
        state |= {"files": came[1], "bytes": came[2], "at": now.isoformat()}
    said = bool(state.get("over"))
    if not said:
        state |= {"over": True, "complete": missing is None, "note": missing}
    session.execute(update(Attempt).where(Attempt.id == attempt_id).values(outputs_state=state, **values))
    if missing is not None and not said:
        _tell(session, attempt_id, missing)


def _late(now: datetime) -> tuple[Any, ...]:
    waits = select(Instance.id).where(Instance.attempt_id == Attempt.id, Instance.state.in_(doom.DOOMABLE))
    return Attempt.state == State.FINISHING, Attempt.outputs_until < now, waits.exists()


def _tell(session: Session, attempt_id: str, why: str) -> None:
    """Say in the detail of an attempt, and of its job, what is missing."""
    row = session.execute(select(Attempt.job_id, Attempt.detail).where(Attempt.id == attempt_id)).one()
    detail = f"{row.detail}; {SHORT}: {why}"
    session.execute(update(Attempt).where(Attempt.id == attempt_id).values(detail=detail))
    session.execute(update(Job).where(Job.id == row.job_id).values(detail=detail))
