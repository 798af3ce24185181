"""Nobody served for a while, or somebody else's account was asked: nothing that is known is thrown away."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from jobs.models import Attempt
from jobs.store.database import Database
from tests.acceptance.conftest import Make
from tests.acceptance.harness import GPU, Installation
from tests.waiting import wait_until

NOT_SERVED = timedelta(hours=8)


def test_a_command_that_ended_while_nobody_served_keeps_its_end(served: Installation, tmp_path: Path) -> None:
    """Its deadline passed in the meantime, which is not held against it: its code and its log lie there."""
    ended = tmp_path / "ended"
    job_id = served.submit(f"echo first; sleep 1; echo last; touch '{ended}'; exit 5", max_runtime="1h")
    served.until(job_id, "running")
    served.stop(signal.SIGKILL)
    wait_until(ended.exists, what="the end of the command")
    with served.quick() as client, client.database.write() as session:
        long_ago = client.database.now(session) - NOT_SERVED
        session.execute(update(Attempt).values(deadline_at=long_ago))
    served.up()
    job = served.final(job_id)
    assert (job["state"], job["reason"], job["exit_code"]) == ("failed", "exit_code", 5), served.tail()
    assert served.log(job_id) == b"first\nlast\n"
    assert job["attempts"][0]["log"] == "sealed"
    served.nothing_left()


def test_a_machine_that_nobody_looked_for_is_not_lost(served: Installation, tmp_path: Path) -> None:
    enough = tmp_path / "enough"
    job_id = served.submit(f"while ! [ -e '{enough}' ]; do sleep 0.1; done")
    served.until(job_id, "running")
    served.stop(signal.SIGKILL)
    with served.quick() as client, client.database.write() as session:
        long_ago = client.database.now(session) - NOT_SERVED
        session.execute(update(Attempt).values(unreachable_since=long_ago))
    served.up()
    with served.quick() as client:
        db = client.database
        wait_until(lambda: _in_touch(db), what="somebody who reaches it")
    enough.touch()
    assert served.final(job_id)["state"] == "succeeded", served.tail()


@pytest.mark.parametrize(
    "seconds", [3.0, pytest.param(60.0, marks=[pytest.mark.full, pytest.mark.timeout(300)])]
)
def test_a_database_that_another_process_keeps_locked(
    served: Installation, tmp_path: Path, seconds: float
) -> None:
    """Nothing can be written, also for longer than a write waits: the log waits on its machine."""
    printed, enough = tmp_path / "printed", tmp_path / "enough"
    job_id = served.submit(
        f"i=0; while i=$((i+1)); echo $i; echo $i > '{printed}'; ! [ -e '{enough}' ]; do sleep 0.1; done"
    )
    served.until(job_id, "running")

    def number() -> int:
        return int(printed.read_text().strip() or 0) if printed.exists() else 0

    wait_until(lambda: len(served.log(job_id)) > 0, what="the beginning of the log")
    with closing(sqlite3.connect(served.home / "runner.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        stored, began = len(served.log(job_id)), number()
        wait_until(lambda: number() > began + 8 * seconds, timeout=10 * seconds, what="more of the log")
        assert len(served.log(job_id)) == stored, "nothing can be written"
        other.execute("COMMIT")
    enough.touch()
    job = served.final(job_id)
    assert (job["state"], job["attempts"][0]["log"]) == ("succeeded", "sealed"), served.tail()
    assert len(job["attempts"]) == 1
    lines = served.log(job_id).split()
    assert lines == [b"%d" % n for n in range(1, len(lines) + 1)]
    assert len(lines) >= began + 8 * seconds
    served.nothing_left()


def _in_touch(db: Database) -> bool:
    with db.read() as session:
        return session.execute(select(Attempt.unreachable_since)).scalar_one() is None


def test_another_account_does_not_say_what_has_become_of_a_machine(make: Make) -> None:
    served, other = make(), make()
    served.up()
    job_id = served.submit("sleep 1000")
    name = served.until(job_id, "running")["attempts"][0]["instance_name"]
    served.stop(signal.SIGKILL)
    ours = dict(served.environ)
    for variable in ("RUNNER_API_URL", "MASSED_COMPUTE_API_KEY"):
        served.environ[variable] = other.environ[variable]
    done = served.run("up")
    assert done.returncode == 3
    assert name in done.stderr.decode()
    assert b"--new-account" in done.stderr
    assert b"Traceback" not in done.stderr
    assert served.show(job_id)["state"] == "running"
    served.environ = ours
    served.up()
    served.ok("cancel", job_id)
    assert served.final(job_id)["state"] == "cancelled"
    served.nothing_left()


@pytest.mark.parametrize("words", [("run", *GPU, "--", "true"), ("up", "--detach")], ids=["run", "up"])
def test_a_service_is_not_stopped_for_one_of_another_account(make: Make, words: tuple[str, ...]) -> None:
    ours, other = make(), make()
    with ours.spawn("run", *GPU, "--name", "long", "--", "echo begun; sleep 1000") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        before = ours.running()
        environ = dict(ours.environ)
        for variable in ("RUNNER_API_URL", "MASSED_COMPUTE_API_KEY"):
            ours.environ[variable] = other.environ[variable]
        done = ours.run(*words)
        ours.environ = environ
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert (done.returncode, process.returncode) == (3, 130)
    assert b"has none of the machines" in done.stderr
    assert ours.running() == before
    assert len(ours.jobs()) == 1
    ours.nothing_left()
    ours.ok("down")


def test_who_says_that_the_account_is_a_new_one_is_believed(make: Make) -> None:
    served, other = make(), make()
    served.up()
    job_id = served.submit("sleep 1000")
    served.until(job_id, "running")
    served.stop(signal.SIGKILL)
    left = served.sim.instances()
    for variable in ("RUNNER_API_URL", "MASSED_COMPUTE_API_KEY"):
        served.environ[variable] = other.environ[variable]
    served.ok("up", "--detach", "--new-account")
    job = served.final(job_id)
    assert (job["state"], job["reason"]) == ("failed", "lost")
    assert served.sim.instances() == left
    served.ok("down")


@pytest.mark.parametrize("empty", [0, 1])
def test_another_token_of_the_same_account_is_no_new_account(served: Installation, empty: int) -> None:
    """Also where its listing is empty once."""
    job_id = served.submit("sleep 1000")
    served.until(job_id, "running")
    served.stop(signal.SIGKILL)
    full = served.environ["MASSED_COMPUTE_API_KEY"]
    served.environ["MASSED_COMPUTE_API_KEY"] = served.sim.read_only_token
    served.sim.faults.listing_empty = empty
    served.up()
    assert served.show(job_id)["state"] == "running"
    served.stop()
    served.environ["MASSED_COMPUTE_API_KEY"] = full
    served.up()
    served.ok("cancel", job_id)
    assert served.final(job_id)["state"] == "cancelled"
    served.nothing_left()
