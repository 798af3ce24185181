"""Stops that come at a bad moment: none is forgotten, none is heard late, and none waits behind others."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import update

from jobs.errors import NoAnswer
from jobs.models import Attempt
from jobs.store import attempts
from jobs.store.database import Database
from runner.sim.config import Product, SimConfig
from tests.acceptance.conftest import Make
from tests.acceptance.harness import GPU, RUNNER, Installation
from tests.acceptance.test_main_job import CATCHES_TERM
from tests.disks import resize, small_disk
from tests.waiting import wait_until
from workers.cloud.client import Cloud
from workers.steps import inventory


def _until(path: Path) -> str:
    """A shell line that waits for a file."""
    return f"while ! [ -e '{path}' ]; do sleep 0.2; done"


def test_a_cancel_while_the_machine_cannot_be_reached_is_not_forgotten(served: Installation) -> None:
    job_id = served.submit("python3", "-c", CATCHES_TERM)
    uuid = served.until(job_id, "running")["attempts"][0]["instance_uuid"]
    with served.quick() as client:
        assert next(iter(client.get(job_id).logs(follow=True))) == "begun"
    served.sim.faults.ssh = "refuse"
    served.sim.drop_ssh(uuid)
    wait_until(lambda: "refused" in served.tail(), what="an attendant that is kept out")
    served.ok("cancel", job_id)
    wait_until(lambda: served.tail().count("refused") > 3, what="another try after the cancel")
    served.sim.faults.ssh = "ok"
    job = served.final(job_id)
    assert (job["state"], job["exit_code"]) == ("cancelled", 3), "it heard the TERM"
    assert served.log(job_id) == b"begun\ncaught\n"
    assert job["attempts"][0]["log"] == "sealed"


def test_what_was_ordered_before_a_kill_is_said_by_the_next_holder(served: Installation) -> None:
    """The stop was written down, and the service died before the machine was told."""
    job_id = served.submit("python3", "-c", CATCHES_TERM)
    job = served.until(job_id, "running")
    with served.quick() as client:
        assert next(iter(client.get(job_id).logs(follow=True))) == "begun"
    served.sim.faults.ssh = "refuse"
    served.sim.drop_ssh(job["attempts"][0]["instance_uuid"])
    served.stop(signal.SIGKILL)
    served.ok("cancel", job_id)
    with served.quick() as client, client.database.write() as session:
        now = client.database.now(session)
        session.execute(update(Attempt).values(stop_cause="cancelled_by_user", stop_ordered_at=now))
    served.sim.faults.ssh = "ok"
    served.up()
    job = served.final(job_id)
    assert (job["state"], job["exit_code"]) == ("cancelled", 3)
    assert served.log(job_id) == b"begun\ncaught\n"


def test_run_starts_another_service_where_its_own_is_killed(
    installation: Installation, tmp_path: Path
) -> None:
    enough = tmp_path / "enough"
    process = installation.spawn("run", *GPU, "--", f"echo on; {_until(enough)}; echo off")
    assert process.stdout is not None
    assert process.stdout.readline() == b"on\n"
    first = installation.running().pid
    os.kill(first, signal.SIGKILL)
    enough.touch()
    out, err = process.communicate(timeout=90)
    assert (process.returncode, out) == (0, b"off\n"), err
    assert err.count(b"started a service") == 2
    assert installation.running().pid != first
    installation.nothing_left()


def test_run_brings_a_service_with_its_own_settings(installation: Installation) -> None:
    """Else a new token, or another address, would seem to have no effect."""
    good = installation.environ["MASSED_COMPUTE_API_KEY"]
    installation.environ["MASSED_COMPUTE_API_KEY"] = installation.sim.read_only_token
    assert installation.run("run", *GPU, "--", "true").returncode == 125
    first = installation.running().pid
    installation.environ["MASSED_COMPUTE_API_KEY"] = good
    done = installation.run("run", *GPU, "--", "true")
    assert done.returncode == 0, done.stderr
    assert b"had another MASSED_COMPUTE_API_KEY" in done.stderr
    second = installation.running().pid
    assert second != first
    again = installation.run("run", *GPU, "--", "true")
    assert b"another" not in again.stderr
    assert installation.running().pid == second
    kept = (installation.home / "runner.db.service.json").read_text()
    assert good not in kept
    installation.nothing_left()


def test_run_says_where_the_service_that_stays_has_other_settings(served: Installation) -> None:
    served.environ |= {"RUNNER_MAX_INSTANCES": "3", "RUNNER_MAX_BURN": "5"}
    others = b"another RUNNER_MAX_BURN, RUNNER_MAX_INSTANCES, which counts until `runner down`"
    for words in (("run", *GPU, "--", "true"), ("submit", *GPU, "--dry-run", "--", "true")):
        done = served.run(*words)
        assert done.returncode == 0
        assert others in done.stderr


def test_where_the_service_was_killed_everybody_is_told(served: Installation) -> None:
    job_id = served.submit("sleep 1000")
    job = served.until(job_id, "running")
    name = job["attempts"][0]["instance_name"].encode()
    follower = served.spawn("logs", "-f", job_id)
    served.stop(signal.SIGKILL)
    assert follower.stderr is not None
    assert b"no service is running" in follower.stderr.readline()
    follower.kill()
    follower.communicate()
    down = served.run("down")
    assert down.returncode == 1
    assert name in down.stderr
    assert b"runner up" in down.stderr
    cancel = served.run("cancel", job_id)
    assert cancel.returncode == 0
    assert b"no service is running" in cancel.stderr
    assert "running, cancel requested" in served.ok("ls")
    assert "running, cancel requested" in served.ok("show", job_id)
    served.up()
    assert served.final(job_id)["state"] == "cancelled"
    served.nothing_left()


@pytest.mark.parametrize(
    ("closed", "code"), [(">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0), ("2>/dev/full", 0), (">/dev/full", 1)]
)
def test_output_that_goes_nowhere(served: Installation, closed: str, code: int) -> None:
    """A stream that our parent closed is nobody's wish for failure; one that cannot be written is said."""
    words = shlex.join([*RUNNER, "run", *GPU, "--name", "mute", "--", "echo on; sleep 0.2"])
    done = subprocess.run(
        ["sh", "-c", f"{words} {closed}"], env=served.environ, capture_output=True, timeout=90, check=False
    )
    assert done.returncode == code, done.stderr
    assert b"went wrong" not in done.stderr
    job = served.final("mute")
    assert job["state"] == "succeeded"
    assert served.log("mute") == b"on\n"
    if code:
        assert b"standard output: the disk is full" in done.stderr
        assert f"runner cancel {job['id']}".encode() in done.stderr
    served.nothing_left()


