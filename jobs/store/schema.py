"""Creating and migrating the database, under a lock, by whichever command comes first (SQLite)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from sqlalchemy import Connection, func, inspect, select, text
from sqlalchemy.orm import Session

from jobs import ids
from jobs.errors import DatabaseError
from jobs.migrations import CODE, HEAD
from jobs.models import Agreement, Installation, Leader, Ticket
from jobs.store.database import Database, ensure_folder

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
LOCK_SECONDS = 60
LOCK_KEY = 0x6770756A6F62
"""The advisory lock under which PostgreSQL is migrated."""


def open_database(url: str, *, migrate: bool = True) -> Database:
    """Open the database at *url*; on SQLite create or migrate it first where that is needed.

    Raises InvalidSettings for an address that makes no sense and DatabaseError for a database that
    cannot be opened, is newer than this code, or belongs to something else.
    """
    database = Database(url)
    try:
        with database.explained():
            if database.sqlite and migrate:
                _ready_sqlite(database)
            else:
                if database.path is not None and _size(database.path) is None:
                    raise DatabaseError(f"There is no database at {database.path}; run `runner db upgrade`.")
                check(database)
    except BaseException:
        database.close()
        raise
    return database


def upgrade(database: Database) -> tuple[str | None, str]:
    """Create or migrate the database, all or nothing. Returns the revisions before and after.

    One that newer code has migrated, and that this code can work with, is left as it is.
    """
    from alembic import command  # loaded only where there is something to migrate

    config = _config()
    with database.patiently(), database.engine.connect() as connection:
        if database.sqlite:
            # Tables that others refer to are rebuilt by some steps; this cannot be said inside a transaction.
            _pragma(connection, "foreign_keys=OFF")
        try:
            with connection.execution_options(begin="BEGIN IMMEDIATE").begin():
                if not database.sqlite:
                    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
                    connection.execute(text("SET LOCAL statement_timeout = 0"))
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
                before = _revision(connection)
                if before is not None and _serves(connection, before):
                    return before, before
                _refuse_strangers(database, connection, before)
                if before != HEAD:
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")
                with Session(connection, join_transaction_mode="create_savepoint") as session:
                    _first_rows(database, session)
                    session.commit()
        finally:
            if database.sqlite:
                _pragma(connection, "foreign_keys=ON")
    return before, HEAD


def bring_up(database: Database) -> tuple[str | None, str]:
    """What `runner db upgrade` does. Returns the revisions before and after. Raises DatabaseError."""
    if database.path is None:
        with database.explained():
            return upgrade(database)
    before = None if _size(database.path) is None else revision(database)
    _ready_sqlite(database)
    return before, revision(database) or HEAD


def revision(database: Database) -> str | None:
    """The revision that the database is at; None where it holds no tables of ours. Raises DatabaseError."""
    with database.explained(), database.engine.connect() as connection:
        return _revision(connection)


def check(database: Database) -> None:
    """Raise DatabaseError unless this code can work with the database as it is."""
    with database.explained(), database.engine.connect() as connection:
        found = _revision(connection)
        if _serves(connection, found):
            return
        _refuse_strangers(database, connection, found)
    raise DatabaseError(f"{database.path or database.shown_url} is not up to date; run `runner db upgrade`.")


def installation_id(session: Session) -> str:
    """The six characters that every name of ours carries."""
    return session.execute(select(Installation.installation_id)).scalar_one()


def _ready_sqlite(database: Database) -> None:
    path = database.path
    if path is None:
        raise ValueError("only a file can be made ready")
    ensure_folder(path.parent)
    # The usual case takes no lock. An empty file is being made by somebody else at this moment.
    if _size(path) and _is_ready(database):
        return
    lock = FileLock(f"{path}.migrate.lock", timeout=LOCK_SECONDS, mode=0o600)
    try:
        with lock:
            if _size(path) is None:
                path.touch(mode=0o600)  # before SQLite would make it readable for all
            if not _size(path) or not _is_ready(database):
                upgrade(database)
    except Timeout:
        raise DatabaseError(
            f"Another process has been migrating {path} for {LOCK_SECONDS} s; wait for it, or end it."
        ) from None
    except OSError as error:
        reason = (error.strerror or "it failed").lower()
        raise DatabaseError(f"{path} cannot be made or migrated: {reason}; check RUNNER_HOME.") from None


def _size(path: Path) -> int | None:
    """The file's size in bytes; None where there is none. Raises DatabaseError where it is hidden from us."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = (error.strerror or "it failed").lower()
        raise DatabaseError(f"{path} cannot be opened: {reason}; check RUNNER_HOME.") from None


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def _is_ready(database: Database) -> bool:
    with database.explained(), database.engine.connect() as connection:
        return _serves(connection, _revision(connection))


def _serves(connection: Connection, found: str | None) -> bool:
    """Whether this code can work with a database at this revision: its own, or a newer one that allows it.

    A migration only adds to what the code of before knows; one that cannot says so in ``least_code``.
    """
    if found == HEAD:
        return True
    if found is None or found in _known_revisions() or not inspect(connection).has_table("agreement"):
        return False
    least = connection.execute(select(Agreement.least_code)).scalar()
    return least is not None and least <= CODE


def _refuse_strangers(database: Database, connection: Connection, found: str | None) -> None:
    where = database.path or database.shown_url
    if found in _known_revisions():
        return
    tables = set(inspect(connection).get_table_names())
    if found is not None and {"jobs", "attempts", "instances"} <= tables:
        raise DatabaseError(f"{where} was written by a newer version of gpu-job-runner; install that one.")
    if strange := sorted(tables - {"alembic_version"}):
        raise DatabaseError(f"{where} belongs to something else (it has a table {strange[0]!r}).")
    if found is not None:
        raise DatabaseError(f"{where} belongs to something else (its revision is {found!r}).")


def _pragma(connection: Connection, pragma: str) -> None:
    raw = connection.connection.dbapi_connection
    if raw is None:
        raise ValueError("the connection is closed")
    raw.cursor().execute(f"PRAGMA {pragma}").close()


def _known_revisions() -> set[str]:
    return {path.name.split("_", 1)[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py")}


def _first_rows(database: Database, session: Session) -> None:
    if session.execute(select(func.count()).select_from(Installation)).scalar_one():
        return
    now = database.now(session)
    session.add(Installation(id=1, installation_id=ids.new_installation_id(), created_at=now))
    session.add(Leader(id=1, fence=0))
    session.add(Ticket(id=1, next_at=now))


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
