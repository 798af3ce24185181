"""What happens to a database: full disks, missing rights, locks, and death in the middle of a transaction."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from unittest.mock import patch

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool

from jobs.errors import DatabaseError
from jobs.migrations import HEAD
from jobs.states import State
from jobs.store import answering, leases, postgres, reads, schema, submissions
from jobs.store import database as database_module
from jobs.store.database import Database
from jobs.store.news import News
from jobs.store.schema import open_database
from tests.conformance.store_kit import ON_POSTGRESQL, ON_SQLITE, python, submit
from tests.disks import fill, small_disk
from tests.servers import Postgres
from tests.waiting import wait_until

NOBODY = 65534

SUBMITS = """
import os, signal, sys
from jobs.store import submissions
from jobs.store.schema import open_database
from tests.conformance.store_kit import spec
database = open_database(sys.argv[1])
while True:
    print(submissions.submit(database, [spec()])[0].id, flush=True)
"""

DIES = """
import os, signal, sys
from jobs.store import submissions
from jobs.store.schema import open_database
from tests.conformance.store_kit import spec
database = open_database(sys.argv[1])
print(submissions.submit(database, [spec(name="kept")])[0].id, flush=True)
with database.write() as session:
    submissions._submit(session, database.now(session), [spec(name=f"lost {n}") for n in range(100)])
    session.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_in_the_middle_of_a_transaction(database_url: str, db: Database) -> None:
    child = python(DIES, database_url)
    output, _ = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL
    assert [job.id for job in reads.listing(db)] == [output.strip()]
    submit(db)  # and nobody waits for the dead one's lock


def test_killed_while_it_submits(database_url: str, db: Database) -> None:
    """kill -9 at any moment: all that was answered is there."""
    child = python(SUBMITS, database_url)
    assert child.stdout is not None
    answered = [child.stdout.readline().strip() for _ in range(50)]
    child.kill()
    answered += child.stdout.read().split()  # communicate() would pass over what readline() has read ahead
    child.communicate(timeout=60)
    kept = {job.id for job in reads.listing(db)}
    assert set(answered) <= kept
    assert len(kept) <= len(answered) + 1
    if db.sqlite:
        with db.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


@ON_SQLITE
def test_a_database_that_stays_locked(
    database_url: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.2)
    impatient = open_database(database_url)
    with db.write(), pytest.raises(DatabaseError, match="locked by another process"):
        submit(impatient)
    assert submit(impatient)
    impatient.close()


