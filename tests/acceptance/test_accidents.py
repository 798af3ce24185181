"""What happens to machines: they restart, vanish, stop, or do not come up. Each ends promptly and truly."""

from __future__ import annotations

from tests.acceptance.conftest import Make
from tests.acceptance.harness import Installation
from tests.waiting import wait_until

ARRANGEMENTS = ("service", "openssh", "workers")
IN_FULL = ("service", "workers")


def _running(served: Installation, command: str = "echo begun; sleep 1000") -> tuple[str, str]:
    job_id = served.submit(command)
    job = served.until(job_id, "running")
    with served.quick() as client:
        assert next(iter(client.get(job_id).logs(follow=True))) == "begun"
    return job_id, job["attempts"][0]["instance_uuid"]


def test_a_restart_of_the_machine_is_lost(shared: Installation) -> None:
    job_id, uuid = _running(shared)
    shared.sim.restart(uuid)
    job = shared.final(job_id)
    assert (job["state"], job["reason"], job["exit_code"]) == ("failed", "lost", None)
    assert shared.log(job_id) == b"begun\n"
    assert len(job["attempts"]) == 1, "a command that has begun is not run twice"
    shared.receipt_agrees(job)
    shared.nothing_left()


def test_the_loss_of_the_machine_is_lost(shared: Installation) -> None:
    job_id, uuid = _running(shared)
    shared.sim.vanish(uuid)
    job = shared.final(job_id)
    assert (job["state"], job["reason"], job["exit_code"]) == ("failed", "lost", None)
    assert shared.log(job_id) == b"begun\n"
    assert job["attempts"][0]["cost_estimated"], "nobody saw to the minute when it went"
    shared.nothing_left()


def test_a_lost_machine_and_an_exit_code_are_tried_again_where_that_is_wanted(shared: Installation) -> None:
    """Lost once, failed once, and then it works; the log has all three, one after the other."""
    job_id = shared.submit(
        'echo "attempt $RUNNER_ATTEMPT"; case $RUNNER_ATTEMPT in 1) sleep 1000;; 2) exit 9;; esac', retries=3
    )
    job = shared.until(job_id, "running")
    with shared.quick() as client:
        lines = client.get(job_id).logs(follow=True)
        assert next(lines) == "attempt 1"
        shared.sim.vanish(job["attempts"][0]["instance_uuid"])
        assert list(lines) == ["attempt 2", "attempt 3"]
    job = shared.final(job_id)
    assert (job["state"], job["exit_code"], job["retries"]) == ("succeeded", 0, 3)
    ends = [(attempt["outcome"], attempt["exit_code"]) for attempt in job["attempts"]]
    assert ends == [("lost", None), ("exit_code", 9), ("exit_code", 0)]
    assert shared.log(job_id) == b"attempt 1\nattempt 2\nattempt 3\n"
    shared.nothing_left()


def test_a_dropped_connection_disturbs_nothing(shared: Installation) -> None:
    job_id, uuid = _running(shared, "echo begun; for i in 1 2 3 4 5 6 7 8; do sleep 0.25; echo $i; done")
    shared.sim.drop_ssh(uuid)
    job = shared.final(job_id)
    assert job["state"] == "succeeded"
    assert shared.log(job_id) == b"begun\n1\n2\n3\n4\n5\n6\n7\n8\n"
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


def test_a_lost_answer_to_the_deploy_is_not_repeated(shared: Installation) -> None:
    sent, rented = len(shared.sim.requests("deployInstance")), len(shared.sim.ledger().charges)
    shared.sim.faults.add(operation="deployInstance", kind="lost", times=1)
    job = shared.final(shared.submit("echo once"))
    assert job["state"] == "succeeded"
    assert len(job["attempts"]) == 1
    assert len(shared.sim.requests("deployInstance")) == sent + 1
    assert len(shared.sim.ledger().charges) == rented + 1
    shared.nothing_left()


def test_a_lost_answer_to_the_terminate(shared: Installation) -> None:
    shared.sim.faults.add(operation="terminateInstances", kind="lost", times=1)
    job = shared.final(shared.submit("echo once"))
    assert job["state"] == "succeeded"
    shared.nothing_left()


def test_startup_commands_that_do_not_run(shared: Installation) -> None:
    """The third way in is gone, and the files with it: they are brought over SSH."""
    shared.sim.faults.startup_skipped = -1
    job = shared.final(shared.submit("echo brought"))
    assert job["state"] == "succeeded"
    assert job["attempts"][0]["host_key"] == "accepted"


def test_no_key_api(make: Make) -> None:
    """The account has no keys at all: the startup command alone must be enough."""
    served = make()
    served.sim.faults.no_key_api = True
    served.up()
    job = served.final(served.submit("echo in"))
    assert job["state"] == "succeeded", served.tail()
