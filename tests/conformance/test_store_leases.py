"""Leases: taken once, renewed while attended to, taken over when they run out, fenced for ever."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from jobs.models import Attempt, Job, Leader, Worker
from jobs.states import State
from jobs.store import attempts, doom, leases, logs
from jobs.store.database import Database
from jobs.store.logs import Append
from jobs.store.transitions import Stale
from tests.conformance.store_kit import Clock, World, submit

LEASE = leases.LEASE.total_seconds()


def test_a_job_is_taken_once(db: Database, clock: Clock) -> None:
    job_id = submit(db)
    lease = leases.take_job(db, job_id, "a")
    assert lease is not None
    assert leases.take_job(db, job_id, "b") is None
    assert leases.take_job(db, job_id, "a") is None
    leases.release_job(db, job_id, lease)
    again = leases.take_job(db, job_id, "b")
    assert again is not None
    assert again.fence > lease.fence
    leases.release_job(db, job_id, lease)  # a late release of the first holder frees nothing
    assert leases.take_job(db, job_id, "c") is None


def test_a_forgotten_job_is_free_again(db: Database, clock: Clock) -> None:
    """The thread that had it died, its process lives on: no heartbeat holds the job for ever."""
    job_id = submit(db)
    assert leases.take_job(db, job_id, "a") is not None
    for _ in range(13):
        clock.advance(5)
        leases.heartbeat(db, "a", [])
    assert leases.take_job(db, job_id, "a") is not None


def test_a_job_whose_time_has_not_come(world: World) -> None:
    from jobs.store import admission

    job_id = submit(world.db)
    lease = leases.take_job(world.db, job_id, world.owner)
    assert lease is not None
    admission.wait(
        world.db, job_id, lease, reason="no_capacity", detail="out of stock", pause=timedelta(seconds=10)
    )
    assert leases.take_job(world.db, job_id, world.owner) is None
    world.clock.advance(10)
    assert leases.take_job(world.db, job_id, world.owner) is not None


def test_one_of_many_threads_gets_it(db: Database) -> None:
    for _ in range(5):
        job_id = submit(db)
        gate = threading.Barrier(8)

        def take(owner: int, job_id: str = job_id, gate: threading.Barrier = gate) -> bool:
            gate.wait()
            return leases.take_job(db, job_id, str(owner)) is not None

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(take, range(8))) == 1


def test_a_booting_attempt_is_free_for_an_attendant(world: World) -> None:
    _, attempt_id = world.boot()
    assert world.take(attempt_id) is not None
    assert world.take(attempt_id, "other") is None


def test_a_lease_lives_while_it_is_renewed(world: World) -> None:
    _, attempt_id, lease = world.run()
    for _ in range(6):
        world.clock.advance(LEASE - 1)
        held = leases.heartbeat(world.db, world.owner, [attempt_id])
        assert [(item.attempt_id, item.fence, item.state) for item in held] == [
            (attempt_id, lease.fence, "running")
        ]
        assert world.take(attempt_id, "other") is None
    world.clock.advance(LEASE + 1)
    assert world.take(attempt_id, "other") is not None


def test_a_lease_that_nobody_attends_to_runs_out(world: World) -> None:
    """Its owner lives and says so, but the thread that had it could not give it back."""
    _, attempt_id, _ = world.run()
    for _ in range(4):
        world.clock.advance(5)
        leases.heartbeat(world.db, world.owner, [])
    assert world.take(attempt_id, "other") is not None


def test_a_lease_that_ran_out_and_nobody_took_is_renewed(world: World) -> None:
    """A minute without a database disturbs no running job."""
    _, attempt_id, lease = world.run()
    world.clock.advance(60)
    assert leases.heartbeat(world.db, world.owner, [attempt_id])[0].fence == lease.fence
    assert world.take(attempt_id, "other") is None
    attempts.note_unreachable(world.db, world.work(attempt_id), lease, None)


def test_a_former_holder_changes_nothing(world: World) -> None:
    job_id, attempt_id, lease = world.run()
    work = world.work(attempt_id)
    world.clock.advance(LEASE + 1)
    assert world.take(attempt_id, "other") is not None
    before = world.attempt(attempt_id)
    assert leases.heartbeat(world.db, world.owner, [attempt_id]) == []
    with pytest.raises(Stale):
        world.finish(attempt_id, lease)
    with pytest.raises(Stale):
        attempts.order_stop(world.db, work, lease, "max_runtime")
    with pytest.raises(Stale):
        attempts.note_unreachable(world.db, work, lease, world.clock.now)
    assert logs.append(world.db, [Append(attempt_id, lease.owner, lease.fence, 0, b"x", 1)]) == [False]
    leases.release_attempts(world.db, world.owner, [attempt_id])
    after = world.attempt(attempt_id)
    assert {c.name: getattr(before, c.name) for c in Attempt.__table__.columns} == {
        c.name: getattr(after, c.name) for c in Attempt.__table__.columns
    }
    assert world.show(job_id).state is State.RUNNING


def test_a_lease_that_came_back_to_the_same_owner_is_another_one(world: World) -> None:
    _, attempt_id, lease = world.run()
    leases.release_attempts(world.db, world.owner, [attempt_id])
    assert world.take(attempt_id) is not None
    with pytest.raises(Stale):
        world.finish(attempt_id, lease)


def test_giving_back_frees_at_once(world: World) -> None:
    _, first, _ = world.run()
    _, second, _ = world.run()
    leases.release_attempts(world.db, world.owner, [first])
    assert world.take(first, "other") is not None
    assert world.take(second, "other") is None
    leases.release_attempts(world.db, world.owner)
    assert world.take(second, "other") is not None
    assert world.take(first, "third") is None


def test_many_are_taken_at_once_but_no_more_than_there_is_room_for(world: World) -> None:
    """Commands that run have their seats."""
    running, booting = (sorted(kind()[1] for _ in range(3)) for kind in (world.run, world.boot))
    held = world.run()[1]
    leases.release_attempts(world.db, world.owner, running)
    everything = [*booting, *running, held, "no such attempt"]
    taken = leases.take_attempts(world.db, everything, "other", room=4)
    assert sorted(taken) == sorted([*running, booting[0]])
    assert all(world.attempt(id_).fence == lease.fence for id_, lease in taken.items())
    assert all(world.attempt(id_).lease_owner == "other" for id_ in taken)
    assert leases.take_attempts(world.db, everything, "other", room=0) == {}
    leases.release_attempts(world.db, "other")
    assert sorted(leases.take_attempts(world.db, everything, "third", room=0)) == running


def test_when_the_first_of_the_others_is_lost(world: World) -> None:
    """Who does not lead looks again at that moment."""
    assert leases.next_end(world.db, "other") is None
    assert leases.lead(world.db, world.owner) is not None
    _, attempt_id, _ = world.run()
    assert leases.next_end(world.db, world.owner) is None
    world.clock.advance(LEASE / 2)
    assert leases.next_end(world.db, "other") == LEASE / 2
    assert leases.lead(world.db, world.owner) is not None
    assert leases.next_end(world.db, "other") == LEASE / 2, "that of the attempt"
    world.clock.advance(LEASE)
    assert leases.next_end(world.db, "other") == -LEASE / 2
    leases.heartbeat(world.db, world.owner, [attempt_id])
    assert leases.lead(world.db, world.owner) is not None
    assert leases.next_end(world.db, "other") == LEASE


def test_what_has_ended_cannot_be_taken(world: World) -> None:
    _, attempt_id, lease = world.run()
    world.finish(attempt_id, lease)
    leases.release_attempts(world.db, world.owner)
    for _ in range(2):
        world.settle()
    assert world.attempt(attempt_id).state == "ended"
    assert world.take(attempt_id, "other") is None


def test_a_heartbeat_tells_of_a_cancel_and_the_deadline(world: World) -> None:
    from jobs.store import submissions

    job_id, attempt_id, _ = world.run()
    held = leases.held(world.db, world.owner)[0]
    assert (held.cancel_requested, held.deadline_cause) == (False, "max_runtime")
    assert held.deadline_at == world.clock.now + timedelta(seconds=3600)
    submissions.request_cancel(world.db, job_id)
    assert leases.held(world.db, world.owner)[0].cancel_requested
    assert leases.heartbeat(world.db, world.owner, [attempt_id])[0].cancel_requested


def test_the_dead_are_buried(world: World) -> None:
    """Who holds the service's lock knows that no former owner lives: nothing waits for a lease to run out."""
    _, attempt_id, lease = world.run()
    queued = submit(world.db)
    assert leases.take_job(world.db, queued, world.owner) is not None
    assert leases.lead(world.db, world.owner) is not None
    leases.bury_the_dead(world.db)
    assert world.take(attempt_id, "new") is not None
    assert leases.take_job(world.db, queued, "new") is not None
    assert leases.lead(world.db, "new") is not None
    assert leases.lead(world.db, world.owner) is None
    assert leases.workers(world.db) == []
    with pytest.raises(Stale):
        world.finish(attempt_id, lease)


