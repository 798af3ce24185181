"""`runner db upgrade`: create or migrate the database."""

from __future__ import annotations

from contextlib import closing

import typer

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
    with closing(Database(url)) as db:
        before, after = schema.bring_up(db)
    where = db.path or db.shown_url
    if before == after:
        output.note(f"{where} is up to date ({after})")
    else:
        output.note(f"{where}: {before or 'nothing'} -> {after}")
