"""Databases that earlier code wrote: they are migrated, their jobs are shown, and what was not over goes on.

What is in `tests/old` was written by that code itself, and is not changed any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, select, text

from jobs import money
from jobs.migrations import HEAD
from jobs.models import Base, Worker
from jobs.pictures import job_json
from jobs.secrets import Cipher
from jobs.store import logs, reads, schema, submissions
from jobs.store.database import Database
from jobs.store.logs import Append
from jobs.store.schema import open_database
from jobs.store.transitions import AttemptLease
from tests.conformance.store_kit import Clock, World, job_row, submit, words
from tests.old import recordings
from tests.old.record import GREETING, KEY
from tests.old.recordings import Recording

COUNTS_ON = ("cost_usd", "minutes")
"""What `show` says of a job that is not over grows with each minute."""

each_schema = pytest.mark.parametrize("revision", recordings.REVISIONS)


@pytest.fixture
def recording(revision: str) -> Recording:
    return recordings.load(revision)


@pytest.fixture
def old(recording: Recording, database_url: str) -> Iterator[Database]:
    """The database as its service left it when it was killed."""
    with closing(Database(database_url)) as database:
        recording.put(database)
        yield database


@pytest.fixture
def migrated(old: Database, database_url: str) -> Iterator[Database]:
    """The same, as a command of today opens it; on PostgreSQL `runner db upgrade` comes first."""
    if not old.sqlite:
        assert schema.bring_up(old)[1] == HEAD
    with closing(open_database(database_url)) as database:
        yield database


def test_no_schema_was_forgotten() -> None:
    """Whoever writes a migration runs `python -P -m tests.old.record` before it is committed."""
    migrations = (schema.MIGRATIONS / "versions").glob("[0-9]*_*.py")
    earlier = {path.name.split("_", 1)[0] for path in migrations} - {HEAD}
    assert earlier
    assert earlier <= set(recordings.REVISIONS)


@each_schema
def test_its_tables_become_those_of_today(migrated: Database) -> None:
    with migrated.engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        if migrated.sqlite:  # which looked at no reference while it was migrated
            assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
            assert connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"
    found = words(migrated)
    with migrated.engine.begin() as connection:
        Base.metadata.drop_all(connection)
        Base.metadata.create_all(connection)
    assert found == words(migrated)


@each_schema
def test_its_jobs_are_there_and_go_on(recording: Recording, migrated: Database) -> None:
    for which, shown in recording.shown.items():
        _is_as_it_was(migrated, which, shown, recording.logs[which])
        _asked_for_nothing_new(migrated, shown)
    with migrated.read() as session:
        last = session.execute(select(func.max(Worker.heartbeat_at))).scalar_one()
    clock = Clock(migrated)
    clock.now = last + timedelta(minutes=1)  # the leases of who was killed are over
    world = World(migrated, clock)
    _the_running_one_ends(world, recording)
    _the_queued_one_runs(world, recording.shown["queued"]["id"])


def _is_as_it_was(db: Database, which: str, shown: dict[str, Any], log: bytes) -> None:
    now = job_json(reads.show(db, shown["id"]))
    assert now["state"] == which
    assert _lasting(now, shown) == _lasting(shown, shown)
    assert _log(db, shown["id"]) == log
    assert reads.history(db, shown["id"])[-1].to_state == which
    if now["finished_at"] is not None:
        again, _ = submissions.again(db, shown["id"])
        assert (again.command, again.env) == (shown["command"], {"COLOUR": "blue"})


def _asked_for_nothing_new(db: Database, shown: dict[str, Any]) -> None:
    """What a job could not ask for then is as if it was not asked for today."""
    plain = job_json(reads.show(db, submit(db)))
    now = job_json(reads.show(db, shown["id"]))
    assert {name: now[name] for name in now.keys() - shown.keys()} == {
        name: plain[name] for name in now.keys() - shown.keys()
    }


def _lasting(job: dict[str, Any], shown: dict[str, Any]) -> dict[str, Any]:
    """What the object had then, without what has gone on since; a cost had four decimals then."""
    moving = () if shown["finished_at"] is not None else COUNTS_ON

    def kept(now: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
        found = {name: now[name] for name in then if name not in moving}
        return found if "cost_usd" not in found else {**found, "cost_usd": _rounded(found["cost_usd"])}

    attempts = [kept(now, then) for now, then in zip(job["attempts"], shown["attempts"], strict=True)]
    return kept(job, shown) | {"attempts": attempts}


def _rounded(usd: str) -> str:
    return money.format_cost(int(Decimal(usd).scaleb(6)))


def _log(db: Database, job_id: str) -> bytes:
    with db.read() as session:
        found = session.execute(
            text("SELECT id FROM attempts WHERE job_id = :job ORDER BY number"), {"job": job_id}
        ).scalars()
        attempts = list(found)
    return b"".join(chunk.data or b"" for one in attempts for chunk in logs.stream(db, one))


def _the_running_one_ends(world: World, recording: Recording) -> None:
    job_id = recording.shown["running"]["id"]
    attempt_id = job_row(world.db, job_id).attempt_id
    assert attempt_id is not None
    killed, machine = world.attempt(attempt_id), world.instance(attempt_id)
    assert killed.lease_owner is not None
    world.appear(machine.name, machine.uuid)
    lease = world.take(attempt_id)
    assert lease is not None
    before = AttemptLease(killed.lease_owner, killed.fence, job_id)
    assert not _append(world, attempt_id, before, killed.log_bytes, b"too late\n")
    assert _append(world, attempt_id, lease, killed.log_bytes, b"and its end\n")
    world.finish(attempt_id, lease)
    world.settle()
    job = world.show(job_id)
    assert (job.state, job.exit_code, len(job.attempts)) == ("succeeded", 0, 1)
    assert job.attempts[0].instance_uuid == recording.shown["running"]["attempts"][0]["instance_uuid"]
    assert job.attempts[0].minutes > 0
    assert job.cost > 0
    assert _log(world.db, job_id) == recording.logs["running"] + b"and its end\n"
    assert world.account == {}


def _append(world: World, attempt_id: str, lease: AttemptLease, start: int, data: bytes) -> bool:
    return logs.append(world.db, [Append(attempt_id, lease.owner, lease.fence, start, data, len(data))])[0]


def _the_queued_one_runs(world: World, job_id: str) -> None:
    if sealed := job_row(world.db, job_id).secrets:
        assert Cipher([KEY]).open(job_id, sealed)["GREETING"].reveal() == GREETING
    _, attempt_id, lease = world.run(job_id)
    world.finish(attempt_id, lease)
    world.settle()
    job = world.show(job_id)
    assert (job.state, len(job.attempts)) == ("succeeded", 1)
    assert job_row(world.db, job_id).secrets is None
    assert world.account == {}


@pytest.mark.parametrize("revision", recordings.REVISIONS[:1])
def test_a_migration_that_dies_leaves_it_as_it_was(
    recording: Recording, old: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    before = words(old)
    monkeypatch.setattr(schema, "_first_rows", dies)
    with pytest.raises(KeyboardInterrupt):
        schema.upgrade(old)
    assert schema.revision(old) == recording.revision
    assert words(old) == before
    monkeypatch.undo()
    assert schema.upgrade(old) == (recording.revision, HEAD)
    for which, shown in recording.shown.items():
        _is_as_it_was(old, which, shown, recording.logs[which])
