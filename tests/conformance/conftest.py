"""Fixtures of the store's suites."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.store.database import Database
from tests.conformance.store_kit import Clock, World
from tests.conformance.uploads_kit import Store


@pytest.fixture
def clock(db: Database) -> Clock:
    """The database's time, in the test's hands."""
    return Clock(db)


@pytest.fixture
def world(db: Database, clock: Clock) -> World:
    """One worker, its database and its account."""
    return World(db, clock)


@pytest.fixture
def store(world: World, tmp_path: Path) -> Store:
    """An artifact store beside that database."""
    return Store(world, tmp_path)