def test_a_buried_lease_cannot_be_used_even_if_nobody_took_it(world: World) -> None:
    _, attempt_id, lease = world.run()
    leases.bury_the_dead(world.db)
    assert logs.append(world.db, [Append(attempt_id, lease.owner, lease.fence, 0, b"x", 1)]) == [False]
    with pytest.raises(Stale):
        world.finish(attempt_id, lease)


def test_a_terminate_of_the_dead_is_repeated_at_once(world: World) -> None:
    """Its machine costs money until somebody asks again."""
    _, attempt_id, lease = world.run()
    world.finish(attempt_id, lease)
    assert len(doom.due(world.db)) == 1
    assert doom.due(world.db) == []
    leases.bury_the_dead(world.db)
    assert len(doom.due(world.db)) == 1


def test_leaving_hands_everything_over(world: World) -> None:
    _, attempt_id, _ = world.run()
    assert leases.lead(world.db, world.owner) is not None
    leases.leave(world.db, world.owner)
    assert world.take(attempt_id, "other") is not None
    assert leases.lead(world.db, "other") is not None
    assert leases.workers(world.db) == []


# The lead


def test_one_leads(db: Database, clock: Clock) -> None:
    first = leases.lead(db, "a")
    assert first is not None
    assert leases.lead(db, "b") is None
    clock.advance(LEASE - 1)
    assert leases.lead(db, "a") == first
    clock.advance(LEASE - 1)
    assert leases.lead(db, "b") is None
    clock.advance(2)
    second = leases.lead(db, "b")
    assert second is not None
    assert second.fence > first.fence
    assert leases.lead(db, "a") is None


