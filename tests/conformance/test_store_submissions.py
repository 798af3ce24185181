"""Submitting, finding and cancelling."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.exc import IntegrityError

from jobs import ids
from jobs.errors import AmbiguousJob, InvalidJob, JobNotFound
from jobs.models import Job
from jobs.states import State
from jobs.store import admission, leases, reads, submissions
from jobs.store.admission import Admitted
from jobs.store.database import Database
from jobs.store.transitions import Stale
from tests.conformance.store_kit import ROOM, World, count_events, python, spec, submit


def test_what_is_submitted_is_shown(db: Database) -> None:
    job = spec(
        ("echo", "a b", "ü\n'"),
        name="training run",
        env={"A": "1", "EMPTY": ""},
        max_cost=1_230_000,
        max_runtime=90,
        key="k",
    )
    view = reads.show(db, submissions.submit(db, [job])[0].id)
    assert view.command == ("echo", "a b", "ü\n'")
    assert (view.name, view.state, view.reason, view.detail) == ("training run", State.QUEUED, None, None)
    assert (view.max_cost, view.max_runtime, view.cost, view.attempts) == (1_230_000, 90, 0, ())
    assert view.submitted_at.tzinfo is not None
    assert not view.final
    assert [event.event for event in reads.history(db, view.id)] == ["submitted"]


def test_a_shell_line_stays_one(db: Database) -> None:
    assert reads.show(db, submit(db, command="a && b")).command == "a && b"


def test_a_surrogate_and_a_large_command_come_back(db: Database) -> None:
    command = "x" * 262_000 + "\udcff\U0001f600"
    assert reads.show(db, submit(db, command=command)).command == command


def test_a_key_twice_is_one_job(db: Database) -> None:
    first = submissions.submit(db, [spec(key="nightly")])[0]
    second = submissions.submit(db, [spec(key="nightly", max_cost=1)])[0]
    assert (first.existed, second.existed) == (False, True)
    assert first.id == second.id
    assert count_events(db, first.id) == 1


def test_a_key_twice_in_one_call_is_one_job(db: Database) -> None:
    done = submissions.submit(db, [spec(key="a"), spec(), spec(key="a")])
    assert [item.existed for item in done] == [False, False, True]
    assert done[0].id == done[2].id
    assert len(reads.listing(db)) == 2


@pytest.mark.parametrize("changes", [{"command": "other"}, {"products": ("b",)}, {"env": {"A": "1"}}])
def test_a_key_of_something_else_queues_nothing(db: Database, changes: dict[str, object]) -> None:
    job_id = submit(db, key="nightly")
    with pytest.raises(InvalidJob, match=job_id):
        submissions.submit(db, [spec(), spec(key="nightly", **changes), spec()])
    assert [job.id for job in reads.listing(db)] == [job_id]


def test_many_at_once_keep_their_order(db: Database) -> None:
    done = submissions.submit(db, [spec(f"echo {n}") for n in range(1200)])
    listed = reads.listing(db)
    assert [job.id for job in reversed(listed)] == [item.id for item in done]
    assert len({item.id for item in done}) == 1200


def test_thousands_of_keys(db: Database) -> None:
    many = [spec(key=f"k{n}") for n in range(3000)]
    first, again = submissions.submit(db, many), submissions.submit(db, many)
    assert [item.id for item in first] == [item.id for item in again]
    assert all(item.existed for item in again)


def test_none_where_one_cannot_be(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = submit(db)
    names = iter([ids.new_job_id(), taken] * 3)
    monkeypatch.setattr(ids, "new_job_id", lambda: next(names))
    with pytest.raises(IntegrityError):
        submissions.submit(db, [spec(), spec()])
    assert [job.id for job in reads.listing(db)] == [taken]


def test_nothing_is_fine(db: Database) -> None:
    assert submissions.submit(db, []) == []


def test_one_key_from_many_processes(database_url: str, db: Database) -> None:
    code = """
