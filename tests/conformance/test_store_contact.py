"""What shows that leases can be renewed: that our own heartbeats come through, and nothing else."""

from __future__ import annotations

from contextlib import closing

import pytest
from sqlalchemy import text

from jobs.errors import DatabaseError
from jobs.store import contact, leases, postgres, reads, submissions
from jobs.store.database import Database
from jobs.store.schema import open_database
from tests.conformance.store_kit import ON_POSTGRESQL

REFUSING = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '{}'; END$$;
CREATE TRIGGER refuse BEFORE UPDATE ON workers EXECUTE FUNCTION refuse()
"""


@ON_POSTGRESQL
@pytest.mark.parametrize("state", ["53100", "25006", "57014", "55P03", "25P03", None])
def test_that_it_can_be_read_is_no_sign_of_life(
    db: Database, monkeypatch: pytest.MonkeyPatch, state: str | None
) -> None:
    """Its disk is full, it may only read, a time is over; or (None) a write just hangs."""
    now = 1000.0
    monkeypatch.setattr(contact, "ticks", lambda: now)
    leases.sign_on(db, "we", leases.Process("here", 1, "0"), 1000)
    for _ in range(4):
        leases.heartbeat(db, "we", [])
        now += 5
    assert db.contact.seconds() == 20
    if state is not None:
        with db.engine.begin() as connection:
            connection.execute(text(REFUSING.format(state)))
    for _ in range(4):
        if state is not None:
            with pytest.raises(DatabaseError):
                leases.heartbeat(db, "we", [])
        assert reads.listing(db) == []
        now += 5
    assert db.contact.seconds() == 0
    if state is not None:
        with db.engine.begin() as connection:
            connection.execute(text("DROP FUNCTION refuse() CASCADE"))
    leases.heartbeat(db, "we", [])
    now += 5
    assert db.contact.seconds() == 5


@ON_POSTGRESQL
def test_a_turn_that_does_not_come_is_no_outage(
    database_url: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heartbeats go beside those who decide, so nobody's lease runs out, and the dead are taken over from."""
    now = 1000.0
    monkeypatch.setattr(contact, "ticks", lambda: now)
    monkeypatch.setattr(postgres, "SESSION_SETTINGS", {**postgres.SESSION_SETTINGS, "lock_timeout": "50ms"})
    with closing(open_database(database_url)) as impatient:
        leases.sign_on(impatient, "we", leases.Process("here", 1, "0"), 1000)
        with db.write():
            for _ in range(4):
                leases.heartbeat(impatient, "we", [])
                with pytest.raises(DatabaseError, match="too busy"):
                    submissions.request_cancel(impatient, "any")
                now += 5
        assert impatient.contact.seconds() == 20
