"""`runner db upgrade`: create or migrate the database."""

from __future__ import annotations

import typer

from jobs.migrations import HEAD
from jobs.settings import load_settings
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
    db = Database(url)
    try:
        before = None if db.path is not None and not db.path.exists() else schema.revision(db)
    finally:
        db.close()
    schema.open_database(url).close()
    where = db.path or db.shown_url
    if before == HEAD:
        output.note(f"{where} is up to date ({HEAD})")
    else:
        output.note(f"{where}: {before or 'nothing'} -> {HEAD}")
