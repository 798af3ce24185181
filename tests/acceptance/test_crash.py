"""kill -9 of the service, or of all workers, anywhere on a job's way: the next finish everything, once."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from runner.sim.config import SimConfig
from tests.acceptance.conftest import Make
from tests.acceptance.harness import Installation
from tests.waiting import wait_until

STATES = ("queued", "deploying", "booting", "running", "finishing")

ARRANGEMENTS = ("service", "openssh", "workers")
IN_FULL = ("service", "workers")


def _talk(until: Path) -> str:
    """Counts until the file is there: a log in which a gap or a repeat shows, of a job that waits for us."""
    return f"i=0; while i=$((i+1)); echo $i; ! [ -e '{until}' ]; do sleep 0.3; done"


def _counted(log: bytes) -> bool:
    lines = log.split(b"\n")
    return len(lines) > 2 and lines == [*(b"%d" % n for n in range(1, len(lines))), b""]


@pytest.mark.timeout(400)
def test_killed_in_the_middle(make: Make, tmp_path: Path) -> None:
    """Five jobs run through five kills; at each, a sixth one is in another state."""
    served = make(SimConfig(boot_seconds=0.3))
    served.up()
    enough = tmp_path / "enough"
    five = [served.submit(_talk(enough)) for _ in range(5)]
    for job_id in five:
        served.until(job_id, "running")
    sixths = []
    for state in STATES:
        _hold_in(served, state)
        sixth = served.submit("echo sixth; sleep 2" if state == "running" else "echo sixth")
        served.until(sixth, state)
        if state == "deploying":  # sent, and not answered
            wait_until(lambda: served.sim.faults.rules[0].times == 0, what="the request")
        served.stop(signal.SIGKILL)
        served.sim.faults.clear()
        served.up()
        job = served.final(sixth)
        assert job["state"] == "succeeded", (state, job, served.tail())
        assert served.log(sixth) == b"sixth\n"
        sixths.append(sixth)
    enough.touch()
    for job_id in five:
        job = served.final(job_id)
        assert (job["state"], job["exit_code"]) == ("succeeded", 0), (job, served.tail())
        assert _counted(served.log(job_id)), "no gap, no repeat"
        assert job["attempts"][0]["log"] == "sealed"
    served.nothing_left()
    charges = served.sim.ledger().charges
    assert len(charges) == len(five) + len(sixths), "nothing was rented twice"
    assert all(charge.ended is not None for charge in charges)
    for job_id in (*five, *sixths):
        job = served.show(job_id)
        assert len(job["attempts"]) == 1
        served.receipt_agrees(job)


def _hold_in(served: Installation, state: str) -> None:
    """Make the cloud such that the next job stays in *state* for a while."""
    faults = served.sim.faults
    match state:
        case "queued":
            faults.out_of_stock = -1
        case "deploying":
            # The effect comes late as well: no listing may move the job on before its time.
            faults.add(operation="deployInstance", kind="slow", seconds=3.0, late_effect=True, times=1)
        case "booting":
            faults.boot_seconds = 3.0
        case "finishing":
            faults.add(operation="terminateInstances", kind="status", status=503, times=-1)


@pytest.mark.arrangements("service", "openssh")
def test_sigterm_hands_back_and_a_second_service_goes_on(served: Installation, tmp_path: Path) -> None:
    enough = tmp_path / "enough"
    job_id = served.submit(_talk(enough))
    served.until(job_id, "running")
    assert served.stop(signal.SIGTERM) == 0
    assert served.show(job_id)["state"] == "running"
    served.up()
    enough.touch()
    job = served.final(job_id)
    assert job["state"] == "succeeded"
    assert _counted(served.log(job_id))
    served.nothing_left()


@pytest.mark.arrangements("service", "openssh")
def test_one_service_per_database(served: Installation) -> None:
    assert served.service is not None
    done = served.run("up")
    assert done.returncode == 1
    assert str(served.service.pid) in done.stderr.decode()
    assert b"Traceback" not in done.stderr


@pytest.mark.arrangements("service", "openssh")
def test_down_refuses_while_machines_live(served: Installation) -> None:
    job_id = served.submit("sleep 1000")
    job = served.until(job_id, "running")
    done = served.run("down")
    assert done.returncode == 1
    assert job["attempts"][0]["instance_name"] in done.stderr.decode()
    served.ok("cancel", job_id)
    served.final(job_id)
    served.nothing_left()
    served.ok("down")
    assert served.service is not None
    assert served.service.wait(20) == 0
