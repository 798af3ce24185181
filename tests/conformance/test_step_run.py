"""The step that follows a command, on a real machine and a real database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobs.states import State
from jobs.store.transitions import AttemptLease
from runner.sim.config import SimConfig
from tests.conformance.sim_client import simulated
from tests.conformance.ssh_host import Host
from tests.conformance.store_kit import World
from tests.waiting import wait_until
from workers.ssh.connect import Machine
from workers.steps.control import Control
from workers.steps.logbook import Logbook
from workers.steps.run import run


@pytest.fixture
def book(world: World) -> Iterator[Logbook]:
    book = Logbook(world.db)
    yield book
    book.close()


def test_a_command_that_has_ended_is_not_overdue_because_of_its_log(
    world: World, book: Logbook, tmp_path: Path
) -> None:
    """Time is over before all of its log is here: it has ended all the same."""
    job_id, attempt_id, lease = world.run()
    with simulated(SimConfig(boot_seconds=0.01)) as account:
        host = Host(account, tmp_path, attempt_id=attempt_id)
        with host.connect() as machine:
            assert machine.go(attempt_id, host.payload("seq 1 1000; exit 3")).accepted
            wait_until(lambda: machine.state(attempt_id).over, what="its end")
            _time_is_over(world, attempt_id, lease, machine, book)
        account.terminate(host.uuid)
    view = world.show(job_id)
    assert (view.state, view.reason, view.exit_code) == (State.FINISHING, "exit_code", 3)
    assert view.attempts[0].log_end == "incomplete: 0 of 3893 bytes were read"


def test_a_command_that_goes_on_is_overdue(world: World, book: Logbook, tmp_path: Path) -> None:
    job_id, attempt_id, lease = world.run()
    with simulated(SimConfig(boot_seconds=0.01)) as account:
        host = Host(account, tmp_path, attempt_id=attempt_id)
        with host.connect() as machine:
            _running(host, machine)
            _time_is_over(world, attempt_id, lease, machine, book)
        account.terminate(host.uuid)
    view = world.show(job_id)
    assert (view.state, view.reason, view.exit_code) == (State.FINISHING, "max_runtime", None)


def _running(host: Host, machine: Machine) -> None:
    assert machine.go(host.attempt_id, host.payload("sleep 1000")).accepted
    wait_until(lambda: machine.state(host.attempt_id).kind == "running", what="its start")


def _time_is_over(
    world: World, attempt_id: str, lease: AttemptLease, machine: Machine, book: Logbook
) -> None:
    control = Control()
    control.cause, control.stop_ordered_at, control.too_late = "max_runtime", world.clock.now, True
    ctx = cast("Any", SimpleNamespace(db=world.db))
    assert run(ctx, world.work(attempt_id), lease, machine, control, book, lambda: None)