def test_a_renewal_in_good_time_writes_nothing(db: Database, clock: Clock) -> None:
    """On SQLite every write is news: a leader that wrote at each tick would wake itself for ever."""

    def until() -> datetime:
        with db.read() as session:
            found = session.execute(select(Leader.until)).scalar_one()
        assert found is not None
        return found

    leases.lead(db, "a")
    first = until()
    clock.advance(3)
    assert leases.lead(db, "a") is not None
    assert until() == first
    clock.advance(3)
    assert leases.lead(db, "a") is not None
    assert until() > first


def test_two_who_think_that_they_lead(world: World) -> None:
    job_id, attempt_id = world.boot()
    old = world.lead
    world.clock.advance(LEASE + 1)
    assert leases.lead(world.db, "other") is not None
    from jobs.store import ending, observing

    with pytest.raises(Stale):
        observing.proved_gone(world.db, old, world.instance(attempt_id).id, "404")
    world.clock.advance(900)
    assert ending.enforce(world.db, old) == 0
    assert world.show(job_id).state is State.BOOTING


def test_one_of_many_threads_leads(db: Database) -> None:
    gate = threading.Barrier(8)

    def lead(owner: int) -> bool:
        gate.wait()
        return leases.lead(db, str(owner)) is not None

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lead, range(8))) == 1


# Workers


def test_workers_are_seen_while_they_are_heard(db: Database, clock: Clock) -> None:
    leases.sign_on(db, "a", leases.Process("h", 7, "1"), 3)
    clock.advance(30)
    leases.sign_on(db, "b", leases.Process("h", 8, "1"), 4)
    assert [worker.id for worker in leases.workers(db)] == ["a", "b"]
    with db.read() as session:
        assert leases.seats(session, clock.now) == 7
    clock.advance(30)
    assert [worker.id for worker in leases.workers(db)] == ["b"]
    leases.heartbeat(db, "a", [])
    leases.note(db, "a", "the account cannot be listed")
    assert [worker.note for worker in leases.workers(db)] == ["the account cannot be listed", None]
    with db.read() as session:
        assert len(session.execute(select(Worker)).all()) == 2
        assert session.execute(select(Job)).first() is None


def test_a_clock_that_is_set_changes_no_lease(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall is read once, at the start; after that only time that has passed counts."""
    from datetime import UTC, datetime

    from jobs.store import database as module

    class Wall(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime(1999, 1, 1, tzinfo=UTC)

    before = db.clock()
    monkeypatch.setattr(module, "datetime", Wall)
    assert timedelta(0) <= db.clock() - before < timedelta(seconds=60)
