"""What workers must have in common: who joins while others live, and has something else, is refused."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from jobs.migrations import CODE
from jobs.models import Agreement
from jobs.store import agreement, leases
from jobs.store.agreement import ARTIFACTS, SECRET_KEY, SSH_KEY, Disagreement
from jobs.store.database import Database
from jobs.store.leases import Process
from tests.conformance.store_kit import Clock, World

HAS = {SSH_KEY: ["ssh-ed25519 one"], SECRET_KEY: ["a"], ARTIFACTS: ["s3://one"]}


def _join(db: Database, owner: str, **changes: list[str]) -> None:
    agreement.join(db, owner, Process(f"host of {owner}", 1, "0"), 5, {**HAS, **changes})


@pytest.mark.parametrize("name", [SSH_KEY, SECRET_KEY, ARTIFACTS])
def test_one_thing_is_different(db: Database, clock: Clock, name: str) -> None:
    _join(db, "first")
    with pytest.raises(Disagreement, match=f"{name}.* on host of first") as caught:
        _join(db, "second", **{name: ["another-1"]})
    assert "another-1" not in str(caught.value)
    with pytest.raises(Disagreement, match=name):
        _join(db, "second", **{name: []})
    assert [worker.id for worker in leases.workers(db)] == ["first"]
    _join(db, "second")
    assert [worker.id for worker in leases.workers(db)] == ["first", "second"]


def test_who_is_dead_has_no_say(db: Database, clock: Clock) -> None:
    _join(db, "first")
    clock.advance(leases.WORKER_LOST.total_seconds() + 1)
    _join(db, "second", **{SSH_KEY: ["another-1"], ARTIFACTS: []})


def test_who_was_silent_comes_back_where_it_has_the_same(db: Database, clock: Clock) -> None:
    """An outage of the database silences everybody, and somebody joins before the others are heard again."""
    _join(db, "same")
    _join(db, "other")
    clock.advance(leases.WORKER_LOST.total_seconds() + 1)
    _join(db, "first back")
    assert [agreement.why_not(db, owner) for owner in ("same", "other", "first back")] == [None] * 3
    clock.advance(leases.WORKER_LOST.total_seconds() + 1)
    leases.leave(db, "same")
    _join(db, "with another key", **{SSH_KEY: ["another-1"]})
    assert agreement.why_not(db, "with another key") is None
    assert "has other settings" in str(agreement.why_not(db, "other"))


def test_machines_that_live_are_reached_with_the_key_that_rented_them(world: World) -> None:
    _join(world.db, "first")
    job_id, attempt_id, lease = world.run()
    leases.leave(world.db, "first")
    with pytest.raises(Disagreement, match=r"RUNNER_SSH_KEY.* rented the machines"):
        _join(world.db, "second", **{SSH_KEY: ["another-1"]})
    world.finish(attempt_id, lease)
    world.settle()
    assert world.show(job_id).final
    _join(world.db, "second", **{SSH_KEY: ["another-1"]})


def test_secret_keys_are_rotated_one_worker_at_a_time(db: Database, clock: Clock) -> None:
    for number, keys in enumerate((["a"], ["a", "b"], ["b", "a"], ["b"])):
        for worker in ("one", "two"):
            leases.leave(db, f"{worker} {number - 1}")
            _join(db, f"{worker} {number}", **{SECRET_KEY: keys})
    with pytest.raises(Disagreement):
        _join(db, "late", **{SECRET_KEY: ["a"]})


def test_a_key_that_the_others_cannot_read_is_not_encrypted_with(db: Database, clock: Clock) -> None:
    _join(db, "first")
    with pytest.raises(Disagreement, match=SECRET_KEY):
        _join(db, "second", **{SECRET_KEY: ["b", "a"]})


def test_code_that_is_too_old(db: Database, clock: Clock) -> None:
    _join(db, "first")
    assert agreement.why_not(db, "first") is None
    with db.write() as session:
        session.execute(update(Agreement).values(least_code=CODE + 1))
    assert "too old" in str(agreement.why_not(db, "first"))
    with pytest.raises(Disagreement, match="too old"):
        _join(db, "second")


def test_nothing_is_kept_in_clear(db: Database, clock: Clock) -> None:
    _join(db, "first")
    with db.read() as session:
        kept = str(session.get_one(Agreement, 1).prints)
    assert not any(text in kept for texts in HAS.values() for text in texts if len(text) > 1)
