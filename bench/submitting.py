"""How fast jobs are queued from Python, beside plain inserts into SQLite that sync the disk as well."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from bench.house import GPU, house
from bench.table import Row
from jobs.spec import JobSpec

SINGLE_SECONDS = 3.0
ROUNDS = 3
MANY = 1000
BIAS_SINGLE = (
    "No service is running, so nobody else writes. The plain side writes one row in one statement and checks "
    "nothing; ours reads runner.toml and the inventory, writes job and event, and reads the job back."
)
BIAS_MANY = "As above; one transaction on both sides, so this is mostly the work of Python on 1,000 jobs."


def measure() -> Iterator[Row]:
    """Both, in turns, so that a noisy moment hits both sides."""
    with house(serve=False) as place, closing(_plain(place.folder / "plain.db")) as plain:
        spec: JobSpec = {"command": "python train.py", "gpu": GPU, "max_cost": 5, "env": {"SEED": "1"}}
        place.client.submit_many([spec])
        ours = theirs = 0
        for _ in range(ROUNDS):
            end = time.monotonic() + SINGLE_SECONDS / ROUNDS
            while time.monotonic() < end:
                place.client.submit_many([spec])
                ours += 1
            end = time.monotonic() + SINGLE_SECONDS / ROUNDS
            while time.monotonic() < end:
                _insert(plain, 1)
                theirs += 1
        yield Row(
            "submit, one at a time",
            f"{ours / SINGLE_SECONDS:,.0f} jobs/s",
            f"{ours / theirs:.2f} of plain sqlite3, synchronous=FULL ({theirs / SINGLE_SECONDS:,.0f}/s)",
            BIAS_SINGLE,
        )
        many, inserts = [], []
        for _ in range(ROUNDS):
            began = time.monotonic()
            place.client.submit_many([spec] * MANY)
            many.append(time.monotonic() - began)
            began = time.monotonic()
            _insert(plain, MANY)
            inserts.append(time.monotonic() - began)
        yield Row(
            f"submit_many of {MANY:,}",
            f"{MANY / min(many):,.0f} jobs/s ({min(many):.2f} s)",
            f"{min(inserts) / min(many):.2f} of plain sqlite3 executemany ({MANY / min(inserts):,.0f}/s)",
            BIAS_MANY + f" Best of {ROUNDS}.",
        )


def _plain(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, name TEXT, state TEXT, spec TEXT)")
    return connection


def _insert(connection: sqlite3.Connection, count: int) -> None:
    text = json.dumps({"command": "python train.py", "gpu": GPU, "max_cost": 5, "env": {"SEED": "1"}})
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(
        "INSERT INTO jobs (name, state, spec) VALUES (?, ?, ?)", [(None, "queued", text)] * count
    )
    connection.execute("COMMIT")
