"""Opening the database, beginning transactions, and telling the time that leases are counted in.

SQLite runs in WAL with ``synchronous=FULL``: a job that was accepted survives a power cut. Its
writers begin with ``BEGIN IMMEDIATE``, so that none finds out at commit that it was too late.
"""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from jobs.errors import DatabaseError, InvalidSettings

BUSY_SECONDS = 30
"""How long a writer waits for another one on SQLite."""


class Database:
    """One open database. Threads share it; each transaction has a connection of its own."""

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        self.url = _parse(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self.path = Path(self.url.database) if self.sqlite and self.url.database else None
        self.engine = self._sqlite_engine() if self.sqlite else self._server_engine()
        self._write = sessionmaker(
            self.engine.execution_options(begin="BEGIN IMMEDIATE"), expire_on_commit=False, autoflush=False
        )
        self._read = sessionmaker(self.engine, expire_on_commit=False, autoflush=False)
        # A wall clock that is set back must not renew a lease: the wall is read once.
        self._wall = datetime.now(UTC)
        self._monotonic = time.monotonic()

    @property
    def shown_url(self) -> str:
        """The address without its password."""
        return self.url.render_as_string(hide_password=True)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that will write. Raises DatabaseError where the database cannot be used."""
        with self._explained(), self._write.begin() as session:
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads, on one consistent picture (SQLite) or statement by statement."""
        with self._explained(), self._read.begin() as session:
            yield session

    def now(self, session: Session) -> datetime:
        """The time by which leases are judged, the same for all who use this database."""
        if self.sqlite:
            return self.clock()
        value: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
        return value.astimezone(UTC)

    def clock(self) -> datetime:
        """This process's own clock: wall time at its start, advanced by the monotonic clock."""
        return self._wall + timedelta(seconds=time.monotonic() - self._monotonic)

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            if error.hide_parameters is False:
                error.hide_parameters = True
            explained = explain(error, self)
            if explained is None:
                raise
            raise explained from error

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
            cursor = connection.cursor()
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()

        @event.listens_for(engine, "begin")
        def _begin(connection: Any) -> None:
            connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

        return engine

    def _server_engine(self) -> Engine:
        return create_engine(
            self.url, pool_size=8, max_overflow=24, pool_pre_ping=True, pool_timeout=30, hide_parameters=True
        )


def explain(error: DBAPIError, database: Database) -> DatabaseError | None:
    """The database's own complaint as one sentence for a person; None where it is a bug of ours."""
    cause = error.orig
    where = database.path or database.shown_url
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", None)
        primary = code & 0xFF if code is not None else None
        sentence = {
            sqlite3.SQLITE_FULL: f"The disk is full: {where} could not be written, and nothing was changed.",
            sqlite3.SQLITE_IOERR: f"The disk under {where} failed or is full; nothing was changed.",
            sqlite3.SQLITE_READONLY: f"{where} is read-only; make it and its folder writable for this user.",
            sqlite3.SQLITE_CANTOPEN: f"{where} cannot be opened; check RUNNER_HOME, RUNNER_DATABASE_URL and permissions.",
            sqlite3.SQLITE_PERM: f"{where} cannot be opened: permission denied.",
            sqlite3.SQLITE_NOTADB: f"{where} is not a database; move it away, or name another by RUNNER_DATABASE_URL.",
            sqlite3.SQLITE_CORRUPT: f"{where} is damaged; restore it from a backup.",
            sqlite3.SQLITE_BUSY: f"{where} stayed locked by another process for {BUSY_SECONDS} s; try again.",
        }.get(primary if primary is not None else -1)
        if sentence is None and "no such table" in str(cause):
            sentence = f"{where} is not a database of gpu-job-runner; run `runner db upgrade`."
        return DatabaseError(sentence) if sentence else None
    if error.connection_invalidated or type(error).__name__ in ("OperationalError", "InterfaceError"):
        return DatabaseError(
            f"The database at {database.shown_url} cannot be reached; check RUNNER_DATABASE_URL."
        )
    return None


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise InvalidSettings(
            "RUNNER_DATABASE_URL is not a database address; write sqlite:////path/to/runner.db"
        ) from None
    if backend != "sqlite":
        raise InvalidSettings(
            f"RUNNER_DATABASE_URL names a database of the kind {backend!r}; this version serves sqlite only."
        )
    if parsed.database in (None, "", ":memory:"):
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


__all__ = ["BUSY_SECONDS", "Database", "SQLAlchemyError", "ensure_folder", "explain"]