@ON_POSTGRESQL
def test_a_turn_that_does_not_come(database_url: str, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody decides for too long: who waits for its turn is told so."""
    job_id = submit(db)
    monkeypatch.setattr(postgres, "SESSION_SETTINGS", {**postgres.SESSION_SETTINGS, "lock_timeout": "200ms"})
    with closing(open_database(database_url)) as impatient:
        with db.write(), pytest.raises(DatabaseError, match="too busy"):
            submissions.request_cancel(impatient, job_id)
        assert submissions.request_cancel(impatient, job_id) is State.CANCELLED


@ON_POSTGRESQL
def test_one_that_is_stopped_while_it_decides(
    database_url: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGSTOP in the middle of a transaction: the server ends it, and the others go on."""
    job_id = submit(db)
    code = """
import sys
from jobs.store import postgres
from jobs.store.schema import open_database
postgres.SESSION_SETTINGS = {**postgres.SESSION_SETTINGS, "idle_in_transaction_session_timeout": "300ms"}
database = open_database(sys.argv[1])
with database.write():
    print("deciding", flush=True)
    sys.stdin.readline()
"""
    child = python(code, database_url)
    assert child.stdout is not None
    assert child.stdout.readline() == "deciding\n"
    child.send_signal(signal.SIGSTOP)
    assert submissions.request_cancel(db, job_id) is State.CANCELLED
    child.send_signal(signal.SIGCONT)
    _, error = child.communicate("\n", timeout=60)
    assert child.returncode == 1
    assert "DatabaseError" in error


@ON_POSTGRESQL
def test_a_server_that_is_stopped_while_its_computer_answers(
    db: Database, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGSTOP of all its processes: nobody waits for ever, and who has a deadline of its own not longer."""
    job_id = submit(db)
    monkeypatch.setattr(answering, "CONNECT_SECONDS", 2)  # psycopg waits no shorter
    monkeypatch.setattr(answering, "LEAST_SECONDS", 0.3)
    with db.engine.connect() as connection, db.answering_by(time.monotonic()):
        with postgres.held(), pytest.raises(OperationalError, match="no answer for") as caught:
            connection.exec_driver_sql("SELECT 1")
        assert caught.value.connection_invalidated
    with db.answering_by(time.monotonic()), postgres.held():
        with pytest.raises(DatabaseError, match="cannot be reached"):
            reads.show(db, job_id)
        with pytest.raises(DatabaseError, match="cannot be reached"), News(db) as news:
            news.wait(1)
    assert reads.show(db, job_id).id == job_id
    with News(db) as news:
        submit(db)
        assert news.wait(30)


@ON_POSTGRESQL
def test_a_commit_without_an_answer(
    db: Database, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told that nothing was written: a job that is submitted again may be rented for twice."""
    monkeypatch.setattr(answering, "LEAST_SECONDS", 0.3)
    with ExitStack() as stack:
        stop = patch("jobs.store.postgres.tell_of_jobs", lambda *_: stack.enter_context(postgres.held()))
        with stop, db.answering_by(time.monotonic()), pytest.raises(DatabaseError, match="is not known"):
            submit(db)
    submit(db)


@ON_POSTGRESQL
def test_a_migration_may_take_its_time(
    db: Database, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one is under way: this one waits for longer than any answer may take."""
    monkeypatch.setattr(answering, "ANSWER_SECONDS", 0.2)
    waits = text(
        "SELECT clock_timestamp() - query_start > interval '1 second' FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND query LIKE '%pg_advisory_xact_lock%'"
    )
    with ThreadPoolExecutor(1) as pool, db.engine.connect() as other, db.engine.connect() as looks:
        other.execute(text("SELECT pg_advisory_lock(:key)"), {"key": schema.LOCK_KEY})
        upgraded = pool.submit(schema.upgrade, db)
        looks = looks.execution_options(isolation_level="AUTOCOMMIT")
        wait_until(lambda: looks.execute(waits).scalar(), what="an upgrade that waits")
        assert not upgraded.done()
        other.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": schema.LOCK_KEY})
        assert upgraded.result(60) == (HEAD, HEAD)


def test_readers_do_not_wait_for_a_writer(db: Database) -> None:
    job_id = submit(db)
    with db.write():
        assert reads.show(db, job_id).id == job_id


def test_a_writer_waits_for_its_turn(db: Database) -> None:
    done: list[str] = []
    thread = threading.Thread(target=lambda: done.append(submit(db, key="one")))
    with db.write():
        thread.start()
        assert not done
    wait_until(lambda: done, what="the second writer's turn")
    thread.join()


def test_too_many_threads_at_once(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = db.engine.pool
    monkeypatch.setattr(pool, "_timeout", 0.1)
    assert isinstance(pool, QueuePool)
    held = [db.engine.connect() for _ in range(pool.size() + pool._max_overflow)]
    with pytest.raises(DatabaseError, match="Too many threads"):
        submit(db)
    for connection in held:
        connection.close()


@ON_SQLITE
def test_full_by_a_limit_on_the_size_of_files(database_url: str, db: Database) -> None:
    """As a quota, or a full disk: a sentence, and nothing is half written."""
    db.close()
    code = """
import resource, sys
from jobs.errors import DatabaseError
from jobs.store import reads, submissions
from jobs.store.schema import open_database
from tests.conformance.store_kit import spec
database = open_database(sys.argv[1])
submissions.submit(database, [spec()])
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    submissions.submit(database, [spec("x" * 200_000) for _ in range(10)])
except DatabaseError as error:
    print(error)
print(len(reads.listing(database)))
"""
    child = python(code, database_url)
    output, error = child.communicate(timeout=60)
    assert error == ""
    sentence, count = output.splitlines()
    assert "full" in sentence
    assert count == "1"
    again = open_database(database_url)
    submit(again)
    assert len(reads.listing(again)) == 2
    again.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "small disk", "1m") as folder:
        yield folder


def _fill(database: Database) -> None:
    for _ in range(100):
        submit(database, command="x" * 100_000)


def test_a_full_disk(disk: Path) -> None:
    database = open_database(f"sqlite:///{disk / 'runner.db'}")
    with pytest.raises(DatabaseError, match="full") as caught:
        _fill(database)
    assert str(disk) in str(caught.value)
    count = len(reads.listing(database))
    assert 0 < count < 100
    database.close()


def test_a_disk_that_is_full_from_the_start(disk: Path) -> None:
    ballast = fill(disk)
    with pytest.raises(DatabaseError, match=r"full|no space") as caught:
        open_database(f"sqlite:///{disk / 'home' / 'runner.db'}")
    assert str(disk) in str(caught.value)
    ballast.unlink()
    open_database(f"sqlite:///{disk / 'home' / 'runner.db'}").close()


# Rights: root has all of them, so the child gives them up first.

POOR = """
import os, sys
from jobs.errors import DatabaseError
from jobs.store import reads, submissions
from jobs.store.schema import open_database
from tests.conformance.store_kit import spec
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    database = open_database(sys.argv[1])
    submissions.submit(database, [spec()])
except DatabaseError as error:
    print(error)
"""


def _poor(url: str) -> str:
    child = python(POOR, url)
    output, error = child.communicate(timeout=60)
    assert error == ""
    return output.strip()


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A folder that also those without rights can reach, with a database in it."""
    if os.geteuid() != 0:
        pytest.skip("only root can give rights up")
    folder = tmp_path / "shared home"
    folder.mkdir()
    opened = [folder, *folder.parents][: len(folder.parts) - 2]
    before = {path: path.stat().st_mode for path in opened}
    for path in opened:
        path.chmod(0o755)
    database = open_database(f"sqlite:///{folder / 'runner.db'}")
    submit(database)
    database.close()
    yield folder
    for path, mode in before.items():
        path.chmod(mode)


def test_a_read_only_file(shared: Path) -> None:
    (shared / "runner.db").chmod(0o444)
    shared.chmod(0o777)
    assert "is read-only" in _poor(f"sqlite:///{shared / 'runner.db'}")


def test_a_read_only_folder(shared: Path) -> None:
    (shared / "runner.db").chmod(0o666)
    shared.chmod(0o555)
    sentence = _poor(f"sqlite:///{shared / 'runner.db'}")
    assert "read-only" in sentence or "cannot be opened" in sentence
    assert str(shared) in sentence


def test_a_file_of_somebody_else(shared: Path) -> None:
    (shared / "runner.db").chmod(0o600)
    shared.chmod(0o777)
    sentence = _poor(f"sqlite:///{shared / 'runner.db'}")
    assert "cannot be opened" in sentence or "read-only" in sentence


def test_a_folder_that_cannot_be_entered(shared: Path) -> None:
    shared.chmod(0o700)
    assert "cannot be" in _poor(f"sqlite:///{shared / 'runner.db'}")


def test_a_folder_that_cannot_be_made(shared: Path) -> None:
    assert "permission denied" in _poor(f"sqlite:///{shared / 'deeper' / 'runner.db'}")


@ON_SQLITE
def test_a_broken_database_does_not_silence_the_sentence(db: Database) -> None:
    """The file is replaced by rubbish under an open database."""
    assert db.path is not None
    job_id = submit(db)
    db.close()
    for path in db.path.parent.glob("runner.db*"):
        path.write_bytes(b"rubbish" * 1000)
    with pytest.raises(DatabaseError, match=r"not a database|damaged"):
        reads.show(db, job_id)
    with pytest.raises(DatabaseError):
        leases.heartbeat(db, "worker-1", [])
