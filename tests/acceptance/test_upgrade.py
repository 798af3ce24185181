"""A rolling upgrade: a worker of this commit and one of the last release, side by side on one database.

It needs the repository's history, so it is part of `make test-full` only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from jobs.store import leases, schema
from tests.acceptance.harness import GPU, Installation, Workers

ROOT = Path(__file__).parents[2]
WORKER = "runner/worker.py"
ARRANGEMENTS = ("workers",)

pytestmark = pytest.mark.full


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


@pytest.fixture
def last_release(tmp_path: Path) -> Path:
    """The code of the last release that has workers: the latest tag before this, else what main was."""
    here = _git("rev-parse", "HEAD")
    tag = _git("describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^")
    for candidate in (tag, "origin/main", "HEAD^"):
        commit = _git("rev-parse", "--verify", "--quiet", f"{candidate}^{{commit}}") if candidate else ""
        if commit and commit != here and _git("ls-tree", "--name-only", commit, WORKER):
            break
    else:
        pytest.skip("no earlier release has `runner worker`, so nothing was upgraded")
    archive, folder = tmp_path / "release.tar", tmp_path / "release"
    subprocess.run(["git", "archive", "-o", archive, commit], cwd=ROOT, check=True)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


@pytest.mark.timeout(300)
def test_old_and_new_side_by_side(installation: Installation, last_release: Path) -> None:
    """The database is migrated first; then one worker after the other is replaced, and no job notices."""
    fleet = installation
    assert isinstance(fleet, Workers)
    with fleet.quick() as client:
        schema.upgrade(client.database)
        fleet.start(1, PYTHONPATH=str(last_release))
        fleet.start(2)
        command = "for i in $(seq 1 30); do echo $i; sleep 0.5; done"
        expected = b"".join(b"%d\n" % number for number in range(1, 31))
        ids = [fleet.submit(command) for _ in range(6)]
        for job_id in ids:
            fleet.until(job_id, "running")
        _runs_from(fleet.workers[1], last_release)
        assert fleet.end(2, signal.SIGKILL) < 0, "the old one takes over from the new one"
        fleet.start(3)
        assert fleet.end(1, signal.SIGTERM) == 0, "and hands over to the next"
        for job_id in ids:
            job = fleet.final(job_id)
            assert (job["state"], len(job["attempts"])) == ("succeeded", 1), (job, fleet.tail())
            assert fleet.log(job_id) == expected
        assert len(leases.workers(client.database)) >= 1
    fleet.nothing_left()


@pytest.mark.timeout(300)
def test_the_first_job_with_secrets_ends_the_time_of_the_old_ones(
    installation: Installation, last_release: Path
) -> None:
    """A worker that knows no secrets would run such a job without them: it drains, and others run it."""
    if (last_release / "jobs" / "secrets.py").exists():
        pytest.skip("the last release knows secrets already, so nobody had to leave")
    fleet = installation
    assert isinstance(fleet, Workers)
    fleet.environ |= {"RUNNER_SECRET_KEY": "A" * 43 + "=", "HF_TOKEN": "a value"}
    fleet.start(1, PYTHONPATH=str(last_release))
    fleet.start(2)
    plain = fleet.submit("echo plain")
    assert fleet.final(plain)["state"] == "succeeded", "both serve until then"
    secret = fleet.ok("submit", *GPU, "--secret", "HF_TOKEN", "--", 'echo "${#HF_TOKEN} characters"').strip()
    assert fleet.workers.pop(1).wait(60) != 0, "it says that it is too old"
    assert "too old" in fleet.tail()
    job = fleet.final(secret)
    assert (job["state"], len(job["attempts"])) == ("succeeded", 1), (job, fleet.tail())
    assert fleet.log(secret) == b"7 characters\n"
    fleet.nothing_left()


def _runs_from(worker: subprocess.Popen[bytes], folder: Path) -> None:
    """That it was the old code: what a process imported is open to nobody, but its environment is."""
    environ = Path(f"/proc/{worker.pid}/environ")
    if environ.exists():
        assert f"PYTHONPATH={folder}".encode() in environ.read_bytes().split(b"\0")
        code = "import runner; print(runner.__file__)"
        found = subprocess.run(
            [sys.executable, "-P", "-c", code],
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert found.stdout.startswith(str(folder))
