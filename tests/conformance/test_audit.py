"""The audit of `bench.chaos` can find something: each kind of damage, done on purpose."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bench.audit import Promise, audit
from jobs.states import State
from jobs.store import logs
from jobs.store.logs import Append
from runner.sim.ledger import Charge, Ledger
from tests.conformance.store_kit import World, submit

SECOND = timedelta(seconds=1)
PROMISE = Promise(lines=2, code=0)
"""What a job of these tests writes, and how it exits."""


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
        begun = datetime.now(UTC)
        self.charge = Charge(
            attempt.instance_uuid, attempt.instance_name, "p", 1, begun, begun + SECOND, attempt.minutes
        )

    def mark(self, *words: str) -> None:
        (self.marks / f"{self.job_id}.1").write_text("\n".join(words))

    def found(self, *charges: Charge, promise: Promise = PROMISE) -> list[str]:
        ledger = Ledger(charges or (self.charge,))
        return [item.kind for item in audit(self.world.db, {self.job_id: promise}, ledger, self.marks)]


@pytest.fixture
def books(world: World, tmp_path: Path) -> Books:
    (tmp_path / "marks").mkdir()
    return Books(world, tmp_path / "marks")


def test_what_is_as_it_should_be_is_no_finding(books: Books) -> None:
    assert books.world.show(books.job_id).state is State.SUCCEEDED
    assert books.found() == []


def test_a_machine_that_is_still_rented(books: Books) -> None:
    assert books.found(replace(books.charge, ended=None)) == ["leak"]


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


def test_a_job_that_is_not_final(world: World, tmp_path: Path) -> None:
    job_id = submit(world.db)
    (finding,) = audit(world.db, {job_id: PROMISE}, Ledger(()), tmp_path)
    assert (finding.kind, finding.job_id) == ("not final", job_id)
