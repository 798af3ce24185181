"""Secrets at rest: only as ciphertext, only until the job is final, and never with code that knows none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError

from jobs.errors import InvalidJob
from jobs.migrations import CODE, PRIVATE_CODE
from jobs.models import Agreement, Job, Worker
from jobs.secrets import Cipher
from jobs.states import Event, State
from jobs.store import admission, agreement, attempts, leases, reads, submissions
from jobs.store.agreement import SECRET_KEY, Disagreement
from jobs.store.database import Database
from jobs.store.leases import Process
from jobs.values import Secret
from tests.conformance.store_kit import Clock, World, spec

KEY = "A" * 43 + "="
CIPHER = Cipher([KEY])
VALUE = "hf_a-value-that-nobody-may-see"
SECRETS = {"HF_TOKEN": Secret(VALUE)}


def _submit(db: Database, **changes: object) -> str:
    job_id = submissions.submit(db, [spec(secrets=SECRETS, **changes)], CIPHER)[0].id
    assert _sealed(db, job_id) is not None
    return job_id


def _sealed(db: Database, job_id: str) -> str | None:
    with db.read() as session:
        return session.execute(select(Job.secrets).where(Job.id == job_id)).scalar()


def test_encrypted_and_only_the_names_are_shown(world: World) -> None:
    job_id = _submit(world.db)
    sealed = _sealed(world.db, job_id)
    assert sealed is not None
    assert VALUE not in sealed
    assert CIPHER.open(job_id, sealed) == SECRETS
    assert world.show(job_id).secrets == ("HF_TOKEN",)
    assert reads.some(world.db, [submissions.submit(world.db, [spec()])[0].id])[0].secrets == ()
    candidate = admission.candidate(world.db, job_id)
    assert candidate is not None
    assert candidate.secrets == sealed
    job_id, attempt_id, _ = world.run(job_id)
    work = world.work(attempt_id)
    assert (work.secrets, work.private) == (sealed, True)
    assert sealed not in repr(work) + repr(candidate)


def test_none_without_a_cipher(db: Database) -> None:
    with pytest.raises(ValueError, match="cipher"):
        submissions.submit(db, [spec(secrets=SECRETS)])
    assert reads.listing(db) == []


def _cancelled(world: World, job_id: str) -> None:
    submissions.request_cancel(world.db, job_id)


def _refused(world: World, job_id: str) -> None:
    lease = leases.take_job(world.db, job_id, world.owner)
    assert lease is not None
    admission.refuse(world.db, job_id, lease, Event.CANNOT_START, "secret_key", "cannot be read")


def _too_dear(world: World, job_id: str) -> None:
    lease = leases.take_job(world.db, job_id, world.owner)
    assert lease is not None
    admission.refuse(world.db, job_id, lease, Event.CEILING_TOO_SMALL, "max_cost", "too little is left")


def _ended(cause: str, code: int | None) -> Callable[[World, str], None]:
    def end(world: World, job_id: str) -> None:
        _, attempt_id, lease = world.run(job_id)
        work = world.work(attempt_id)
        attempts.finish(
            world.db, work, lease, Event.EXITED, state=State.RUNNING, cause=cause, detail="-", exit_code=code
        )
        assert _sealed(world.db, job_id) is not None, "it may be tried again"
        world.settle()

    return end


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (_cancelled, State.CANCELLED),
        (_refused, State.FAILED),
        (_too_dear, State.EXPIRED),
        (_ended("exit_code", 0), State.SUCCEEDED),
        (_ended("exit_code", 1), State.FAILED),
        (_ended("lost", None), State.FAILED),
        (_ended("max_runtime", 143), State.EXPIRED),
        (_ended("cancelled_by_user", 143), State.CANCELLED),
    ],
    ids=["cancelled", "refused", "too dear", "exit 0", "exit 1", "lost", "max_runtime", "cancelled late"],
)
def test_deleted_on_every_way_to_the_end(
    world: World, end: Callable[[World, str], None], state: State
) -> None:
    job_id = _submit(world.db)
    end(world, job_id)
    assert world.show(job_id).state is state
    assert _sealed(world.db, job_id) is None
    assert world.show(job_id).secrets == ("HF_TOKEN",), "that there were some is no secret"


def test_the_database_itself_refuses_a_final_job_that_has_some(world: World) -> None:
    """As code would leave it that knows no secrets."""
    job_id = _submit(world.db)
    with pytest.raises(IntegrityError), world.db.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE jobs SET state = 'failed', reason = 'lost', finished_at = submitted_at WHERE id = :id"
            ),
            {"id": job_id},
        )


def test_the_same_key_with_other_secrets_is_another_job(db: Database) -> None:
    first = _submit(db, key="k")
    again = submissions.submit(db, [spec(secrets=SECRETS, key="k")], CIPHER)[0]
    assert (again.id, again.existed) == (first, True)
    with pytest.raises(InvalidJob, match="already belongs"):
        submissions.submit(db, [spec(key="k")])


def test_the_first_one_sends_workers_away_that_know_none(
    db: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases.sign_on(db, "new", Process("here", 1, "0"), 5)
    leases.sign_on(db, "old", Process("here", 2, "0"), 5)
    with db.write() as session:
        session.execute(update(Worker).where(Worker.id == "old").values(code=1))
    submissions.submit(db, [spec()])
    with db.read() as session:
        assert session.execute(select(Agreement.least_code)).scalar_one() == 1, "others serve both"
    job_id = _submit(db)
    assert leases.take_job(db, job_id, "new") is None, "not before the old ones must have noticed"
    clock.advance(submissions.DRAINING.total_seconds())
    assert leases.take_job(db, job_id, "new") is not None
    assert agreement.why_not(db, "new") is None
    monkeypatch.setattr(agreement, "CODE", PRIVATE_CODE - 1)
    assert "too old" in str(agreement.why_not(db, "old"))
    with pytest.raises(Disagreement, match="too old"):
        agreement.join(db, "older", Process("here", 3, "0"), 5, {})


def test_where_all_know_them_nobody_waits(db: Database, clock: Clock) -> None:
    assert CODE >= PRIVATE_CODE
    leases.sign_on(db, "new", Process("here", 1, "0"), 5)
    assert leases.take_job(db, _submit(db), "new") is not None


def test_whether_the_workers_can_read_them(db: Database, clock: Clock) -> None:
    assert agreement.reads_secrets(db, "a"), "nobody lives: it is found out later"
    agreement.join(db, "one", Process("here", 1, "0"), 5, {SECRET_KEY: ["a", "b"]})
    assert agreement.reads_secrets(db, "a")
    assert agreement.reads_secrets(db, "b")
    assert not agreement.reads_secrets(db, "c")
    clock.advance(leases.WORKER_LOST.total_seconds() + 1)
    agreement.join(db, "without", Process("here", 2, "0"), 5, {SECRET_KEY: []})
    assert not agreement.reads_secrets(db, "a")
