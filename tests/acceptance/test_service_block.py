"""`with runner.service():` leaves no machine without a service, and nobody else without theirs."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from jobs.store import reads
from jobs.store.database import Database
from runner import daemon, locks
from runner.client import Client
from tests.acceptance.harness import GPU, Installation
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


def test_an_idle_service_stays_while_somebody_wants_it(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    monkeypatch.setattr(reads, "unfinished", lambda _: looks.append(1) or 0)
    stopping = threading.Event()
    engine = SimpleNamespace(ctx=SimpleNamespace(stopping=stopping), stop=stopping.set)
    leaving = threading.Thread(target=daemon._leave_when_idle, args=(engine, db, 0.04))
    with locks.wanted(db.path):
        leaving.start()
        wait_until(lambda: len(looks) > 30, what="some looks")
        assert not stopping.is_set()
    wait_until(stopping.is_set, what="the end")
    leaving.join()
