"""`runner db upgrade`: create or migrate the database."""

from __future__ import annotations

from contextlib import closing

import typer

from jobs.errors import DatabaseError
from jobs.settings import Settings, load_settings
from jobs.store import schema
from jobs.store.database import Database
from runner.cli import output

app = typer.Typer(help="The database: create or migrate it.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """The database: create or migrate it."""


@app.command()
def upgrade() -> None:
    """Create the database, or bring it to what this version needs. Doing it twice changes nothing.

    Example: runner db upgrade
    """
    url = load_settings().database_url
    with closing(Database(url)) as db:
        before, after = schema.bring_up(db)
    where = db.path or db.shown_url
    if before == after:
        output.note(f"{where} is up to date ({after})")
    else:
        output.note(f"{where}: {before or 'nothing'} -> {after}")


def open_existing(settings: Settings) -> Database | None:
    """The database, where there is one: a command that can do without makes none.

    Raises DatabaseError, and InvalidSettings for an address that makes no sense.
    """
    db = Database(settings.database_url)
    db.close()
    try:
        if db.path is not None:
            db.path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        reason = (error.strerror or "it failed").lower()
        raise DatabaseError(f"{db.path} cannot be opened: {reason}; check RUNNER_HOME.") from None
    return schema.open_database(settings.database_url)
