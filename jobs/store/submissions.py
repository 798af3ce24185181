"""What people ask for: new jobs, and the end of one. Both are requests; workers act on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import exists, insert, select, update
from sqlalchemy.orm import Session

from jobs import ids
from jobs.errors import InvalidJob, JobNotFound
from jobs.migrations import MONEY_CODE, PRIVATE_CODE
from jobs.models import Agreement, Job, JobEvent, Worker
from jobs.money import GRACE_SECONDS
from jobs.secrets import Cipher
from jobs.spec import Packed, Spec
from jobs.states import FINAL, Event, State, Who, next_state
from jobs.store import budgets, leases, uploads
from jobs.store.database import Database, concern
from jobs.store.transitions import Change, Person, move

CANCELLED = "cancelled_by_user"
AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)
"""No time of the submitter's own: on SQLite its clock may be ahead of the one that the service judges by."""
SAME = ("command", "products", "cheapest", "env", "setup", "outputs", "secret_names")
"""What a second submission under the same key must not change."""
DRAINING = timedelta(seconds=20)
"""In so long a worker that is too old has noticed it and handed everything back."""


class NotOver(InvalidJob):
    """A job that goes on is not to be run again."""

    exit_code = 1


@dataclass(frozen=True)
class Submitted:
    """A job that is now in the database; ``existed`` where its key was there before."""

    id: str
    existed: bool


def submit(db: Database, specs: Sequence[Spec], cipher: Cipher | None = None) -> list[Submitted]:
    """Queue jobs, all in one transaction or none. *cipher* is needed where one of them has secrets.

    Raises InvalidJob where a key is used again for another command, and UploadOver where what was stored of a
    folder may be gone.
    """
    # Whether a key is there already is something to decide, whether what was stored still is, and whether a
    # budget is; a job without any of them asks nobody.
    alone = any((spec.key, spec.upload, spec.budget) != (None, None, None) for spec in specs)
    with db.write(alone=alone) as session:
        return _submit(session, db.now(session), specs, cipher)


def again(db: Database, job_id: str) -> tuple[Spec, tuple[str, ...]]:
    """What a job that is final was, to be submitted again, without its key; and the names of its secrets.

    Their values were deleted with its end. Raises JobNotFound, and NotOver where it is not final.
    """
    with db.read() as session:
        job = session.execute(select(Job).where(Job.id == job_id)).scalar()
        if job is None:
            raise JobNotFound(f"No job has the id {job_id!r}; `runner ls` shows those that there are.")
        if State(job.state) not in FINAL:
            raise NotOver(f"Job {job_id} is {job.state}; `runner retry` runs one again that is over.")
        packed = None
        if job.workdir is not None:
            packed = Packed(job.workdir, job.workdir_files or 0, job.workdir_bytes or 0)
        spec = Spec(
            command=job.command["shell"] if "shell" in job.command else tuple(job.command["argv"]),
            products=tuple(job.products),
            cheapest=job.cheapest,
            name=job.name,
            image=job.image,
            env=dict(job.env),
            max_cost=job.max_cost,
            max_cost_source=job.max_cost_source,
            max_runtime=job.max_runtime,
            max_runtime_source=job.max_runtime_source,
            max_price=job.max_price,
            coupon=job.coupon,
            budget=budgets.name(session, job.budget_id),
            grace=job.grace,
            idle_timeout=job.idle_timeout,
            key=None,
            retries=job.retries,
            retry_on=tuple(job.retry_on.split(",")),
            workdir=packed,
            setup=job.setup,
            outputs=tuple(job.outputs or ()),
            sync_every=job.sync_every,
        )
        return spec, tuple(job.secret_names or ())


def request_cancel(db: Database, job_id: str) -> State:
    """Ask for the end of a job; a queued one ends here and now. Returns its state after that.

    Asking twice, or for a job that is final, changes nothing. Raises JobNotFound.
    """
    with db.write() as session:
        now = db.now(session)
        found = session.execute(select(Job.state).where(Job.id == job_id)).scalar()
        if found is None:
            raise JobNotFound(f"No job has the id {job_id!r}; `runner ls` shows those that there are.")
        state = State(found)
        if state in FINAL:
            return state
        session.execute(
            update(Job)
            .where(Job.id == job_id, Job.cancel_requested_at.is_(None))
            .values(cancel_requested_at=now)
        )
        if state is not State.QUEUED:
            return state
        return move(
            session,
            now,
            Event.CANCELLED,
            job_id=job_id,
            state=state,
            attempt_id=None,
            guard=Person(),
            change=Change(CANCELLED, "cancelled before anything was rented"),
        )


