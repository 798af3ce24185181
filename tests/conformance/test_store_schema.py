"""The database comes to be, once, whoever comes first; models and migrations are the same."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import IntegrityError, StatementError

from jobs.errors import DatabaseError, InvalidSettings
from jobs.migrations import CODE, HEAD
from jobs.models import Agreement, Attempt, Base, Installation, Job, Leader, Ticket
from jobs.states import State
from jobs.store import schema
from jobs.store.database import Database
from jobs.store.schema import MIGRATIONS, open_database
from tests.conformance.store_kit import ON_POSTGRESQL, ON_SQLITE, World, python, submit, words


def _ready(url: str) -> Database:
    """The database, made or migrated first: on PostgreSQL only `runner db upgrade` does that."""
    database = Database(url)
    if not database.sqlite:
        try:
            with database.explained():
                schema.upgrade(database)
        except BaseException:
            database.close()
            raise
    database.close()
    return open_database(url)


def test_models_equal_migrations(db: Database) -> None:
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_checks_and_partial_indexes_equal_those_of_the_models(database_url: str, db: Database) -> None:
    """What alembic does not compare: the very words of the tables, side by side."""
    found = words(db)
    with db.engine.begin() as connection:
        Base.metadata.drop_all(connection)
        Base.metadata.create_all(connection)
    assert found == words(db)


def test_head_is_the_last_migration(db: Database) -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == HEAD == schema.revision(db)


def test_the_first_rows_are_there_once(database_url: str, db: Database) -> None:
    _ready(database_url).close()
    assert schema.upgrade(db) == (HEAD, HEAD)
    with db.read() as session:
        assert len(session.execute(select(Installation)).all()) == 1
        assert len(session.execute(select(Leader)).all()) == 1
        assert len(session.execute(select(Ticket)).all()) == 1
        assert len(schema.installation_id(session)) == 6


def test_a_migration_that_dies_in_the_middle_leaves_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(schema, "_first_rows", dies)
    with pytest.raises(KeyboardInterrupt):
        _ready(database_url)
    monkeypatch.undo()
    database = _ready(database_url)
    with database.read() as session:
        assert schema.installation_id(session)
    database.close()


def test_killed_while_it_migrates(database_url: str) -> None:
    """kill -9 between the tables and the first rows: the next command finishes the work."""
    code = """
import os, signal, sys
from jobs.store import schema
from tests.conformance.test_store_schema import _ready
schema._first_rows = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
_ready(sys.argv[1])
"""
    child = python(code, database_url)
    child.communicate(timeout=60)
    assert child.returncode == -9
    database = _ready(database_url)
    with database.read() as session:
        assert schema.installation_id(session)
    database.close()


def test_many_come_first_at_once(database_url: str) -> None:
    code = """
import sys
from jobs.store.schema import installation_id
from tests.conformance.test_store_schema import _ready
sys.stdin.readline()
database = _ready(sys.argv[1])
with database.read() as session:
    print(installation_id(session))