import sys
from jobs.store import submissions
from jobs.store.schema import open_database
from tests.conformance.store_kit import spec
database = open_database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print([item.id for item in submissions.submit(database, [spec(key=f"k{n}") for n in range(20)])])
database.close()
"""
    children = [python(code, database_url) for _ in range(4)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    answers = {child.communicate(timeout=60) for child in children}
    assert len(answers) == 1
    assert next(iter(answers))[1] == ""
    assert len(reads.listing(db)) == 20


# Finding


def _named(db: Database, monkeypatch: pytest.MonkeyPatch, job_id: str, name: str | None = None) -> str:
    with monkeypatch.context() as patch:
        patch.setattr(ids, "new_job_id", lambda: job_id)
        return submit(db, name=name)


def test_an_id_comes_before_a_name_and_a_name_before_a_prefix(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _named(db, monkeypatch, "aaaaaaaaaaaa")
    second = _named(db, monkeypatch, "abbbbbbbbbbb", name="aaaaaaaaaaaa")
    third = _named(db, monkeypatch, "cccccccccccc", name="a")
    assert reads.find(db, "aaaaaaaaaaaa") == first
    assert reads.find(db, "a") == third
    assert reads.find(db, "ab") == second


def test_the_newest_of_a_name(db: Database) -> None:
    submit(db, name="train")
    newest = submit(db, name="train")
    submit(db, name="train 2")
    assert reads.find(db, "train") == newest


def test_a_prefix_that_several_share(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for last in "bcdz":
        _named(db, monkeypatch, f"q00000000aa{last}")
    with pytest.raises(AmbiguousJob, match="q00000000aab, q00000000aac, q00000000aad and others"):
        reads.find(db, "q0")
    with pytest.raises(AmbiguousJob):
        reads.find(db, "q00000000aa")
    assert reads.find(db, "q00000000aaz") == "q00000000aaz"


@pytest.mark.parametrize("last", ["0", "9", "a", "z"])
def test_every_prefix_finds_its_job(db: Database, monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    job_id = _named(db, monkeypatch, f"k3z0{last * 8}")
    _named(db, monkeypatch, "zzzzzzzzzzzz")
    _named(db, monkeypatch, "000000000000")
    for length in range(1, 13):
        assert reads.find(db, job_id[:length]) == job_id


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "%",
        "_",
        "a%",
        "____________",
        "AAAAAAAAAAAA",
        "A",
        "a' OR '1'='1",
        "ä",
        "\x00",
        "a" * 5000,
        "a b",
        "*",
    ],
)
def test_odd_references_find_nothing(db: Database, monkeypatch: pytest.MonkeyPatch, reference: str) -> None:
    _named(db, monkeypatch, "aaaaaaaaaaaa")
    with pytest.raises(JobNotFound):
        reads.find(db, reference)


@pytest.mark.parametrize("name", ["%", "_", "a%b", "100 % 'quoted' \\", "ünïcode 🚀"])
def test_odd_names_are_exact(db: Database, name: str) -> None:
    submit(db, name="a")
    job_id = submit(db, name=name)
    submit(db, name="axb")
    assert reads.find(db, name) == job_id


def test_listing_by_state_and_number(world: World) -> None:
    first, second, third = (submit(world.db) for _ in range(3))
    submissions.request_cancel(world.db, second)
    assert [job.id for job in reads.listing(world.db)] == [third, second, first]
    assert [job.id for job in reads.listing(world.db, limit=2)] == [third, second]
    assert [job.id for job in reads.listing(world.db, states=[State.CANCELLED])] == [second]
    assert reads.listing(world.db, states=[]) == []
    assert reads.counts(world.db) == {State.QUEUED: 2, State.CANCELLED: 1}
    assert reads.unfinished(world.db) == 2


# Cancelling


def test_a_queued_job_ends_at_once(db: Database) -> None:
    job_id = submit(db)
    assert submissions.request_cancel(db, job_id) is State.CANCELLED
    assert submissions.request_cancel(db, job_id) is State.CANCELLED
    view = reads.show(db, job_id)
    assert (view.state, view.reason) == (State.CANCELLED, "cancelled_by_user")
    assert view.finished_at is not None
    assert count_events(db, job_id) == 2


def test_cancel_of_what_is_not_there(db: Database) -> None:
    with pytest.raises(JobNotFound):
        submissions.request_cancel(db, "nobody")


def test_cancel_of_a_job_with_a_machine_is_a_request(world: World) -> None:
    job_id, _ = world.boot()
    requested = world.clock.now
    assert submissions.request_cancel(world.db, job_id) is State.BOOTING
    world.clock.advance(5)
    assert submissions.request_cancel(world.db, job_id) is State.BOOTING
    with world.db.read() as session:
        job = session.get(Job, 1)
        assert job is not None
        assert job.cancel_requested_at == requested
    assert world.show(job_id).cancel_requested
    assert count_events(world.db, job_id) == 3


def test_a_cancel_stops_admission(world: World) -> None:
    job_id = submit(world.db)
    lease = leases.take_job(world.db, job_id, world.owner)
    assert lease is not None
    assert submissions.request_cancel(world.db, job_id) is State.CANCELLED
    with pytest.raises(Stale):
        admission.admit(world.db, job_id, lease, world.plan(), ROOM)
    with pytest.raises(Stale):
        admission.refuse(world.db, job_id, lease, submissions.Event.CANNOT_START, "deploy_failed", "x")
    assert world.machines() == []


def test_cancel_against_admission(world: World) -> None:
    """Whoever comes first, a cancelled job has no machine, and one with a machine knows of the cancel."""
    db = world.db
    outcomes = set()
    with ThreadPoolExecutor(2) as pool:
        for _ in range(40):
            job_id = submit(db)
            lease = leases.take_job(db, job_id, world.owner)
            assert lease is not None
            gate = threading.Barrier(2)

            def admit(job_id: str = job_id, lease: object = lease, gate: threading.Barrier = gate) -> str:
                gate.wait()
                try:
                    admitted = admission.admit(db, job_id, lease, world.plan(), ROOM)  # type: ignore[arg-type]
                except Stale:
                    return "stale"
                assert isinstance(admitted, Admitted)
                return "admitted"

            def cancel(job_id: str = job_id, gate: threading.Barrier = gate) -> State:
                gate.wait()
                return submissions.request_cancel(db, job_id)

            admitting, cancelling = pool.submit(admit), pool.submit(cancel)
            outcome = (admitting.result(), cancelling.result())
            outcomes.add(outcome)
            view = world.show(job_id)
            if outcome[0] == "admitted":
                assert view.state is State.DEPLOYING
                assert view.cancel_requested
            else:
                assert view.state is State.CANCELLED
                assert view.attempts == ()
    assert outcomes <= {("admitted", State.DEPLOYING), ("stale", State.CANCELLED)}


def test_a_job_back_in_the_queue_is_cancelled_without_waiting(world: World) -> None:

    from jobs.states import Event
    from jobs.store import ending

    job_id, attempt_id, lease = world.order()
    assert submissions.request_cancel(world.db, job_id) is State.DEPLOYING
    world.void(attempt_id, lease, pause=3600)
    assert world.show(job_id).state is State.QUEUED
    assert ending.wanted(world.db, ROOM).admit == [job_id]
    again = leases.take_job(world.db, job_id, world.owner)
    assert again is not None
    admission.refuse(world.db, job_id, again, Event.CANCELLED, "cancelled_by_user", "cancelled")
    assert world.show(job_id).state is State.CANCELLED


def test_a_submitter_whose_clock_is_ahead(world: World) -> None:
    """On SQLite each process has a clock of its own: a job is not put off because of that."""
    from jobs.store import ending

    world.clock.advance(3600)
    job_id = submit(world.db)
    world.clock.advance(-3600)
    assert ending.wanted(world.db, ROOM).admit == [job_id]
    assert leases.take_job(world.db, job_id, world.owner) is not None
