"""PostgreSQL: how it is connected to, in what order its writers take turns, and what its errors mean.

What may take too long has a limit: a statement, the wait for a lock, a connection that is being made, a
server that went away without a word or is stopped (see ``answering``), and a transaction whose process was
stopped in the middle of it.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from jobs.errors import DatabaseError, InvalidSettings

READING: Mapping[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
"""One consistent picture, as SQLite gives it."""
TURN_KEY = 0x67706A77
"""The advisory lock of who decides; that of a migration is another one."""
MOST_IN_QUEUE = 8
"""How many threads of one process wait for their turn at the server; the others wait here."""
QUEUE_SECONDS = 30.0
MOST_NAMED = 50
"""Of more jobs everybody is told at once."""
EVERYBODY = ""
JOBS_CHANNEL, LOGS_CHANNEL = "gpu_job_runner_jobs", "gpu_job_runner_logs"

SESSION_SETTINGS: Mapping[str, str] = {
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    # A process that is stopped in the middle of a transaction must not keep the others from theirs.
    "idle_in_transaction_session_timeout": "10s",
    "timezone": "UTC",
}
CONNECT_ARGS: Mapping[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # milliseconds; a server that vanished is noticed while we wait for it, too
    "fallback_application_name": "gpu-job-runner",
    "prepare_threshold": None,  # prepared statements get lost between a pooler's connections
}


def checked(url: URL) -> URL:
    """The address with the driver that is used. Raises InvalidSettings."""
    if url.drivername not in ("postgresql", "postgresql+psycopg"):
        raise InvalidSettings(
            f"RUNNER_DATABASE_URL names the driver {url.get_driver_name()!r}; write postgresql:// alone."
        )
    if not url.database:
        raise InvalidSettings(
            "RUNNER_DATABASE_URL names no database; write postgresql://USER:PASSWORD@HOST/NAME."
        )
    return url.set(drivername="postgresql+psycopg")


def make_engine(url: URL) -> Engine:
    """Raises InvalidSettings where the driver is not installed."""
    try:
        engine = create_engine(
            url,
            connect_args=dict(CONNECT_ARGS),
            pool_size=8,
            max_overflow=24,
            pool_pre_ping=True,  # a server that was restarted costs no transaction
            pool_timeout=30,
            hide_parameters=True,
        )
    except ImportError:
        raise InvalidSettings(
            "RUNNER_DATABASE_URL names PostgreSQL, whose driver is not installed; run: "
            "pip install 'gpu-job-runner[postgres]'"
        ) from None
    event.listen(engine, "do_connect", _connect)
    event.listen(engine, "connect", _connected)
    for name in ("psycopg", "sqlalchemy"):
        # What they say of a connection that broke is said by us, in a sentence; else it would be said twice.
        logging.getLogger(name).addHandler(logging.NullHandler())
    return engine


def _connect(_dialect: Any, _record: Any, args: Any, options: Any) -> Any:
    from jobs.store.answering import Connection

    return Connection.connect(*args, **options)


def _connected(connection: Any, _record: Any) -> None:
    connection.autocommit = True
    calls = ", ".join("set_config(%s, %s, false)" for _ in SESSION_SETTINGS)
    connection.execute(f"SELECT {calls}", [word for pair in SESSION_SETTINGS.items() for word in pair])
    connection.autocommit = False


def connect_alone(engine: Engine) -> Any:
    """A connection of the driver's own, outside the pool, each statement of which is committed by itself."""
    args, options = engine.dialect.create_connect_args(engine.url)
    return _connect(None, None, args, {**CONNECT_ARGS, **options, "autocommit": True})


def wait_for_turn(session: Session) -> None:
    """Nobody else decides anything until this transaction is over."""
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": TURN_KEY})


def tell_of_jobs(session: Session, job_ids: Collection[str]) -> None:
    """Have the commit of this transaction be news to who waits for one of these; for none to everybody."""
    _tell(session, JOBS_CHANNEL, job_ids if 0 < len(job_ids) <= MOST_NAMED else [EVERYBODY])


def tell_of_logs(session: Session, job_ids: Iterable[str]) -> None:
    """Have the commit of this transaction be news to who follows the logs of these jobs."""
    _tell(session, LOGS_CHANNEL, job_ids)


def _tell(session: Session, channel: str, words: Iterable[str]) -> None:
    session.execute(_TELL, {"channel": channel, "words": sorted(set(words))})


_TELL = text("SELECT pg_notify(CAST(:channel AS text), word) FROM unnest(CAST(:words AS text[])) AS word")


def server_time(session: Session) -> datetime:
    """The server's time at this moment, not that at which the transaction began."""
    value: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
    return value.astimezone(UTC)


def explain(error: DBAPIError | sqlite3.Error, cause: Any, where: str) -> DatabaseError | None:
    """The server's complaint as one sentence for a person; None where it is a bug of ours."""
    state = getattr(cause, "sqlstate", None) or ""
    if state == "42P01":
        return DatabaseError(f"{where} is not a database of gpu-job-runner; run `runner db upgrade`.")
    if state in ("40001", "40P01", "55P03", "57014", "25P03"):
        return DatabaseError(f"The database at {where} was too busy, and nothing was changed; try again.")
    if state in ("42501", "25006"):
        return DatabaseError(f"This user lacks rights in the database at {where}; grant them.")
    if state.startswith("53"):
        return DatabaseError(f"The database at {where} is out of disk, memory or connections.")
    if state.startswith("28"):
        return DatabaseError(f"The database at {where} refuses this user; check RUNNER_DATABASE_URL.")
    if (
        is_cut_off(error)
        or state.startswith(("08", "57P"))
        or isinstance(error, OperationalError | InterfaceError)
    ):
        return DatabaseError(
            f"The database at {where} cannot be reached ({_last_words(cause)}); check RUNNER_DATABASE_URL."
        )
    return None


def is_cut_off(error: BaseException | None) -> bool:
    """Whether the connection ended, or was given up, before there was an answer."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def _last_words(cause: object) -> str:
    """The reason, out of the several lines that the driver has for it."""
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    line = next((line for line in lines if "FATAL" in line or "failed: " in line), lines[0] if lines else "")
    line = line.rpartition("failed: ")[2].removeprefix("FATAL:").strip().rstrip(".")
    return line[:200] or "no reason was given"
