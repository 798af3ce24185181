"""The ceiling holds with a worker killed before it, and with many jobs and faults; and so do budgets."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from bench import budgets, ceilings
from runner.sim.config import SimConfig
from tests.acceptance.conftest import Make
from tests.acceptance.harness import GPU, Installation
from tests.waiting import wait_until
from workers.supervisor import FOLDER

ARRANGEMENTS = ("service", "workers")
IN_FULL = ("service", "workers")
TOKEN = f"guard-{os.urandom(8).hex()}"
CEILING = "0.0287"
"""Two minutes of the product: with a second of grace that is the least."""


def _running(served: Installation) -> dict[str, Any]:
    served.up()
    words = (*GPU, "--max-cost", CEILING, "--grace", "1s")
    job_id = served.ok("submit", *words, "--", "echo on; sleep 600").strip()
    return served.until(job_id, "running")


def _deadline(job: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(job["attempts"][0]["deadline_at"])


def _passed(moment: datetime, what: str) -> None:
    wait_until(lambda: datetime.now(UTC) >= moment, timeout=120, what=what)


def _ended(served: Installation, job: dict[str, Any]) -> Path:
    """What the machine itself wrote when the command had ended."""
    home = served.sim.machine(job["attempts"][0]["instance_uuid"]).home
    (record,) = (home / FOLDER).glob("*/run/exit")
    return record


def _bill(served: Installation, job: dict[str, Any]) -> Fraction:
    return served.sim.ledger()[job["attempts"][0]["instance_uuid"]].exact_micros


@pytest.mark.timeout(300)
@pytest.mark.arrangements("service", full=("service",))
def test_with_its_only_worker_killed_a_minute_before_the_command_ends_by_itself(
    make: Make, arrangement: str
) -> None:
    """The machine holds the deadline. Without a guard it stays; with one it is gone within the ceiling."""
    config = SimConfig(boot_seconds=0.2, more_tokens=(TOKEN,))
    alone, guarded = make(), make(config, RUNNER_GUARD_TOKEN=TOKEN)
    jobs = [_running(served) for served in (alone, guarded)]
    deadline = max(map(_deadline, jobs))
    _passed(min(map(_deadline, jobs)) - timedelta(seconds=60), "a minute before")
    for served in (alone, guarded):
        served.stop(signal.SIGKILL)
    _passed(deadline, "the deadline")
    for served, job in zip((alone, guarded), jobs, strict=True):
        record = wait_until(lambda: _ended(served, job), timeout=15, what="the command's end")  # noqa: B023
        assert record.read_text().split()[:2] == ["143", "max_cost"]
        late = record.stat().st_mtime - _deadline(job).timestamp()
        assert -2 < late < 5, "it counts by its own clock"
    wait_until(lambda: not guarded.sim.instances(), timeout=60, what="the end of the guarded machine")
    assert _bill(guarded, jobs[1]) <= Fraction(CEILING) * 10**6
    assert len(alone.sim.instances()) == 1
    alone.up()
    job = alone.final(jobs[0]["id"])
    assert (job["state"], job["reason"], job["exit_code"]) == ("expired", "max_cost", 143)
    assert alone.log(job["id"]) == b"on\n"
    alone.nothing_left()


@pytest.mark.timeout(300)
@pytest.mark.arrangements("workers", full=("workers",))
def test_with_another_worker_alive_the_machine_is_gone_too(make: Make, arrangement: str) -> None:
    served = make()
    job = _running(served)
    _passed(_deadline(job) - timedelta(seconds=60), "a minute before")
    serving = served.serving()
    assert len(serving) == 2
    serving[0].send_signal(signal.SIGKILL)
    found = served.final(job["id"], timeout=150)
    assert (found["state"], found["reason"], found["exit_code"]) == ("expired", "max_cost", 143)
    assert found["attempts"][0]["log"] == "sealed"
    assert _bill(served, job) <= Fraction(CEILING) * 10**6
    served.nothing_left()


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_no_bill_of_many_jobs_is_above_its_ceiling() -> None:
    """Two hundred, with random ceilings, attempts and faults, twenty at once, in real time."""
    found = ceilings.run(200, seed=7)
    assert found.above == []
    assert found.unused


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_many_workers_overspend_no_budget() -> None:
    """Five hundred jobs and eight workers, on a budget that pays for a tenth of them at a time."""
    found = budgets.run(500, workers=8, seed=7)
    assert budgets.good(found, 500), (found.findings, found.ends)
    assert found.waited
