"""TLS to PostgreSQL and Redis, by the parameters that the documents name: a stranger is not trusted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jobs.errors import DatabaseError
from jobs.store import schema
from jobs.store.database import Database
from jobs.store.news import News
from tests.certificates import Certificate, make_certificate
from tests.servers import Postgres, Redis
from tests.tls import tls_before
from workers.doorbell import Doorbell

QUEUE = "test-tls"
"""Nobody listens there: a ring is refused or it is forgotten."""


@pytest.fixture
def ours(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path)


@pytest.fixture
def anothers(tmp_path: Path) -> Certificate:
    """A certificate for another address, by another authority."""
    return make_certificate(tmp_path, "127.0.0.2")


@pytest.fixture
def postgres_url(postgres: Postgres, migrated_template: str, ours: Certificate) -> Iterator[str]:
    name = postgres.create(migrated_template)
    with tls_before(postgres.port, ours.server(), "postgres") as port:
        yield postgres.url(name).replace(f":{postgres.port}/", f":{port}/")
    postgres.drop(name)


@pytest.fixture
def redis_url(redis: Redis, ours: Certificate) -> Iterator[str]:
    with tls_before(redis.port, ours.server(), "redis") as port:
        yield f"rediss://127.0.0.1:{port}/0"


def test_a_trusted_postgresql(postgres_url: str, ours: Certificate) -> None:
    """The pool's connections, and the one that listens."""
    url = f"{postgres_url}?sslmode=verify-full&sslrootcert={ours.certificate}"
    with closing(Database(url)) as db:
        schema.check(db)
        with News(db) as news:
            with db.write():
                pass
            assert news.wait(10)


def test_a_postgresql_that_is_not_trusted(postgres_url: str, anothers: Certificate) -> None:
    url = f"{postgres_url}?sslmode=verify-full&sslrootcert={anothers.certificate}"
    with (
        closing(Database(url)) as db,
        pytest.raises(DatabaseError, match="certificate verify failed"),
    ):
        schema.check(db)


def test_a_postgresql_that_is_not_the_one(
    postgres: Postgres, tmp_path: Path, anothers: Certificate, migrated_template: str
) -> None:
    """Its authority is trusted, but its certificate is for another address."""
    with tls_before(postgres.port, anothers.server(), "postgres") as port:
        url = postgres.url(migrated_template).replace(f":{postgres.port}/", f":{port}/")
        url += f"?sslmode=verify-full&sslrootcert={anothers.certificate}"
        with closing(Database(url)) as db, pytest.raises(DatabaseError, match="does not match"):
            schema.check(db)


def test_a_trusted_redis(redis_url: str, ours: Certificate) -> None:
    assert _ring(f"{redis_url}?ssl_cert_reqs=required&ssl_ca_certs={ours.certificate}") is None


def test_a_redis_that_is_not_trusted(redis_url: str, anothers: Certificate) -> None:
    why = _ring(f"{redis_url}?ssl_cert_reqs=required&ssl_ca_certs={anothers.certificate}")
    assert why is not None
    assert "certificate" in why


def test_a_redis_that_is_not_the_one(redis: Redis, anothers: Certificate) -> None:
    with tls_before(redis.port, anothers.server(), "redis") as port:
        url = f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=required&ssl_ca_certs={anothers.certificate}"
        why = _ring(url)
    assert why is not None
    assert "certificate" in why


def _ring(url: str) -> str | None:
    """What a doorbell at *url* has to say."""
    with closing(Doorbell(url, QUEUE)) as bell:
        return bell.ring(["job"])
