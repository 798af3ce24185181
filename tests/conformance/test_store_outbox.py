"""The outbox: what happened is told exactly where it happened, and never twice under two ids."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from jobs import meter
from jobs.models import Notification
from jobs.states import Event, State
from jobs.store import ending, leases, outbox, submissions
from jobs.store.transitions import Change, Guard, Lead, Person, Stale, move
from tests.conformance.store_kit import ROOM, World, submit

LEAK_AFTER = meter.LEAK_AFTER.total_seconds() + 1
PATIENCE = outbox.PATIENCE.total_seconds()


def _rows(world: World) -> list[Notification]:
    with world.db.read() as session:
        return list(session.execute(select(Notification).order_by(Notification.created_at)).scalars())


def _row(world: World) -> Notification:
    (row,) = _rows(world)
    return row


def _cancelled(world: World) -> str:
    job_id = submit(world.db)
    assert submissions.request_cancel(world.db, job_id) is State.CANCELLED
    return job_id


def _ended(world: World, cause: str, exit_code: int | None) -> str:
    job_id, attempt_id, lease = world.run()
    world.finish(attempt_id, lease, cause=cause, exit_code=exit_code)
    assert _rows(world) == [], "not before its machine is gone"
    for _ in range(2):
        world.settle()
    return job_id


def _doomed(world: World) -> str:
    """A machine that should go and does not; the name of it."""
    _, attempt_id, lease = world.run()
    world.finish(attempt_id, lease)
    return world.instance(attempt_id).name


def _move(
    world: World, event: Event, job_id: str, guard: Guard, reason: str, then: type[Exception] | None = None
) -> None:
    """Move a queued job, and perhaps have the transaction fail after that."""
    with world.db.write() as session:
        move(
            session,
            world.clock.now,
            event,
            job_id=job_id,
            state=State.QUEUED,
            attempt_id=None,
            guard=guard,
            change=Change(reason, "x"),
        )
        if then is not None:
            raise then


def _cannot_start(world: World) -> str:
    job_id = submit(world.db)
    world.heartbeat()
    lease = leases.take_job(world.db, job_id, world.owner)
    assert lease is not None
    _move(world, Event.CANNOT_START, job_id, lease, "deploy_failed")
    return job_id


@pytest.mark.parametrize(
    ("way", "state"),
    [
        (_cancelled, State.CANCELLED),
        (_cannot_start, State.FAILED),
        (lambda world: _ended(world, "exit_code", 0), State.SUCCEEDED),
        (lambda world: _ended(world, "exit_code", 1), State.FAILED),
        (lambda world: _ended(world, "lost", None), State.FAILED),
        (lambda world: _ended(world, "max_runtime", 143), State.EXPIRED),
        (lambda world: _ended(world, "max_cost", None), State.EXPIRED),
        (lambda world: _ended(world, "cancelled_by_user", 143), State.CANCELLED),
    ],
)
def test_a_final_state_leaves_one_row_whatever_way_it_came(world: World, way: object, state: State) -> None:
    job_id = way(world)  # type: ignore[operator]
    assert world.show(job_id).state is state
    row = _row(world)
    assert (row.event, row.job_id, row.instance_id, row.tries) == ("final", job_id, None, 0)
    assert row.created_at == row.next_at == world.show(job_id).finished_at
    submissions.request_cancel(world.db, job_id)
    world.settle()
    assert len(_rows(world)) == 1


def test_what_is_not_final_leaves_none(world: World) -> None:
    job_id, _ = world.boot()
    world.clock.advance(901)  # past its boot deadline
    for _ in range(2):
        world.settle()
    assert world.show(job_id).state is State.QUEUED, "it is tried again"
    assert _rows(world) == []


def test_a_move_that_is_rolled_back_leaves_none(world: World) -> None:
    job_id = submit(world.db)
    with pytest.raises(KeyError):
        _move(world, Event.CANCELLED, job_id, Person(), "cancelled_by_user", KeyError)
    assert world.show(job_id).state is State.QUEUED
    assert _rows(world) == []
    _move(world, Event.CANCELLED, job_id, Person(), "cancelled_by_user")
    assert _row(world).job_id == job_id


def test_the_database_refuses_a_second_row_of_the_same(world: World) -> None:
    job_id = _cancelled(world)

    def again() -> None:
        now = world.clock.now
        row = Notification(id="another", event="final", job_id=job_id, created_at=now, next_at=now)
        with world.db.write() as session:
            session.add(row)

    with pytest.raises(IntegrityError):
        again()


def test_a_leak_is_told_once_per_machine(world: World) -> None:
    name = _doomed(world)
    assert (ending.wanted(world.db, ROOM).leaks, outbox.leaks(world.db, world.lead)) == (False, 0)
    world.clock.advance(LEAK_AFTER)
    assert ending.wanted(world.db, ROOM).leaks
    assert outbox.leaks(world.db, world.lead) == 1
    assert (ending.wanted(world.db, ROOM).leaks, outbox.leaks(world.db, world.lead)) == (False, 0)
    taken = outbox.take(world.db)
    assert taken is not None
    assert (taken.event, taken.instance) == ("leak", name)
    assert world.show(taken.job_id or "").attempts[0].leak_suspected
    outbox.sent(world.db, taken)
    world.clock.advance(outbox.KEEP.total_seconds() + 60)
    assert outbox.purge(world.db, world.lead) == 0, "its row is what keeps it from being told again"
    assert outbox.leaks(world.db, world.lead) == 0
    world.account.clear()
    for _ in range(3):
        world.clock.advance(91)
        world.settle()
    world.clock.advance(outbox.KEEP.total_seconds() + 60)
    assert outbox.purge(world.db, world.lead) > 0


def test_a_leak_of_a_machine_that_belongs_to_no_job(world: World) -> None:
    world.appear(world.stranger())
    world.list()
    world.clock.advance(91)
    world.list()
    (machine,) = world.machines()
    assert (machine.state, machine.job_id) == ("doomed", None)
    world.clock.advance(LEAK_AFTER)
    assert outbox.leaks(world.db, world.lead) == 1
    taken = outbox.take(world.db)
    assert taken is not None
    assert (taken.event, taken.job_id, taken.instance) == ("leak", None, machine.name)


def test_only_who_leads_tells_of_leaks_and_settles(world: World) -> None:
    _cancelled(world)
    _doomed(world)
    world.clock.advance(LEAK_AFTER)
    world.clock.advance(outbox.ABSENCE.total_seconds())
    stale = replace(world.lead, fence=world.lead.fence - 1)
    for call in (outbox.leaks, outbox.give_up, outbox.purge):
        with pytest.raises(Stale):
            call(world.db, stale)
    with pytest.raises(Stale):
        outbox.leaks(world.db, Lead("other", world.lead.fence))
    assert [row.given_up_at for row in _rows(world)] == [None]


def test_what_is_due_is_taken_in_its_order_and_by_one(world: World) -> None:
    jobs = []
    for _ in range(3):
        jobs.append(_cancelled(world))
        world.clock.advance(1)
    assert ending.wanted(world.db, ROOM).notify
    taken = [outbox.take(world.db) for _ in range(4)]
    assert [item and item.job_id for item in taken] == [*jobs, None]
    assert not ending.wanted(world.db, ROOM).notify


def test_two_at_once_never_take_the_same(world: World) -> None:
    jobs = {_cancelled(world) for _ in range(20)}
    gate = threading.Barrier(4)

    def send() -> list[str | None]:
        gate.wait()
        found = []
        while (taken := outbox.take(world.db)) is not None:
            found.append(taken.job_id)
        return found

    with ThreadPoolExecutor(4) as pool:
        found = [item for future in [pool.submit(send) for _ in range(4)] for item in future.result()]
    assert sorted(map(str, found)) == sorted(jobs)


def test_a_sender_that_died_before_it_was_settled_repeats_under_the_same_id(world: World) -> None:
    _cancelled(world)
    first = outbox.take(world.db)  # sent, and then nothing more was heard of who sent it
    assert first is not None
    assert outbox.take(world.db) is None, "not while it may still be sending"
    world.clock.advance(outbox.SENDING.total_seconds())
    second = outbox.take(world.db)
    assert second == replace(first, tries=2)
    assert not outbox.failed(world.db, first, "too late")
    assert (_row(world).error, _row(world).tries) == (None, 2), "it has another sender"
    outbox.sent(world.db, first)
    assert _row(world).sent_at == world.clock.now, "but what was taken in was taken in"
    assert not outbox.failed(world.db, second, "not settled anew")
    assert _row(world).error is None


def test_what_fails_is_tried_again_later_and_later(world: World) -> None:
    _cancelled(world)
    pauses = []
    for tries in range(1, 15):
        taken = outbox.take(world.db)
        assert taken is not None
        assert taken.tries == tries
        assert not outbox.failed(world.db, taken, f"error {tries}")
        pauses.append((_row(world).next_at - world.clock.now).total_seconds())
        world.clock.advance(pauses[-1] - 0.001)
        assert outbox.take(world.db) is None
        world.clock.advance(0.001)
    for tries, pause in enumerate(pauses):
        least = min(5 * 2**tries, 3600)
        assert 0.75 * least <= pause <= 1.25 * least
    assert _row(world).error == "error 14"


def test_after_three_days_or_for_good_it_is_given_up(world: World) -> None:
    _cancelled(world)
    taken = outbox.take(world.db)
    assert taken is not None
    world.clock.advance(PATIENCE - 1)
    assert not outbox.failed(world.db, taken, "not yet")
    world.clock.advance(7)
    last = outbox.take(world.db)
    assert last is not None
    assert outbox.failed(world.db, last, "and that was it")
    row = _row(world)
    assert (row.given_up_at, row.sent_at, row.error) == (world.clock.now, None, "and that was it")
    world.clock.advance(PATIENCE)
    assert outbox.take(world.db) is None
    _cancelled(world)
    fresh = outbox.take(world.db)
    assert fresh is not None
    assert outbox.failed(world.db, fresh, "nobody wants it", for_good=True)


def test_without_an_address_all_is_settled(world: World) -> None:
    """One that is set later gets no old news."""
    for _ in range(3):
        _cancelled(world)
    taken = outbox.take(world.db)
    assert taken is not None
    outbox.failed(world.db, taken, "it was there before")
    if not world.db.sqlite:
        assert outbox.give_up(world.db, world.lead) == 0, "who has the address may just be away"
        world.clock.advance(outbox.ABSENCE.total_seconds())
    assert outbox.give_up(world.db, world.lead) == 3
    assert {row.error for row in _rows(world)} == {outbox.NO_URL, "it was there before"}
    world.clock.advance(60)
    assert outbox.take(world.db) is None
    assert outbox.give_up(world.db, world.lead) == 0


def test_the_backlog(world: World) -> None:
    assert outbox.backlog(world.db) == outbox.Backlog(0, None, 0, None)
    began = world.clock.now
    _cancelled(world)
    world.clock.advance(1)
    _cancelled(world)
    assert outbox.backlog(world.db) == outbox.Backlog(2, began, 0, None)
    taken = outbox.take(world.db)
    assert taken is not None
    outbox.failed(world.db, taken, "no connection")
    assert outbox.backlog(world.db) == outbox.Backlog(2, began, 0, "no connection")
    other = outbox.take(world.db)
    assert other is not None
    outbox.sent(world.db, other)
    world.clock.advance(7)
    again = outbox.take(world.db)
    assert again is not None
    outbox.failed(world.db, again, "gone", for_good=True)
    assert outbox.backlog(world.db) == outbox.Backlog(0, None, 1, "gone")


def test_what_was_settled_long_ago_is_forgotten(world: World) -> None:
    for _ in range(5):
        _cancelled(world)
    for _ in range(2):
        taken = outbox.take(world.db)
        assert taken is not None
        outbox.sent(world.db, taken)
    dead = outbox.take(world.db)
    assert dead is not None
    outbox.failed(world.db, dead, "x", for_good=True)
    world.clock.advance(outbox.KEEP.total_seconds())
    assert outbox.purge(world.db, world.lead) == 0
    world.clock.advance(1)
    assert outbox.purge(world.db, world.lead, limit=2) == 2
    assert outbox.purge(world.db, world.lead, limit=2) == 1
    assert [row.given_up_at or row.sent_at for row in _rows(world)] == [None, None], "what waits, waits"
