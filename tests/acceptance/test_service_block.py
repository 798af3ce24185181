"""`with runner.service():` leaves no machine without a service, and nobody else without theirs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from filelock import FileLock

from jobs.errors import ServiceUnavailable
from jobs.store import locks, reads
from jobs.store.database import Database
from runner import daemon
from runner.client import Client
from tests.acceptance.harness import GPU, Installation
from tests.conformance.store_kit import ON_SQLITE
from tests.waiting import wait_until


@pytest.fixture
def client(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Client:
    for name in ("RUNNER_HOME", "RUNNER_API_URL", "MASSED_COMPUTE_API_KEY", "RUNNER_API_RATE"):
        monkeypatch.setenv(name, installation.environ[name])
    return Client()


def test_a_machine_that_is_rented_at_the_end_keeps_its_service(
    client: Client, installation: Installation
) -> None:
    with client:
        block = client.service()
        block.__enter__()
        job = client.submit("sleep 1000", gpu=GPU[1])
        wait_until(lambda: job.refresh().state == "running", what="the job")
        with pytest.warns(RuntimeWarning) as warned:
            block.__exit__(None, None, None)
        running = installation.running()
        assert running is not None
        assert running.leaves
        (said,) = [str(warning.message) for warning in warned]
        assert job.attempts[0].instance_name in said
        assert f"pid {running.pid}" in said
        assert warned[0].filename == __file__
        with client.service():  # it is there, so it is nobody's to stop
            job.cancel()
            job.wait()
        assert installation.running() == running
        daemon.stop(client.settings)
    installation.nothing_left()


def test_a_deploy_under_way_at_the_end_keeps_its_service(client: Client, installation: Installation) -> None:
    installation.sim.faults.add(operation="deployInstance", kind="slow", seconds=3.0, times=1)
    with client:
        block = client.service()
        block.__enter__()
        job = client.submit("sleep 1000", gpu=GPU[1])
        wait_until(lambda: job.refresh().state == "deploying", what="the deploy")
        with pytest.warns(RuntimeWarning, match="machines are rented"):
            block.__exit__(None, None, None)
        assert installation.running() is not None
        job.cancel()
        job.wait()
        daemon.stop(client.settings)
    installation.nothing_left()


@ON_SQLITE
def test_a_child_that_was_forked_meanwhile_wants_nothing(db: Database) -> None:
    assert db.path is not None
    read, write = os.pipe()
    with locks.wanted(db.path):
        if not (child := os.fork()):
            os.close(write)
            os.read(read, 1)  # until the other end is closed
            os._exit(0)
    assert locks.leave(db.path)
    os.close(write)
    os.waitpid(child, 0)
    os.close(read)


@ON_SQLITE
def test_who_comes_while_a_service_leaves_waits_for_its_end(db: Database) -> None:
    assert db.path is not None
    leaves = (
        "import pathlib, sys; from jobs.store import locks;"
        "print(locks.leave(pathlib.Path(sys.argv[1])), flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-P", "-c", leaves, str(db.path)]
    came = threading.Event()

    def come() -> None:
        assert db.path is not None
        with locks.wanted(db.path):
            came.set()

    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as leaving:
        assert leaving.stdout.readline() == b"True\n"
        comer = threading.Thread(target=come)
        comer.start()
        assert not came.is_set()
        leaving.stdin.close()
    comer.join()
    assert came.is_set()


def test_a_service_that_does_not_say_who_it_is_gets_no_signal(client: Client) -> None:
    """Signal to process 0 would be one to ourselves and all that we started."""
    silent = FileLock(locks.beside(daemon._database(client.settings), locks.SERVICE))
    with client, silent, pytest.raises(ServiceUnavailable, match="does not say which process"):
        daemon.stop(client.settings)


def test_the_last_block_ends_the_service(client: Client, installation: Installation) -> None:
    with client:
        with client.service():
            with client.service():
                first = installation.running()
            assert installation.running() == first, "it is the outer block's"
        assert installation.running() is None
        one, other = client.service(), client.service()
        one.__enter__()
        other.__enter__()
        one.__exit__(None, None, None)
        assert installation.running() is not None, "the other block wants it"
        other.__exit__(None, None, None)
        daemon.stop(client.settings)


@ON_SQLITE
def test_an_idle_service_stays_while_somebody_wants_it(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    monkeypatch.setattr(reads, "unfinished", lambda _: looks.append(1) or 0)
    stopping = threading.Event()
    engine = SimpleNamespace(ctx=SimpleNamespace(stopping=stopping), on_drain=stopping.set)
    leaving = threading.Thread(target=daemon._leave_when_idle, args=(engine, db, 0.04))
    with locks.wanted(db.path):
        leaving.start()
        wait_until(lambda: len(looks) > 30, what="some looks")
        assert not stopping.is_set()
    wait_until(stopping.is_set, what="the end")
    leaving.join()