def test_run_tells_what_the_service_waits_for(served: Installation) -> None:
    faults = served.sim.faults
    faults.add(operation="deployInstance", kind="lost", times=1)
    faults.add(operation="listInstances", kind="status", status=503, times=-1)
    process = served.spawn("run", *GPU, "--", "echo once")
    assert process.stderr is not None
    said, lost = b"", b"the deploy had no answer"
    for line in iter(process.stderr.readline, b""):
        said += line
        if all(part in said for part in (b"the service waits: the account cannot be listed", b"503", lost)):
            faults.clear()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"once\n"), (said, err)
    assert len(served.sim.ledger().charges) == 1


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "small disk", "10m") as folder:
        yield folder


@pytest.mark.timeout(200)
def test_a_disk_that_is_full_for_a_while(make: Make, disk: Path, tmp_path: Path) -> None:
    """Nothing is rented while it is nearly full; what was written meanwhile waits on the machine."""
    served = make(folder=disk)
    served.up()
    printed = tmp_path / "printed"
    with printed.open("wb") as stdout:
        process = served.spawn("run", *GPU, "--name", "much", "--", "seq 1 8000000", stdout=stdout)
    assert process.stderr is not None
    said = iter(process.stderr.readline, b"")
    assert any(b"nearly full" in line for line in said)
    assert served.sim.ledger().charges == ()
    resize(disk, "40m")
    assert any(b"is full: what the job writes waits" in line for line in said)
    assert served.show("much")["state"] == "running"
    assert "trouble    the disk is full" in served.ok("status")
    resize(disk, "400m")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert printed.read_bytes() == b"".join(b"%d\n" % n for n in range(1, 8_000_001))
    assert served.show("much")["attempts"][0]["log"] == "sealed"
    served.nothing_left()
    served.stop()


