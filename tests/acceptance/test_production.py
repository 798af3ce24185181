"""What `docs/production.md` says of PostgreSQL's rights: they are enough, and they are no more than that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from runner.sim.config import SimConfig
from runner.sim.simulator import Simulator
from tests.acceptance.compose import ROOT
from tests.acceptance.harness import GPU, Installation, Workers
from tests.servers import Postgres, Redis

PAGE = (ROOT / "docs" / "production.md").read_text("utf-8")
OWNER, ROWS = "gpu_job_runner", "gpu_job_runner_rows"


@pytest.fixture
def database() -> Iterator[Postgres]:
    """A server of one's own: roles belong to all its databases."""
    server = Postgres()
    try:
        server.start()
        server.execute(f"CREATE ROLE {OWNER} LOGIN PASSWORD 'PASSWORD'")
        server.execute(f"CREATE DATABASE {OWNER} OWNER {OWNER}")
        server.execute(f"REVOKE ALL ON DATABASE {OWNER} FROM PUBLIC")
        yield server
    finally:
        server.close()


def _url(server: Postgres, role: str) -> str:
    url = make_url(server.url(OWNER)).set(username=role, password="PASSWORD")
    return url.render_as_string(hide_password=False)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("late", [False, True])
def test_the_rights_that_the_page_names_are_enough(
    database: Postgres, redis: Redis, tmp_path: Path, late: bool
) -> None:
    """One role makes the tables, another one works and submits, and can do nothing else to them.

    *late*: it is made when the tables are there.
    """
    first, then = re.findall(r"^```sql\n(.*?)^```", PAGE, re.M | re.S)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    with Simulator(SimConfig(boot_seconds=0.2)) as sim:
        owner = Installation(home, sim, {"RUNNER_DATABASE_URL": _url(database, OWNER)})
        if late:
            owner.ok("db", "upgrade")
        with psycopg.connect(database.url(OWNER), autocommit=True) as connection:
            for statement in filter(str.strip, (first + then * late).split(";")):
                connection.execute(statement)
        if not late:
            owner.ok("db", "upgrade")
        fleet = Workers(home, sim, _url(database, ROWS), redis.url())
        try:
            fleet.up()
            assert fleet.run("run", *GPU, "--", "exit 7").returncode == 7
            assert fleet.run("doctor").returncode == 0
            fleet.nothing_left()
        finally:
            fleet.close()
    with psycopg.connect(_url(database, ROWS), autocommit=True) as connection:
        for statement in ("DROP TABLE jobs", "CREATE TABLE mine (id int)", "TRUNCATE jobs"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
