"""kill -9 of the service, anywhere on a job's way: the next service finishes everything, once."""

from __future__ import annotations

import signal

import pytest

from runner.sim.config import SimConfig
from tests.acceptance.conftest import Make
from tests.acceptance.harness import Installation

TALK = "for i in $(seq 1 60); do echo $i; sleep 0.1; done; echo $RANDOM$RANDOM >> ../marks"
LOG = b"".join(b"%d\n" % n for n in range(1, 61))
STATES = ("queued", "deploying", "booting", "running", "finishing")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("state", STATES)
def test_killed_in_the_middle(make: Make, state: str) -> None:
    """Five jobs run, a sixth is in *state*, and the service is killed."""
    served = make(SimConfig(boot_seconds=0.3))
    served.up()
    five = [served.submit(TALK) for _ in range(5)]
    for job_id in five:
        served.until(job_id, "running")
    _hold_in(served, state)
    sixth = served.submit("echo sixth")
    served.until(sixth, state)
    served.stop(signal.SIGKILL)
    served.sim.faults.clear()
    served.up()
    for job_id in five:
        job = served.final(job_id)
        assert (job["state"], job["exit_code"]) == ("succeeded", 0), (job, served.tail())
        assert served.log(job_id) == LOG, "no gap, no repeat"
        assert job["attempts"][0]["log"] == "sealed"
        assert len(job["attempts"]) == 1
    job = served.final(sixth, timeout=150)
    assert job["state"] == "succeeded", (job, served.tail())
    assert served.log(sixth) == b"sixth\n"
    for charge in served.sim.ledger().charges:
        assert charge.ended is not None
    served.nothing_left()
    for job_id in (*five, sixth):
        served.receipt_agrees(served.show(job_id))


def _hold_in(served: Installation, state: str) -> None:
    """Make the cloud such that the next job stays in *state* for a while."""
    faults = served.sim.faults
    match state:
        case "queued":
            faults.out_of_stock = -1
        case "deploying":
            faults.add(operation="deployInstance", kind="slow", seconds=6.0, times=1)
        case "booting":
            faults.boot_seconds = 5.0
        case "finishing":
            faults.add(operation="terminateInstances", kind="status", status=503, times=-1)


def test_sigterm_hands_back_and_a_second_service_goes_on(served: Installation) -> None:
    job_id = served.submit(TALK)
    served.until(job_id, "running")
    assert served.stop(signal.SIGTERM) == 0
    assert served.show(job_id)["state"] == "running"
    served.up()
    job = served.final(job_id)
    assert job["state"] == "succeeded"
    assert served.log(job_id) == LOG
    served.nothing_left()


def test_one_service_per_database(served: Installation) -> None:
    assert served.service is not None
    done = served.run("up")
    assert done.returncode == 1
    assert str(served.service.pid) in done.stderr.decode()
    assert b"Traceback" not in done.stderr


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
