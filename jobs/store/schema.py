"""Creating and migrating the database, under a lock, by whichever command comes first (SQLite)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from sqlalchemy import func, inspect, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from jobs import ids
from jobs.errors import DatabaseError
from jobs.migrations import HEAD
from jobs.models import Installation, Leader, Ticket
from jobs.store.database import Database, ensure_folder, explain

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
LOCK_SECONDS = 60


def open_database(url: str, *, migrate: bool = True) -> Database:
    """Open the database at *url*; on SQLite create or migrate it first where that is needed.

    Raises InvalidSettings for an address that makes no sense and DatabaseError for a database that
    cannot be opened, is newer than this code, or belongs to something else.
    """
    database = Database(url)
    try:
        if database.sqlite and migrate:
            _ready_sqlite(database)
        else:
            check(database)
    except DBAPIError as error:
        database.close()
        raise (explain(error, database) or error) from None
    except BaseException:
        database.close()
        raise
    return database


def upgrade(database: Database) -> tuple[str | None, str]:
    """Create or migrate the database. Returns the revisions before and after."""
    from alembic import command  # loaded only where there is something to migrate

    before = revision(database)
    _refuse_strangers(database, before)
    config = _config()
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    with database.write() as session:
        _first_rows(database, session)
    return before, HEAD


def revision(database: Database) -> str | None:
    """The revision that the database is at; None where it holds no tables of ours."""
    with database.engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return found


def check(database: Database) -> None:
    """Raise DatabaseError unless the database is at the revision of this code."""
    found = revision(database)
    _refuse_strangers(database, found)
    if found != HEAD:
        raise DatabaseError(
            f"{database.path or database.shown_url} is not up to date; run `runner db upgrade`."
        )


def installation_id(session: Session) -> str:
    """The six characters that every name of ours carries."""
    return session.execute(select(Installation.installation_id)).scalar_one()


def _ready_sqlite(database: Database) -> None:
    assert database.path is not None
    ensure_folder(database.path.parent)
    existed = database.path.exists()
    if existed and revision(database) == HEAD:
        return  # the usual case takes no lock
    lock = FileLock(f"{database.path}.migrate.lock", timeout=LOCK_SECONDS, mode=0o600)
    try:
        with lock:
            if not existed:
                database.path.touch(mode=0o600)  # before SQLite would make it readable for all
            if revision(database) != HEAD:
                upgrade(database)
    except Timeout:
        raise DatabaseError(
            f"Another process has been migrating {database.path} for {LOCK_SECONDS} s; wait for it, or end it."
        ) from None
    except OSError as error:
        reason = (error.strerror or "it failed").lower()
        raise DatabaseError(
            f"{database.path} cannot be made or migrated: {reason}; check RUNNER_HOME."
        ) from None


def _refuse_strangers(database: Database, found: str | None) -> None:
    where = database.path or database.shown_url
    if found is None:
        strange = set(inspect(database.engine).get_table_names()) - {"alembic_version"}
        if strange:
            raise DatabaseError(f"{where} belongs to something else (it has a table {sorted(strange)[0]!r}).")
        return
    if found not in _known_revisions():
        raise DatabaseError(f"{where} was written by a newer version of gpu-job-runner; install that one.")


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