@pytest.mark.timeout(200)
def test_the_end_of_a_machine_does_not_wait_behind_deploys(make: Make) -> None:
    product = Product("gpu_1x_l40", "1x L40 (48GB)", 86, 100)
    served = make(SimConfig(boot_seconds=0.2, products=(product,)), RUNNER_MAX_INSTANCES="80")
    served.up()
    first = served.submit("sleep 1000")
    served.until(first, "running")
    served.sim.faults.add(operation="deployInstance", kind="slow", seconds=6.0, times=-1)
    with served.quick() as client:
        more = client.submit_many(
            [{"command": "true", "gpu": "gpu_1x_l40", "max_cost": 5} for _ in range(60)]
        )
        wait_until(lambda: len(served.sim.requests("deployInstance")) > 4, what="deploys under way")
        client.get(first).cancel()
        served.final(first)
        waiting = [job for job in client.jobs(state="queued") if job.id != first]
        assert len(waiting) > 20, "it ended while most of the others had not begun"
        for job in more:
            job.cancel()
    served.sim.faults.clear()
    with served.quick() as client:
        wait_until(
            lambda: not client.jobs(state=["queued", "deploying", "booting", "running", "finishing"]),
            timeout=120,
            what="the end of all",
        )
    served.nothing_left()


def test_a_key_api_that_hangs_keeps_no_job_from_its_machine(make: Make) -> None:
    served = make()
    served.sim.faults.add(operation="listSshKeys", kind="hang", times=-1)
    served.up()
    job = served.final(served.submit("echo in"))
    assert job["state"] == "succeeded", served.tail()
    assert len(job["attempts"]) == 1


def test_an_inventory_of_nothing_says_nothing(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with Cloud("http://127.0.0.1:9/api/v1", _Token()) as cloud:
        monkeypatch.setattr(cloud, "list_products", lambda **_: ())
        with pytest.raises(NoAnswer):
            inventory.offers(db, cloud)


class _Token:
    def reveal(self) -> str:
        return "token"


def test_run_brings_a_service_again_where_one_leaves(served: Installation) -> None:
    process = served.spawn("run", *GPU, "--name", "kept", "--", "echo begun; sleep 8; echo ended")
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    served.stop(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"ended\n"), err
    assert b"started a service in the background" in err
    served.nothing_left()
    served.ok("down")


def test_up_takes_over_from_the_service_that_run_brought(installation: Installation) -> None:
    assert installation.run("run", *GPU, "--", "true").returncode == 0
    brought = installation.running().pid
    installation.ok("up", "--detach")
    lasting = installation.running().pid
    assert lasting != brought
    assert installation.run("up", "--detach").returncode == 1, "one service per database"
    assert installation.running().pid == lasting
    installation.ok("down")


def test_a_demo_that_is_ended_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    files, here = tmp_path / "files", tmp_path / "here"
    files.mkdir()
    here.mkdir()
    (here / "runner.toml").write_text('image = "that of another story"\nname = 7\n')
    environ = {**os.environ, "TMPDIR": str(files)}
    with subprocess.Popen(
        [*RUNNER, "demo"], env=environ, cwd=here, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert any(line.startswith("training") for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert not list(files.iterdir())
    wait_until(lambda: not _processes_of(files), what="the end of all its processes")


def _processes_of(folder: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in process.environ().get("RUNNER_HOME", ""):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ('rm -rf "$HOME/.gpu-job-runner"', "could not be read"),
        (': > "$(echo "$HOME"/.gpu-job-runner/*/run/log)"', "its log is shorter"),
    ],
    ids=["no files", "no log"],
)
def test_a_login_alone_is_no_sign_that_the_job_can_be_followed(
    served: Installation, tmp_path: Path, harm: str, said: str
) -> None:
    """A machine whose command removed our files is not taken for reachable because it lets us in."""
    harmed = tmp_path / "harmed"
    job_id = served.submit(f"echo begun; {_until(tmp_path / 'read')}; {harm}; touch '{harmed}'; sleep 1000")
    uuid = served.until(job_id, "running")["attempts"][0]["instance_uuid"]
    wait_until(lambda: served.log(job_id), what="its beginning")
    (tmp_path / "read").touch()
    wait_until(harmed.exists, what="the harm")
    served.sim.drop_ssh(uuid)
    with served.quick() as client:
        (attempt,) = client.get(job_id)._view.attempts
        since = set()

        def tried_again() -> bool:
            since.add(attempts.unreachable_since(client.database, attempt.id))
            return served.tail().count(said) > 2

        wait_until(lambda: attempts.unreachable_since(client.database, attempt.id), what="the doubt")
        wait_until(tried_again, what="some tries")
    assert len(since) == 1
    assert None not in since
    served.sim.vanish(uuid)
    assert served.final(job_id)["reason"] == "lost"
    served.nothing_left()
