"""Fixtures of the store's suites."""

from __future__ import annotations

import pytest

from jobs.store.database import Database
from tests.conformance.store_kit import Clock, World


@pytest.fixture
def clock(db: Database) -> Clock:
    """The database's time, in the test's hands."""
    return Clock(db)


@pytest.fixture
def world(db: Database, clock: Clock) -> World:
    """One worker, its database and its account."""
    return World(db, clock)