database.close()
"""
    children = [python(code, database_url) for _ in range(5)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    answers = [child.communicate(timeout=60) for child in children]
    assert [error for _, error in answers] == [""] * 5
    assert len({answer for answer, _ in answers}) == 1


@ON_POSTGRESQL
def test_postgresql_is_migrated_only_when_somebody_says_so(database_url: str) -> None:
    assert "run `runner db upgrade`" in _sentence(database_url)
    with closing(Database(database_url)) as database:
        assert schema.upgrade(database) == (None, HEAD)
    open_database(database_url).close()


@ON_SQLITE
def test_the_file_is_private(db: Database) -> None:
    assert db.path is not None
    for path in db.path.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_an_unborn_database_is_not_made_by_a_look(home: Path) -> None:
    with pytest.raises(DatabaseError, match="There is no database"):
        open_database(f"sqlite:///{home / 'runner.db'}", migrate=False)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://host/runner.db",
        "sqlite:///file:runner.db?mode=ro&uri=true",
        "sqlite+aiosqlite:///runner.db",
        "sqlite:///runner.db?timeout=1",
        "mysql://u:secret@h/d",
        "postgresql://u:secret@h:x/d",
        "postgresql://u:secret@h",
        "postgresql+asyncpg://u:secret@h/d",
    ],
)
def test_an_address_that_makes_no_sense(url: str) -> None:
    with pytest.raises(InvalidSettings, match="RUNNER_DATABASE_URL") as caught:
        open_database(url)
    assert "secret" not in str(caught.value)


def test_a_relative_address_stays_where_it_was(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    database = open_database("sqlite:///here.db")
    assert database.path == home / "here.db"
    database.close()


# What must never be is refused by the database itself.


def _refused(db: Database, statement: str, **values: object) -> None:
    with pytest.raises(IntegrityError), db.write() as session:
        session.execute(text(statement), values)


def test_a_second_live_attempt_of_a_job_is_refused(world: World) -> None:
    first = world.attempt(world.admit()[1])
    values = {c.name: getattr(first, c.name) for c in Attempt.__table__.columns}
    with pytest.raises(IntegrityError), world.db.write() as session:
        session.add(Attempt(**{**values, "id": "x" * 26, "number": 2}))


@pytest.mark.parametrize(
    "change",
    [
        "state = 'succeeded'",  # without a finish, a reason
        "state = 'resting'",
        "finished_at = submitted_at",
        "attempt_id = 'a'",
        "state = 'running'",
        "max_cost = 0",
        "max_runtime = -1",
    ],
)
def test_nonsense_about_a_job_is_refused(db: Database, change: str) -> None:
    _refused(db, f"UPDATE jobs SET {change} WHERE id = :id", id=submit(db))  # noqa: S608


@pytest.mark.parametrize(
    "change",
    [
        "state = 'running'",
        "state = 'finishing'",
        "outcome = 'lost'",
        "log_bytes = -1",
        "state = 'queued'",
        "go_ordered_at = created_at",  # without a deadline, nobody would ever end it
    ],
)
def test_nonsense_about_an_attempt_is_refused(world: World, change: str) -> None:
    _, attempt_id, _ = world.admit()
    _refused(world.db, f"UPDATE attempts SET {change} WHERE id = :id", id=attempt_id)  # noqa: S608


@pytest.mark.parametrize(
    "change",
    [
        "state = 'live'",
        "state = 'doomed'",
        "state = 'gone'",
        "state = 'away'",
        "doomed_at = expires_at",
        "terminate_accepted_at = expires_at",
    ],
)
def test_nonsense_about_an_instance_is_refused(world: World, change: str) -> None:
    _, attempt_id, _ = world.admit()
    _refused(world.db, f"UPDATE instances SET {change} WHERE attempt_id = :id", id=attempt_id)  # noqa: S608


def test_what_others_refer_to_cannot_be_deleted(world: World) -> None:
    job_id, attempt_id, _ = world.admit()
    for statement in (delete(Job).where(Job.id == job_id), delete(Attempt).where(Attempt.id == attempt_id)):
        with pytest.raises(IntegrityError), world.db.write() as session:
            session.execute(statement)
    assert world.show(job_id).state is State.DEPLOYING
    assert world.instance(attempt_id).state == "intended"


def test_times_without_a_zone_are_refused(db: Database) -> None:
    submit(db)
    naive = datetime(2026, 1, 1)  # noqa: DTZ001
    with pytest.raises(StatementError, match="without a zone"), db.write() as session:
        session.execute(update(Job).values(not_before=naive))


# Databases that are not ours, or not of now.


def _sqlite(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def _sentence(url: str) -> str:
    with pytest.raises(DatabaseError) as caught:
        open_database(url)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def test_a_database_of_something_else(home: Path) -> None:
    path = home / "other.db"
    _sqlite(path, "CREATE TABLE recipes (id INTEGER)")
    before = path.read_bytes()
    assert "belongs to something else" in _sentence(f"sqlite:///{path}")
    assert "recipes" in _sentence(f"sqlite:///{path}")
    _sqlite(path, "SELECT 1")
    assert len(path.read_bytes()) == len(before)


def test_another_applications_alembic(home: Path) -> None:
    path = home / "other.db"
    _sqlite(
        path,
        "CREATE TABLE alembic_version (version_num TEXT)",
        "INSERT INTO alembic_version VALUES ('ae1027a6acf')",
        "CREATE TABLE jobs (id TEXT)",
    )
    assert "belongs to something else" in _sentence(f"sqlite:///{path}")


def test_a_newer_database(database_url: str, db: Database) -> None:
    """What newer code has migrated serves older code as well, until it says that it does not."""
    with db.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    open_database(database_url).close()
    assert schema.upgrade(db) == ("9999", "9999")
    with db.write() as session:
        session.execute(update(Agreement).values(least_code=CODE + 1))
    assert "newer version" in _sentence(database_url)
    with db.write() as session:
        session.execute(text("DROP TABLE agreement"))
    assert "newer version" in _sentence(database_url)


def test_not_a_database(home: Path) -> None:
    (home / "runner.db").write_bytes(b"this is a letter, not a database. " * 100)
    assert "is not a database" in _sentence(f"sqlite:///{home / 'runner.db'}")


@ON_SQLITE
def test_a_damaged_database(database_url: str, db: Database) -> None:
    assert db.path is not None
    db.close()
    content = bytearray(db.path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    db.path.write_bytes(content)
    assert "damaged" in _sentence(database_url)


def test_a_folder_where_the_database_should_be(home: Path) -> None:
    (home / "runner.db").mkdir()
    assert "cannot be opened" in _sentence(f"sqlite:///{home / 'runner.db'}")


def test_a_file_where_the_folder_should_be(home: Path) -> None:
    (home / "file").write_text("")
    assert "cannot be" in _sentence(f"sqlite:///{home / 'file' / 'runner.db'}")
