"""Opening the database, beginning transactions, and telling the time that leases are counted in.

What decides something decides alone, on both databases: SQLite's writers begin with ``BEGIN IMMEDIATE``,
PostgreSQL's take one lock first. So what was read in a transaction still holds when it writes, and what the
tests show on one database is true on the other. Bytes of logs, heartbeats and turns at the API decide nothing
and go beside it. SQLite runs in WAL with ``synchronous=FULL``: a job that was accepted survives a power cut.
Nothing but a DatabaseError, one sentence for a person, leaves a transaction that the database refused.
"""

from __future__ import annotations

import errno
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from jobs.errors import DatabaseError, InvalidSettings
from jobs.store import postgres
from jobs.store.clock import Clock
from jobs.store.contact import Contact

BUSY_SECONDS = 30
"""How long a writer waits for another one on SQLite."""
WAL_SECONDS = 10
"""How long opening waits for another process that creates the same database at this very moment."""


CONCERNED = "concerned"


def concern(session: Session, job_id: str) -> None:
    """Who waits for this job is to look at it once this transaction is committed."""
    session.info.setdefault(CONCERNED, set()).add(job_id)


class Database:
    """One open database. Threads share it; each transaction has a connection of its own."""

    def __init__(self, url: str) -> None:
        self.url = _parse(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self.path = Path(self.url.database).absolute() if self.sqlite and self.url.database else None
        self.engine = self._sqlite_engine() if self.sqlite else postgres.make_engine(self.url)
        for_writing = {"begin": "BEGIN IMMEDIATE"} if self.sqlite else {}
        for_reading = {} if self.sqlite else postgres.READING
        self._write = sessionmaker(
            self.engine.execution_options(**for_writing), expire_on_commit=False, autoflush=False
        )
        self._read = sessionmaker(
            self.engine.execution_options(**for_reading), expire_on_commit=False, autoflush=False
        )
        self._clock = Clock(self.path)
        self.contact = Contact()
        self._turns = threading.Semaphore(postgres.MOST_IN_QUEUE)

    @property
    def shown_url(self) -> str:
        """The address without its password."""
        shown = self.url.set(drivername=self.url.get_backend_name(), query={})  # which may hold another one
        return shown.render_as_string(hide_password=True)

    @contextmanager
    def write(self, *, alone: bool = True, news: bool = True) -> Iterator[Session]:
        """A transaction that will write. Raises DatabaseError where the database cannot be used.

        *alone*: nobody else decides anything until it is over. *news*: its commit is some, to who waits for
        the jobs that it concerns, or to everybody where none is named; what concerns jobs always is. SQLite
        knows no difference: one writes at a time, and all that is written is news.
        """
        committing = False
        try:
            with self.explained(), self._queueing(alone), self._write.begin() as session:
                session.connection()  # begins here and now: the time that is read next is that of the lock
                if alone and not self.sqlite:
                    postgres.wait_for_turn(session)
                yield session
                session.flush()
                jobs = session.info.get(CONCERNED, set())
                if (news or jobs) and not self.sqlite:
                    postgres.tell_of_jobs(session, jobs)
                committing = not self.sqlite
        except DatabaseError as error:
            if committing and postgres.is_cut_off(error.__cause__):
                raise DatabaseError(
                    f"{error} Whether it was still written is not known; look before you repeat it."
                ) from error.__cause__
            raise

    @contextmanager
    def _queueing(self, alone: bool) -> Iterator[None]:
        """Few at a time wait for their turn with a connection in hand: heartbeats and logs need some, too."""
        if self.sqlite or not alone:
            yield
            return
        if not self._turns.acquire(timeout=postgres.QUEUE_SECONDS):
            raise DatabaseError(f"The database at {self.shown_url} was too busy, and nothing was changed.")
        try:
            yield
        finally:
            self._turns.release()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads, on one consistent picture of the database."""
        with self.explained(), self._read.begin() as session:
            yield session

    @contextmanager
    def answering_by(self, end: float | None) -> Iterator[None]:
        """What is asked here is not waited for past *end*, by the monotonic clock, or for a few seconds.

        A server has to answer; SQLite answers by itself.
        """
        if self.sqlite or end is None:
            yield
            return
        from jobs.store.answering import answering_by

        with answering_by(end):
            yield

    @contextmanager
    def patiently(self) -> Iterator[None]:
        """What is asked here may take as long as it takes."""
        if self.sqlite:
            yield
            return
        from jobs.store.answering import patiently

        with patiently():
            yield

    def now(self, session: Session) -> datetime:
        """The time by which leases are judged, the same for all who use this database."""
        if self.sqlite:
            return self.clock()
        value = postgres.server_time(session)
        self._clock.learn(value)
        return value

    def time(self) -> datetime:
        """The same, asked for by itself. Raises DatabaseError."""
        if self.sqlite:
            return self.clock()
        with self.read() as session:
            return self.now(session)

    def clock(self) -> datetime:
        """The clock of all who use this database, as far as this process knows it without asking."""
        return self._clock.now()

    def share_clock(self) -> None:
        """Have everybody who opens this SQLite file from now on go by our clock."""
        self._clock.share()

    def free_bytes(self) -> int | None:
        """Room on the disk of a SQLite file; None where that is not known."""
        if self.path is None:
            return None
        try:
            return shutil.disk_usage(self.path.parent).free
        except OSError:
            return None

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what the database complains about into a DatabaseError; bugs of ours pass through."""
        try:
            yield
        except (DBAPIError, sqlite3.Error) as error:
            explained = explain(error, self)
            if explained is None:
                raise
            raise explained from error
        except PoolTimeout as error:
            raise DatabaseError(
                f"Too many threads use {self.path or self.shown_url} at once; try again."
            ) from error

    def _sqlite_engine(self) -> Engine:
        engine = create_engine(
            self.url,
            connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
            pool_size=8,
            max_overflow=56,
            hide_parameters=True,
        )

        @event.listens_for(engine, "connect")
        def _connected(connection: Any, _record: Any) -> None:
            connection.isolation_level = (
                None  # transactions begin where SQLAlchemy says, not at the first write
            )
            _turn_to_wal(connection)
            connection.execute("PRAGMA synchronous=FULL").close()
            connection.execute("PRAGMA foreign_keys=ON").close()

        @event.listens_for(engine, "begin")
        def _begin(connection: Any) -> None:
            connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

        return engine


def explain(error: DBAPIError | sqlite3.Error, database: Database) -> DatabaseError | None:
    """The database's own complaint as one sentence for a person; None where it is a bug of ours."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    where = database.path or database.shown_url
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", None)
        sentence = None if code is None else _COMPLAINTS.get(code & 0xFF)
        if sentence is None and "no such table" in str(cause):
            sentence = "{where} is not a database of gpu-job-runner; run `runner db upgrade`."
        return DatabaseError(sentence.format(where=where)) if sentence else None
    return postgres.explain(error, cause, database.shown_url)


_COMPLAINTS = {
    sqlite3.SQLITE_FULL: "The disk is full: {where} could not be written, and nothing was changed.",
    sqlite3.SQLITE_IOERR: "The disk under {where} failed or is full; nothing was changed.",
    sqlite3.SQLITE_READONLY: "{where} is read-only; make it and its folder writable for this user.",
    sqlite3.SQLITE_CANTOPEN: "{where} cannot be opened; check RUNNER_DATABASE_URL and permissions.",
    sqlite3.SQLITE_PERM: "{where} cannot be opened: permission denied.",
    sqlite3.SQLITE_NOTADB: "{where} is not a database; move it away, or name another by RUNNER_DATABASE_URL.",
    sqlite3.SQLITE_CORRUPT: "{where} is damaged; restore it from a backup.",
    sqlite3.SQLITE_BUSY: f"{{where}} stayed locked by another process for {BUSY_SECONDS} s; try again.",
    sqlite3.SQLITE_PROTOCOL: "{where} stayed locked by other processes; try again.",
}


def _turn_to_wal(connection: sqlite3.Connection) -> None:
    """Ask for WAL; while another process does so too, SQLite refuses at once and does not wait by itself."""
    end = time.monotonic() + WAL_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise InvalidSettings(
            "RUNNER_DATABASE_URL is not a database address; write sqlite:////path/to/runner.db or "
            "postgresql://USER:PASSWORD@HOST/NAME."
        ) from None
    if backend == "postgresql":
        return postgres.checked(parsed)
    if backend != "sqlite":
        raise InvalidSettings(
            f"RUNNER_DATABASE_URL names a database of the kind {backend!r}; it may be sqlite or postgresql."
        )
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite") or parsed.host or parsed.query:
        raise InvalidSettings(
            "RUNNER_DATABASE_URL must be sqlite:/// and a path, such as sqlite:////path/to/runner.db."
        )
    if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:"):
        raise InvalidSettings(
            "RUNNER_DATABASE_URL must name a file: an SQLite database in memory forgets its jobs."
        )
    return parsed


def ensure_folder(path: Path) -> None:
    """Make the folder that the database lies in. Raises DatabaseError where that cannot be."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        what = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or "it failed").lower()
        raise DatabaseError(f"The folder {path} cannot be made: {what}; check RUNNER_HOME.") from None


__all__ = ["BUSY_SECONDS", "Database", "ensure_folder", "explain"]
