"""The audit of `bench.chaos` can find something: each kind of damage, done on purpose."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from bench.audit import Done, Promise, audit
from jobs.models import Attempt, Instance
from jobs.states import State
from jobs.store import logs
from jobs.store.logs import Append
from jobs.store.sightings import GIVEN_UP, SEEN_AGAIN
from runner.sim.ledger import Charge, Ledger
from tests.conformance.store_kit import World, submit
from workers.steps.run import DIFFERS

SECOND = timedelta(seconds=1)
PROMISE = Promise(lines=2, code=0)
"""What a job of these tests writes, and how it exits."""
UNTOUCHED = Done()


class Books:
    """One job that ran to its end, its machine's charge, and its marks; as it should be."""

    def __init__(self, world: World, marks: Path) -> None:
        self.world, self.marks = world, marks
        self.job_id = submit(world.db)
        _, self.attempt_id, lease = world.run(self.job_id)
        log = PROMISE.log(1)
        piece = Append(self.attempt_id, lease.owner, lease.fence, 0, log, len(log))
        assert logs.append(world.db, [piece]) == [True]
        self.mark("started", "ended")
        world.clock.advance(30)
        world.finish(self.attempt_id, lease, log_end="sealed")
        for _ in range(2):
            world.settle()
        attempt = world.show(self.job_id).attempts[0]
        assert attempt.instance_uuid is not None
        now = world.clock.now
        self.charge = Charge(
            attempt.instance_uuid, attempt.instance_name, "p", 1, now - SECOND, now, attempt.minutes
        )

    def mark(self, *words: str) -> None:
        (self.marks / f"{self.job_id}.1").write_text("\n".join(words))

    def change(self, table: type, **values: object) -> None:
        """As if a process without one of the protections had written that."""
        with self.world.db.write() as session:
            session.execute(update(table).values(**values))

    def found(self, *charges: Charge, promise: Promise = PROMISE, done: Done = UNTOUCHED) -> list[str]:
        ledger = Ledger(charges or (self.charge,))
        findings = audit(self.world.db, {self.job_id: promise}, ledger, self.marks, done)
        return [item.kind for item in findings]


@pytest.fixture
def books(world: World, tmp_path: Path) -> Books:
    (tmp_path / "marks").mkdir()
    return Books(world, tmp_path / "marks")


def test_what_is_as_it_should_be_is_no_finding(books: Books) -> None:
    assert books.world.show(books.job_id).state is State.SUCCEEDED
    assert books.found() == []


def test_a_machine_that_is_still_rented(books: Books) -> None:
    assert books.found(replace(books.charge, ended=None)) == ["taken for gone", "leak"]


def test_a_machine_that_was_called_gone_too_early(books: Books) -> None:
    assert books.found(replace(books.charge, ended=books.charge.started + 90 * SECOND)) == ["taken for gone"]


@pytest.mark.parametrize(("why", "kind"), [(SEEN_AGAIN, "taken for alive"), (GIVEN_UP, "given up")])
def test_a_machine_that_was_believed_to_be_what_it_was_not(books: Books, why: str, kind: str) -> None:
    books.change(Instance, doomed_why=why)
    assert books.found() == [kind]


def test_an_end_without_a_reason(books: Books) -> None:
    books.change(Attempt, outcome="lost")
    assert books.found() == ["lost for nothing"]
    assert books.found(done=Done(harmed={books.charge.uuid})) == []
    books.change(Attempt, outcome="host_key")
    assert books.found() == ["wrong end"]


def test_a_machine_that_nobody_knows(books: Books) -> None:
    assert books.found(books.charge, replace(books.charge, uuid="x", name="rn-other")) == ["stray"]


def test_a_machine_that_was_rented_twice(books: Books) -> None:
    assert books.found(books.charge, replace(books.charge, uuid="x")) == ["rented twice"]


@pytest.mark.parametrize("minutes", [-2, 5])
def test_a_receipt_that_is_not_the_bill(books: Books, minutes: int) -> None:
    assert books.found(replace(books.charge, minutes=books.charge.minutes + minutes)) == ["receipt"]


def test_a_machine_that_was_never_billed(books: Books) -> None:
    assert books.found(replace(books.charge, uuid="x")) == ["receipt"]


def test_a_command_that_ran_twice(books: Books) -> None:
    books.mark("started", "started", "ended")
    assert books.found() == ["ran twice"]


def test_a_success_that_was_none(books: Books) -> None:
    books.mark("started")
    assert "wrong end" in books.found()
    books.mark("started", "ended")
    assert "wrong end" in books.found(promise=Promise(lines=2, code=3))


def test_bytes_that_are_not_those_of_the_command(books: Books) -> None:
    assert books.found(promise=Promise(lines=1, code=0))[0] == "log"


def test_bytes_that_somebody_changed_on_the_machine_are_to_be_told(books: Books) -> None:
    done, other = Done(damaged={books.charge.uuid}), Promise(lines=1, code=0)
    assert books.found(promise=other, done=done)[0] == "log"
    books.change(Attempt, log_end=DIFFERS)
    assert books.found(promise=other, done=done) == []


def test_a_job_that_is_not_final(world: World, tmp_path: Path) -> None:
    job_id = submit(world.db)
    (finding,) = audit(world.db, {job_id: PROMISE}, Ledger(()), tmp_path, Done())
    assert (finding.kind, finding.job_id) == ("not final", job_id)
