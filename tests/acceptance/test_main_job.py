"""The main job, whole: every way in which it may end, and what is left then: a receipt, and no machine."""

from __future__ import annotations

import json
import signal

import pytest

from tests.acceptance.harness import GPU, Installation

CATCHES_TERM = """
import signal, sys
def caught(*_):
    print("caught")
    sys.exit(3)
signal.signal(signal.SIGTERM, caught)
print("begun")
while True:
    signal.pause()
"""

ARRANGEMENTS = ("service", "openssh", "workers")
IN_FULL = ("service",)


def test_a_job_that_succeeds(shared: Installation) -> None:
    done = shared.run(
        "run", *GPU, "--max-cost", "5", "--name", "hello", "--", "echo out; echo err >&2; pwd; ls -A"
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split(b"\n")
    assert lines[:2] == [b"out", b"err"]
    assert lines[3:] == [b""], "it starts in an empty folder"
    job = shared.show("hello")
    assert (job["state"], job["reason"], job["exit_code"]) == ("succeeded", "exit_code", 0)
    assert shared.log("hello") == done.stdout
    assert job["attempts"][0]["log"] == "sealed"
    assert job["attempts"][0]["log_bytes"] == len(done.stdout)
    assert job["attempts"][0]["host_key"] == "attested"
    assert b"hello succeeded: exited with 0" in done.stderr
    shared.receipt_agrees(job)
    shared.nothing_left()


def test_a_job_that_fails_with_7(shared: Installation) -> None:
    done = shared.run("run", *GPU, "--name", "seven", "--", "sh", "-c", "echo no such data; exit 7")
    assert done.returncode == 7
    assert done.stdout == b"no such data\n"
    job = shared.show("seven")
    assert (job["state"], job["reason"], job["exit_code"]) == ("failed", "exit_code", 7)
    shared.receipt_agrees(job)
    shared.nothing_left()


def test_cancelled_while_it_runs(shared: Installation) -> None:
    job_id = shared.submit("python3", "-c", CATCHES_TERM)
    shared.until(job_id, "running")
    with shared.quick() as client:
        for line in client.get(job_id).logs(follow=True):
            assert line == "begun"
            break
    assert shared.run("cancel", job_id).returncode == 0
    job = shared.final(job_id)
    assert (job["state"], job["reason"]) == ("cancelled", "cancelled_by_user")
    assert job["exit_code"] == 3
    assert shared.log(job_id) == b"begun\ncaught\n"
    assert job["attempts"][0]["log"] == "sealed"
    shared.receipt_agrees(job)
    shared.nothing_left()
    assert shared.run("cancel", job_id).returncode == 0, "cancelling a final job is no error"


def test_cancelled_while_it_boots(shared: Installation) -> None:
    shared.sim.faults.boot_never = -1
    job_id = shared.submit("echo never")
    shared.until(job_id, "booting")
    shared.ok("cancel", job_id)
    job = shared.final(job_id)
    assert (job["state"], job["reason"], job["exit_code"]) == ("cancelled", "cancelled_by_user", None)
    assert shared.log(job_id) == b""
    shared.receipt_agrees(job)
    shared.nothing_left()


def test_past_its_max_runtime(shared: Installation) -> None:
    words = (
        "run",
        *GPU,
        "--max-runtime",
        "1s",
        "--name",
        "endless",
        "--",
        "echo on; while true; do sleep 0.1; done",
    )
    done = shared.run(*words)
    assert done.returncode == 124, done.stderr
    job = shared.show("endless")
    assert (job["state"], job["reason"], job["exit_code"]) == ("expired", "max_runtime", 143)
    assert shared.log("endless") == b"on\n"
    shared.receipt_agrees(job)
    shared.nothing_left()


def test_run_brings_its_own_service_which_outlives_it(installation: Installation, arrangement: str) -> None:
    if arrangement == "workers":
        done = installation.run("submit", *GPU, "--", "echo hi")
        assert done.returncode == 0
        assert b"no worker is alive" in done.stderr
        assert b"RUNNER_BROKER_URL is set" in installation.run("up").stderr
        return
    done = installation.run("run", *GPU, "--", "echo hi")
    assert (done.returncode, done.stdout) == (0, b"hi\n"), done.stderr
    running = json.loads(installation.ok("status", "--json"))["service"]
    assert running is not None
    assert running["background"]
    assert installation.ok("down") == ""
    assert installation.running() is None
    installation.nothing_left()


def test_ctrl_c_cancels(shared: Installation) -> None:
    process = shared.spawn(
        "run", *GPU, "--name", "long", "--", "echo begun; sleep 1000", start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == b""
    assert shared.show("long")["state"] == "cancelled"
    shared.nothing_left()


def test_what_the_command_finds(shared: Installation) -> None:
    done = shared.run(
        "run", *GPU, "--name", "näme x", "--env", "A=1 $HOME 'q'", "--env", "B=", "--max-runtime", "1h", "--",
        'printf "%s|" "$RUNNER_JOB_ID" "$RUNNER_JOB_NAME" "$RUNNER_ATTEMPT" "$RUNNER_GPU_COUNT" '
        '"$A" "$B" "$PYTHONUNBUFFERED"; cat',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    job = shared.show("näme x")
    expected = f"{job['id']}|näme x|1|1|1 $HOME 'q'||1|"
    assert done.stdout.decode() == expected


def test_a_job_of_another_process_starts_without_anyone_ringing(shared: Installation) -> None:
    before = len(shared.sim.ledger().charges)
    first = shared.submit("echo one", key="the same")
    assert shared.submit("echo one", key="the same") == first
    other = shared.run("submit", *GPU, "--key", "the same", "--", "echo two")
    assert other.returncode == 2
    assert shared.final(first)["state"] == "succeeded"
    assert len(shared.sim.ledger().charges) == before + 1


def test_the_python_api(shared: Installation) -> None:
    import runner

    with shared.quick() as client:
        job = client.submit("echo a; printf 'b\\377'", gpu="gpu_1x_l40", max_cost=1)
        assert list(job.logs(follow=True)) == ["a", "b\ufffd"]
        result = job.result(timeout=60)
        assert result.exit_code == 0
        assert result.cost_usd == job.cost_usd
        assert b"".join(job.logs(raw=True)) == b"a\nb\xff"
        bad = client.submit(["sh", "-c", "echo why; exit 9"], gpu="gpu_1x_l40", max_cost="1.50")
        with pytest.raises(runner.JobFailed) as failed:
            bad.result(timeout=60)
        assert failed.value.exit_code == 9
        assert failed.value.tail == "why\n"
        assert [item.id for item in client.jobs(limit=2)] == [bad.id, job.id]
    shared.nothing_left()
