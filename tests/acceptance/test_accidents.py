"""What happens to machines: they restart, vanish, stop, or do not come up. Each ends promptly and truly."""

from __future__ import annotations

from runner.sim.config import SimConfig
from tests.acceptance.conftest import Make
from tests.acceptance.harness import Installation
from tests.waiting import wait_until

SSH_SERVERS = ("built-in", "openssh")


def _running(served: Installation, command: str = "echo begun; sleep 1000") -> tuple[str, str]:
    job_id = served.submit(command)
    job = served.until(job_id, "running")
    with served.quick() as client:
        assert next(iter(client.get(job_id).logs(follow=True))) == "begun"
    return job_id, job["attempts"][0]["instance_uuid"]


def test_a_restart_of_the_machine_is_lost(served: Installation) -> None:
    job_id, uuid = _running(served)
    served.sim.restart(uuid)
    job = served.final(job_id)
    assert (job["state"], job["reason"], job["exit_code"]) == ("failed", "lost", None)
    assert served.log(job_id) == b"begun\n"
    assert len(job["attempts"]) == 1, "a command that has begun is not run twice"
    served.receipt_agrees(job)
    served.nothing_left()


def test_the_loss_of_the_machine_is_lost(served: Installation) -> None:
    job_id, uuid = _running(served)
    served.sim.vanish(uuid)
    job = served.final(job_id)
    assert (job["state"], job["reason"], job["exit_code"]) == ("failed", "lost", None)
    assert served.log(job_id) == b"begun\n"
    assert job["attempts"][0]["cost_estimated"], "nobody saw to the minute when it went"
    served.nothing_left()


def test_a_dropped_connection_disturbs_nothing(served: Installation) -> None:
    job_id, uuid = _running(served, "echo begun; for i in 1 2 3 4 5 6 7 8; do sleep 0.25; echo $i; done")
    served.sim.drop_ssh(uuid)
    job = served.final(job_id)
    assert job["state"] == "succeeded"
    assert served.log(job_id) == b"begun\n1\n2\n3\n4\n5\n6\n7\n8\n"
    assert job["attempts"][0]["log"] == "sealed"


def test_a_boot_that_never_ends_is_tried_again(make: Make) -> None:
    served = make(RUNNER_BOOT_TIMEOUT="3s")
    served.sim.faults.boot_never = -1
    served.up()
    job_id = served.submit("echo at last")
    served.until(job_id, "booting")
    with served.quick() as client:
        wait_until(
            lambda: client.get(job_id).attempts[0].outcome == "boot_timeout",
            timeout=60,
            what="the boot timeout",
        )
    served.sim.faults.boot_never = 0
    job = served.final(job_id, timeout=120)
    assert job["state"] == "succeeded"
    outcomes = [attempt["outcome"] for attempt in job["attempts"]]
    assert (outcomes[0], outcomes[-1]) == ("boot_timeout", "exit_code")
    assert served.log(job_id) == b"at last\n"
    served.receipt_agrees(job)
    served.nothing_left()


def test_a_lost_answer_to_the_deploy_is_not_repeated(make: Make) -> None:
    served = make()
    served.sim.faults.add(operation="deployInstance", kind="lost", times=1)
    served.up()
    job_id = served.submit("echo once")
    job = served.final(job_id)
    assert job["state"] == "succeeded"
    assert len(job["attempts"]) == 1
    assert len(served.sim.requests("deployInstance")) == 1
    assert len(served.sim.ledger().charges) == 1
    served.nothing_left()


def test_a_lost_answer_to_the_terminate(make: Make) -> None:
    served = make()
    served.sim.faults.add(operation="terminateInstances", kind="lost", times=1)
    served.up()
    job = served.final(served.submit("echo once"))
    assert job["state"] == "succeeded"
    served.nothing_left()


def test_startup_commands_that_do_not_run(make: Make) -> None:
    """The third way in is gone, and the files with it: they are brought over SSH."""
    served = make(SimConfig(boot_seconds=0.2))
    served.sim.faults.startup_skipped = -1
    served.up()
    job = served.final(served.submit("echo brought"))
    assert job["state"] == "succeeded"
    assert job["attempts"][0]["host_key"] == "accepted"


def test_no_key_api(make: Make) -> None:
    """The account has no keys at all: the startup command alone must be enough."""
    served = make()
    served.sim.faults.no_key_api = True
    served.up()
    job = served.final(served.submit("echo in"))
    assert job["state"] == "succeeded", served.tail()
