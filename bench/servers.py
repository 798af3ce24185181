"""PostgreSQL and Redis for a bench, as a person would have them: what is committed is on the disk."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.environ import clean_environ
from tests.servers import Postgres, Redis

ITS_OWN = {"autovacuum": "on", "shared_buffers": "128MB"}
"""PostgreSQL's own defaults, where the tests have others; ``fsync`` is on, as it is by default."""
UPGRADE_SECONDS = 60.0


@contextmanager
def servers() -> Iterator[tuple[Postgres, Redis]]:
    """Both, each in a folder of its own that goes with it."""
    with ExitStack() as stack:
        postgres = Postgres(ITS_OWN)
        stack.callback(postgres.close)
        postgres.start()
        redis = Redis()
        stack.callback(redis.close)
        redis.start()
        yield postgres, redis


def database(postgres: Postgres) -> str:
    """The address of a new database with our tables in it."""
    url = postgres.url(postgres.create())
    words = [sys.executable, "-P", "-m", "runner", "db", "upgrade"]
    environ = {**clean_environ(), "RUNNER_DATABASE_URL": url}
    subprocess.run(words, env=environ, check=True, capture_output=True, timeout=UPGRADE_SECONDS)
    return url
