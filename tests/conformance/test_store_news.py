"""News: learning that somebody else wrote, in this process or in another one."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from jobs.errors import DatabaseError
from jobs.states import State
from jobs.store import leases, logs, reads, schema, submissions
from jobs.store.database import Database
from jobs.store.logs import Append
from jobs.store.news import News
from jobs.store.transitions import AttemptLease
from tests.conformance.store_kit import ON_POSTGRESQL, ON_SQLITE, World, python, submit
from tests.servers import Postgres
from tests.waiting import wait_until


def test_what_was_written_is_news_once(db: Database) -> None:
    with News(db) as news:
        assert not news.changed()
        submit(db)
        assert news.wait(30)  # a server tells it a moment later
        assert not news.changed()
        reads.listing(db)
        assert not news.changed()


def test_what_another_process_wrote(database_url: str, db: Database) -> None:
    code = """
import sys
from jobs.store.schema import open_database
from tests.conformance.store_kit import submit
database = open_database(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    print(submit(database), flush=True)
database.close()
"""
    child = python(code, database_url)
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    with News(db) as news:
        for _ in range(5):
            assert not news.changed()
            child.stdin.write("\n")
            child.stdin.flush()
            assert news.wait(30)
            job_id = child.stdout.readline().strip()
            assert reads.show(db, job_id).id == job_id
    child.communicate(timeout=30)


def test_waiting_ends_at_its_time(db: Database) -> None:
    with News(db) as news:
        began = time.monotonic()
        assert not news.wait(0.1)
        assert time.monotonic() - began >= 0.1
        assert not news.wait(0)


def test_waiting_ends_with_the_word_to_stop(db: Database) -> None:
    stop, heard = threading.Event(), []
    with News(db) as news:
        thread = threading.Thread(target=lambda: heard.append(news.wait(3600, stop)))
        thread.start()
        stop.set()
        wait_until(lambda: heard, what="the end of waiting")
        thread.join()
    assert heard == [False]


@ON_SQLITE
def test_listening_holds_no_picture_of_the_database(db: Database) -> None:
    """A listener must not keep the write-ahead log from being written back."""
    with News(db) as news:
        submit(db)
        assert news.changed()
        connection = sqlite3.connect(str(db.path))
        busy, pages, written = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        connection.close()
        assert (busy, pages, written) == (0, 0, 0)


@ON_SQLITE
def test_a_database_that_breaks_is_a_sentence(db: Database) -> None:
    assert db.path is not None
    db.close()
    for path in db.path.parent.glob("runner.db*"):
        path.unlink()
    db.path.write_bytes(b"rubbish" * 1000)
    with pytest.raises(DatabaseError, match="not a database"):
        News(db)


@ON_POSTGRESQL
def test_the_bytes_of_a_log_are_news_to_who_follows_it(world: World) -> None:
    """A hundred talkative jobs must not wake everybody."""
    followed, attempt_id, lease = world.run()
    _, other_attempt, other_lease = world.run()

    def write(attempt_id: str, lease: AttemptLease) -> None:
        assert logs.append(world.db, [Append(attempt_id, lease.owner, lease.fence, 0, b"x", 1)]) == [True]

    with News(world.db) as jobs_only, News(world.db, log_of=followed) as follower:
        write(other_attempt, other_lease)
        assert not jobs_only.changed()
        assert not follower.changed()
        write(attempt_id, lease)
        assert not jobs_only.changed()
        assert follower.wait(30)
        leases.heartbeat(world.db, world.owner, [attempt_id])
        assert not follower.changed()


@ON_POSTGRESQL
def test_what_concerns_another_job_wakes_nobody_who_waits_for_one(world: World) -> None:
    """A hundred people who wait must not all look whenever one job moves."""
    mine, attempt_id, lease = world.run()
    with News(world.db, [mine]) as waits, News(world.db) as works:
        other, *_ = world.run()
        assert works.wait(30)
        submissions.request_cancel(world.db, submit(world.db))
        world.list()  # nothing new in it
        assert not waits.wait(0.5)
        world.finish(attempt_id, lease)
        assert waits.wait(30)
        assert world.show(mine).state is State.FINISHING
        submissions.request_cancel(world.db, other)
        assert waits.wait(30), "it moves no job, so everybody is told"


def test_a_server_that_is_started_again(home: Path) -> None:
    """While it is away that is a sentence; afterwards everything may be news."""
    server = Postgres()
    try:
        server.start()
        with closing(Database(server.url())) as db:
            schema.upgrade(db)
            with News(db) as news:
                server.stop()
                with pytest.raises(DatabaseError, match="cannot be reached"):
                    news.wait(30)
                with pytest.raises(DatabaseError, match="cannot be reached"):
                    news.changed()
                server.start()
                assert news.changed()
                assert not news.changed()
                submit(db)
                assert news.wait(30)
    finally:
        server.close()
