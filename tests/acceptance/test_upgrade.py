"""Upgrades: workers of two releases side by side, and a service that is ended by one and begun by the next.

They need the repository's history, so they are part of `make test-full` only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobs.migrations import HEAD
from jobs.store import leases, schema
from jobs.store.database import Database
from tests import history, prefork
from tests.acceptance.conftest import Make
from tests.acceptance.harness import FINAL, GPU, Installation, Workers
from tests.waiting import wait_until

WORKER = "runner/worker.py"
SECRETS = "jobs/secrets.py"
ARRANGEMENTS = ("workers",)

pytestmark = pytest.mark.full


def _tag() -> list[str]:
    """The last release before this commit, where there is one."""
    tag = history.git("describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^")
    return [tag] if tag else []


def _earlier_schemas() -> Iterator[str]:
    """The last commits from which there is a migration to here; the newest first."""
    return (commit for revision, commit in history.schemas() if revision != HEAD)


@pytest.fixture
def last_release(tmp_path: Path) -> Path:
    """The code of the last release that has workers: the latest tag before this, else what main was.

    Where this is main itself, it is what main was before the last migration.
    """
    here = history.git("rev-parse", "HEAD")
    for candidate in (*_tag(), "origin/main", *_earlier_schemas()):
        commit = history.git("rev-parse", "--verify", "--quiet", f"{candidate}^{{commit}}")
        if commit and commit != here and history.git("ls-tree", "--name-only", commit, WORKER):
            return history.unpack(commit, tmp_path / "release")
    pytest.skip("no earlier release has `runner worker`, so nothing was upgraded")


@pytest.fixture
def earlier_schema(tmp_path: Path) -> Path:
    """The code of the last release, or else commit, from which there is a migration to here."""
    tags = (tag for tag in _tag() if history.schema_of(tag) not in (HEAD, None))
    for commit in (*tags, *_earlier_schemas()):
        return history.unpack(commit, tmp_path / "release")
    pytest.skip("there is no history, so nothing was upgraded")


@pytest.fixture
def before_secrets(tmp_path: Path) -> Path:
    """The code of main before it knew secrets."""
    added = history.git("log", "--first-parent", "--diff-filter=A", "--format=%H", "--", SECRETS).split()
    commit = history.git("rev-parse", "--verify", "--quiet", f"{added[-1]}^") if added else ""
    if not commit:
        pytest.skip("there is no history, so nobody was too old")
    return history.unpack(commit, tmp_path / "release")


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
    installation: Installation, before_secrets: Path
) -> None:
    """A worker that knows no secrets would run such a job without them: it drains, and others run it."""
    fleet = installation
    assert isinstance(fleet, Workers)
    fleet.environ |= {"RUNNER_SECRET_KEY": "A" * 43 + "=", "HF_TOKEN": "a value"}
    fleet.start(1, PYTHONPATH=str(before_secrets))
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


@pytest.mark.arrangements("service")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["asked", "killed"])
def test_jobs_go_on_when_the_service_is_upgraded(
    make: Make, earlier_schema: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """The old service ends while one job runs and one waits; the new one migrates, and has both."""
    installation = make(RUNNER_MAX_INSTANCES="1")
    gate = tmp_path / "go on"
    with _old_service(installation, earlier_schema) as service:
        running = _old_job(installation, earlier_schema, gate)
        queued = _old_submit(installation, earlier_schema, "echo my turn")
        wait_until(lambda: _old_show(installation, earlier_schema, queued)["detail"], what="why it waits")
        shown = _old_show(installation, earlier_schema, running)
        service.send_signal(number)
        status = service.wait(60)
    assert status == (0 if number == signal.SIGTERM else -number), installation.tail()
    assert shown["state"] == "running"
    assert _revision(installation) not in (HEAD, None), "it is migrated by who comes next"

    _new_service(installation)
    assert installation.show(running)["state"] == "running"
    assert installation.log(running) == b"before\n"
    gate.touch()
    job, waited = installation.final(running), installation.final(queued)
    for ended in (job, waited):
        assert (ended["state"], len(ended["attempts"])) == ("succeeded", 1), (ended, installation.tail())
        installation.receipt_agrees(ended)
    assert job["attempts"][0]["instance_uuid"] == shown["attempts"][0]["instance_uuid"]
    assert job["attempts"][0]["log"] == "sealed"
    assert installation.log(running) == b"before\nafter\n"
    assert installation.log(queued) == b"my turn\n"
    assert len(installation.sim.ledger().charges) == 2, "nothing else was rented"
    installation.nothing_left()


@pytest.mark.arrangements("service")
@pytest.mark.timeout(300)
def test_a_command_of_today_beside_the_service_of_before(
    make: Make, earlier_schema: Path, tmp_path: Path
) -> None:
    """It migrates the database under the old service, which serves on what it knows."""
    installation = make()
    gate = tmp_path / "go on"
    with _old_service(installation, earlier_schema) as service:
        running = _old_job(installation, earlier_schema, gate)
        assert _revision(installation) not in (HEAD, None)
        assert running in installation.ok("ls")
        assert _revision(installation) == HEAD
        submitted = installation.submit("echo new")
        assert installation.final(submitted)["state"] == "succeeded", "the old service runs it"
        gate.touch()
        job = installation.final(running)
        assert (job["state"], len(job["attempts"])) == ("succeeded", 1), (job, installation.tail())
        assert installation.log(running) == b"before\nafter\n"
        assert installation.log(submitted) == b"new\n"
        installation.nothing_left()
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0, installation.tail()


@contextmanager
def _old_service(installation: Installation, code: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The old code's service. What of ours opens its database would migrate it, so nothing here does."""
    with installation.service_log.open("ab") as log:
        service = subprocess.Popen(
            history.command("up"),
            env=history.environ_of(code, installation.environ),
            cwd=installation.home.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    with service:
        try:
            serves = installation.home / "runner.db.service.json"
            wait_until(lambda: serves.exists() or service.poll() is not None, timeout=90, what="the service")
            assert service.poll() is None, installation.tail()
            _runs_from(service, code)
            yield service
        finally:
            service.kill()


def _new_service(installation: Installation) -> None:
    """The service of today; nobody else opens the database before it has migrated it."""
    with installation.service_log.open("ab") as log:
        service = prefork.start(
            ["up"], env=installation.environ, cwd=installation.home.parent, output=log.fileno()
        )
    installation.service = service
    wait_until(
        lambda: service.poll() is not None or _revision(installation) == HEAD,
        timeout=90,
        what="the migration",
    )
    assert service.poll() is None, installation.tail()


def _old(installation: Installation, code: Path, *words: str) -> bytes:
    return history.run(code, *words, environ=installation.environ, cwd=installation.home.parent)


def _old_submit(installation: Installation, code: Path, command: str) -> str:
    return _old(installation, code, "submit", *GPU, "--max-cost", "5", "--", command).decode().strip()


def _old_job(installation: Installation, code: Path, gate: Path) -> str:
    """A job that the old service runs, until somebody makes *gate*."""
    job = _old_submit(
        installation, code, f"echo before; until [ -e '{gate}' ]; do sleep 0.1; done; echo after"
    )
    wait_until(lambda: _old(installation, code, "logs", job) == b"before\n", timeout=90, what="its log")
    return job


def _old_show(installation: Installation, code: Path, job: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_old(installation, code, "show", "--json", job))
    assert found["state"] not in FINAL, found
    return found


def _revision(installation: Installation) -> str | None:
    with closing(Database(f"sqlite:///{installation.home / 'runner.db'}")) as database:
        return schema.revision(database)


def _runs_from(worker: prefork.Process, folder: Path) -> None:
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
