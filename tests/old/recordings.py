"""Puts a recorded database where code of today finds it, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command

from jobs.store import schema
from jobs.store.database import Database

FOLDER = Path(__file__).parent
REVISIONS = sorted(path.stem for path in FOLDER.glob("*.sql"))


@dataclass(frozen=True)
class Recording:
    """``shown``: by its state, what `show --json` printed of the job; ``logs``: the bytes of `logs`."""

    revision: str
    dump: str
    shown: dict[str, dict[str, Any]]
    logs: dict[str, bytes]

    def put(self, database: Database) -> None:
        """Make the database in *database*, in which nothing is."""
        if database.path is not None:
            with closing(sqlite3.connect(database.path)) as connection:
                connection.executescript(self.dump)
            return
        # No PostgreSQL was recorded: the rows are the same, and the migrations of before make their tables.
        with closing(sqlite3.connect(":memory:")) as memory:
            memory.executescript(self.dump)
            source = sa.create_engine("sqlite://", creator=lambda: memory, poolclass=sa.StaticPool)
            with source.connect() as rows, database.engine.begin() as connection:
                _upgrade(connection, self.revision)
                _copy(rows, connection)


def load(revision: str) -> Recording:
    """The recording of one schema."""
    kept = json.loads((FOLDER / f"{revision}.json").read_text())
    return Recording(
        revision,
        (FOLDER / f"{revision}.sql").read_text(),
        kept["shown"],
        {which: log.encode("latin-1") for which, log in kept["logs"].items()},
    )


def _upgrade(connection: sa.Connection, revision: str) -> None:
    config = schema._config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _copy(rows: sa.Connection, connection: sa.Connection) -> None:
    source, target = sa.MetaData(), sa.MetaData()
    source.reflect(rows)
    target.reflect(connection)
    assert set(source.tables) == set(target.tables)
    for table in reversed(target.sorted_tables):
        connection.execute(table.delete())  # what the migrations themselves have written
    for table in target.sorted_tables:
        for row in rows.execute(source.tables[table.name].select()).mappings():
            values = {name: _value(value) for name, value in row.items()}
            connection.execute(table.insert().values(**values))
        for column in table.primary_key:
            if column.server_default is not None:  # PostgreSQL counts on from there
                numbers = sa.func.pg_get_serial_sequence(table.name, column.name)
                connection.execute(sa.select(sa.func.setval(numbers, sa.func.max(column))))


def _value(value: Any) -> Any:
    if value is None:
        return sa.null()  # and not the null of JSON
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