def _submit(
    session: Session, now: datetime, specs: Sequence[Spec], cipher: Cipher | None = None
) -> list[Submitted]:
    known = _by_key(session, [spec.key for spec in specs if spec.key is not None])
    paid_by = budgets.ids(session, {spec.budget for spec in specs if spec.budget is not None})
    submitted, rows, stored = [], [], set()
    for spec in specs:
        row = _row(spec, now, cipher)
        row["budget_id"] = None if spec.budget is None else paid_by[spec.budget]
        if spec.key is not None and (earlier := known.get(spec.key)) is not None:
            if any(earlier[name] != row[name] for name in SAME):
                raise InvalidJob(
                    f"The key {spec.key!r} already belongs to job {earlier['id']}, "
                    "which runs something else; use another key."
                )
            submitted.append(Submitted(earlier["id"], existed=True))
            # Of a folder that has changed since, no job names what was stored just now: that is swept up.
            if spec.upload is not None and earlier["workdir"] == row["workdir"]:
                stored.add(spec.upload)
            continue
        rows.append(row)
        if spec.upload is not None:
            stored.add(spec.upload)
        concern(session, row["id"])
        submitted.append(Submitted(row["id"], existed=False))
        if spec.key is not None:
            known[spec.key] = row
    if _old_workers_leave(session, now, max(map(_least_code, rows), default=0)):
        for row in rows:
            row["not_before"] = now + DRAINING
    uploads.settle(session, now, stored)
    if rows:
        session.execute(insert(Job), rows)
        session.execute(insert(JobEvent), [_event(row) for row in rows])
    return submitted


def _least_code(row: dict[str, Any]) -> int:
    """The level of code that knows all that a job has: what is older would leave it out, without a word."""
    if (
        any(row[name] is not None for name in ("budget_id", "max_price", "coupon", "idle_timeout"))
        or row["grace"] != GRACE_SECONDS
    ):
        return MONEY_CODE
    several = len(row["products"]) != 1
    if several or any(row[name] is not None for name in ("secrets", "workdir", "setup", "outputs")):
        return PRIVATE_CODE
    return 0


def _old_workers_leave(session: Session, now: datetime, code: int) -> bool:
    """See to it that no code below this level works here any more; whether some may be about."""
    if not code:
        return False
    session.execute(update(Agreement).where(Agreement.least_code < code).values(least_code=code))
    old = exists().where(leases.alive(now), Worker.code < code)
    return bool(session.execute(select(old)).scalar())


def _by_key(session: Session, keys: list[str]) -> dict[str, dict[str, Any]]:
    known: dict[str, dict[str, Any]] = {}
    for start in range(0, len(keys), 500):
        found = session.execute(
            select(*(getattr(Job, name) for name in ("key", "id", "workdir", *SAME))).where(
                Job.key.in_(keys[start : start + 500])
            )
        ).mappings()
        known |= {row["key"]: dict(row) for row in found}
    return known


def _event(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "job_id": row["id"],
        "at": row["submitted_at"],
        "event": Event.SUBMITTED.value,
        "to_state": row["state"],
        "who": Who.PERSON.value,
    }


def _row(spec: Spec, now: datetime, cipher: Cipher | None) -> dict[str, Any]:
    job_id = ids.new_job_id()
    if spec.secrets and cipher is None:
        raise ValueError("a job with secrets needs a cipher")
    command = {"shell": spec.command} if isinstance(spec.command, str) else {"argv": list(spec.command)}
    return {
        "id": job_id,
        "name": spec.name,
        "key": spec.key,
        "command": command,
        "products": list(spec.products),
        "cheapest": spec.cheapest,
        "image": spec.image,
        "env": dict(spec.env),
        "max_cost": spec.max_cost,
        "max_cost_source": spec.max_cost_source,
        "max_runtime": spec.max_runtime,
        "max_runtime_source": spec.max_runtime_source,
        "max_price": spec.max_price,
        "coupon": spec.coupon,
        "grace": spec.grace,
        "idle_timeout": spec.idle_timeout,
        "retries": spec.retries,
        "retry_on": ",".join(spec.retry_on),
        "workdir": spec.workdir.key if spec.workdir is not None else None,
        "workdir_files": spec.workdir.files if spec.workdir is not None else None,
        "workdir_bytes": spec.workdir.size if spec.workdir is not None else None,
        "setup": spec.setup,
        "outputs": list(spec.outputs) or None,
        "sync_every": spec.sync_every,
        "secret_names": sorted(spec.secrets) or None,
        "secrets": cipher.seal(job_id, spec.secrets) if spec.secrets and cipher is not None else None,
        "state": next_state(None, Event.SUBMITTED, Who.PERSON).value,
        "not_before": AT_ONCE,
        "submitted_at": now,
    }
