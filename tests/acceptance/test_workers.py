"""Several workers on one PostgreSQL and one Redis: whatever is killed, stopped or started again, each job
runs once, its log is whole, and no machine is left."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, make_url, select, text, update

from jobs.migrations import CODE
from jobs.models import Agreement, Attempt
from jobs.store import leases, schema
from jobs.store.database import Database
from jobs.store.leases import LEASE
from runner.sim.config import SimConfig
from runner.sim.simulator import Simulator
from tests.acceptance.harness import GPU, Installation, Workers
from tests.servers import SURE, Postgres, Redis
from tests.waiting import wait_until

ARRANGEMENTS = ("workers",)


@pytest.fixture
def fleet(installation: Installation) -> Workers:
    """Two workers' installation; none of them has been started yet."""
    assert isinstance(installation, Workers)
    return installation


class Counting:
    """Jobs that count in their logs until they may end, and say elsewhere that they have begun."""

    def __init__(self, fleet: Workers, folder: Path) -> None:
        self._fleet = fleet
        self._begun, self._enough = folder / "begun", folder / "enough"
        self.ids: list[str] = []

    def command(self) -> str:
        return (
            f"echo begun >> '{self._begun}'; "
            f"i=0; while i=$((i+1)); echo $i; ! [ -e '{self._enough}' ]; do sleep 0.3; done"
        )

    def submit(self, count: int) -> list[str]:
        new = [self._fleet.submit(self.command()) for _ in range(count)]
        self.ids += new
        return new

    def grow(self) -> None:
        """Wait until each log has grown."""
        before = {job_id: len(self._fleet.log(job_id)) for job_id in self.ids}
        for job_id, size in before.items():
            wait_until(lambda: len(self._fleet.log(job_id)) > size, timeout=90, what=f"the log of {job_id}")  # noqa: B023

    def end(self) -> None:
        """Let them end, and look at everything that they were to leave."""
        self._enough.touch()
        for job_id in self.ids:
            job = self._fleet.final(job_id)
            assert (job["state"], job["exit_code"]) == ("succeeded", 0), (job, self._fleet.tail())
            lines = self._fleet.log(job_id).split(b"\n")
            assert lines == [*(b"%d" % n for n in range(1, len(lines))), b""], "no gap, no repeat"
            assert [attempt["log"] for attempt in job["attempts"]] == ["sealed"]
            self._fleet.receipt_agrees(job)
        assert self._begun.read_text().count("begun") == len(self.ids), "each ran once"
        self._fleet.nothing_left()
        assert len(self._fleet.sim.ledger().charges) == len(self.ids), "nothing was rented twice"


@pytest.mark.parametrize("seconds", [1.5 * LEASE.total_seconds(), pytest.param(60.0, marks=pytest.mark.full)])
@pytest.mark.timeout(300)
def test_an_outage_longer_than_a_lease_takes_nothing_from_anybody(
    own_servers: OwnServers, tmp_path: Path, seconds: float
) -> None:
    """A crash of both, which are away for longer than leases last: each worker goes on with what it had."""
    fleet, postgres, redis = own_servers
    jobs = Counting(fleet, tmp_path)
    for job_id in jobs.submit(4):
        fleet.until(job_id, "running")
    before = _fences(fleet)
    listening = _listening(fleet)
    waits = fleet.spawn("wait", "--timeout", "10s", *jobs.ids)
    wait_until(lambda: _listening(fleet) > listening, what="a command that waits")
    redis.stop(signal.SIGKILL)
    postgres.stop(signal.SIGQUIT)
    ticks = time.monotonic()
    said = waits.communicate(timeout=60)[1]
    assert (waits.returncode, b"cannot be reached" in said) == (124, True), said
    refused = fleet.run("submit", *GPU, "--", "true")
    assert (refused.returncode, b"cannot be reached" in refused.stderr) == (3, True)
    wait_until(lambda: time.monotonic() - ticks > seconds, timeout=2 * seconds, what="an outage")
    postgres.start()
    redis.start()
    jobs.grow()
    assert _fences(fleet) == before, "nobody took anything over"
    jobs.end()


DISK = "CREATE OR REPLACE FUNCTION disk() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {}; END$$"
ROOM, FULL = "RETURN NULL", "RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'"
WATCHED = "CREATE TRIGGER disk BEFORE INSERT OR UPDATE OR DELETE ON {} EXECUTE FUNCTION disk()"


@contextmanager
def _full_disk(postgres: Postgres) -> Iterator[None]:
    """While this lasts the server answers, and takes no write of anybody: as one whose disk is full."""
    url = make_url(postgres.url()).set(drivername="postgresql+psycopg")
    owner = create_engine(url, isolation_level="AUTOCOMMIT")  # one lock at a time: others write meanwhile
    try:
        with owner.connect() as connection:
            connection.exec_driver_sql(DISK.format(ROOM))
            for table in inspect(owner).get_table_names():
                connection.exec_driver_sql(WATCHED.format(table))
            connection.exec_driver_sql(DISK.format(FULL))
        yield
    finally:
        with owner.connect() as connection:
            connection.exec_driver_sql(DISK.format(ROOM))
        owner.dispose()


@pytest.mark.parametrize("seconds", [2.0, pytest.param(60.0, marks=pytest.mark.full)])
@pytest.mark.timeout(300)
def test_a_database_that_takes_no_writes_for_a_while(
    own_servers: OwnServers, tmp_path: Path, seconds: float
) -> None:
    """It answers, so that everybody sees leases run out that nobody can renew: they are let alone."""
    fleet, postgres, _ = own_servers
    jobs = Counting(fleet, tmp_path)
    for job_id in jobs.submit(4):
        fleet.until(job_id, "running")
    jobs.grow()
    before = _fences(fleet)
    with _full_disk(postgres):
        wait_until(lambda: "nothing can be decided" in fleet.tail(), timeout=60, what="a refused write")
        ticks = time.monotonic()
        refused = fleet.run("submit", *GPU, "--", "true")
        assert (refused.returncode, b"out of disk" in refused.stderr) == (3, True), refused.stderr
        wait_until(lambda: time.monotonic() - ticks > seconds, timeout=2 * seconds + 30, what="an outage")
        assert {fleet.show(job_id)["state"] for job_id in jobs.ids} == {"running"}
    jobs.grow()
    assert _fences(fleet) == before, "nobody took anything over"
    jobs.end()


def _fences(fleet: Workers) -> dict[str, tuple[str | None, int]]:
    """Who holds each attempt, and how often that has changed."""
    with fleet.quick() as client, client.database.read() as session:
        rows = session.execute(select(Attempt.id, Attempt.lease_owner, Attempt.fence))
        return {row[0]: (row[1], row[2]) for row in rows}


def _listening(fleet: Workers) -> int:
    """How many wait for news."""
    count = text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'")
    with fleet.quick() as client, client.database.read() as session:
        return int(session.execute(count).scalar_one())


def _holders(db: Database) -> set[str | None]:
    with db.read() as session:
        return set(session.execute(select(Attempt.lease_owner).where(Attempt.state != "ended")).scalars())


def _id_of(db: Database, pid: int) -> str:
    return next(worker.id for worker in leases.workers(db) if worker.pid == pid)


OwnServers = tuple[Workers, Postgres, Redis]


@pytest.fixture
def own_servers(tmp_path: Path) -> Iterator[OwnServers]:
    """Two workers that serve, and servers of their own, which the test may stop."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    with ExitStack() as stack:
        postgres, redis = Postgres(SURE), Redis()
        for server in (postgres, redis):
            stack.callback(server.close)
            server.start()
        with closing(Database(postgres.url())) as db:
            schema.upgrade(db)
        sim = stack.enter_context(Simulator(SimConfig(boot_seconds=0.3)))
        fleet = Workers(home, sim, postgres.url(), redis.url())
        stack.callback(fleet.close)
        fleet.up()
        yield fleet, postgres, redis


@pytest.mark.timeout(400)
def test_everything_that_may_happen_to_two_workers(own_servers: OwnServers, tmp_path: Path) -> None:
    """Thirteen jobs; the leader killed, Redis flushed and started again, PostgreSQL started again."""
    fleet, postgres, redis = own_servers
    jobs = Counting(fleet, tmp_path)
    for job_id in jobs.submit(12):
        fleet.until(job_id, "running")
    first = fleet.leader()
    fleet.end(first, signal.SIGKILL)
    jobs.grow()  # the other one has taken over

    redis.flush()
    redis.stop()
    done = fleet.run("submit", *GPU, "--", jobs.command())
    assert done.returncode == 0, done.stderr
    assert b"the broker cannot be reached" in done.stderr
    jobs.ids.append(done.stdout.decode().strip())
    fleet.until(jobs.ids[-1], "running")  # without any broker
    redis.start()

    follower = fleet.spawn("logs", "-f", jobs.ids[0])
    waiter = fleet.spawn("wait", *jobs.ids)
    postgres.restart()
    jobs.grow()
    fleet.start(first)
    jobs.end()
    log, said = follower.communicate(timeout=60)
    assert log == fleet.log(jobs.ids[0]), said
    _, said = waiter.communicate(timeout=60)
    assert waiter.returncode == 0, said
    assert b"Traceback" not in fleet.service_log.read_bytes()
    assert "deadlock" not in postgres.log()


@pytest.mark.timeout(300)
def test_one_that_is_stopped_for_long_and_goes_on(fleet: Workers, tmp_path: Path) -> None:
    """SIGSTOP of the leader for three leases: the other takes over, and the first changes nothing more."""
    fleet.start(1)
    assert fleet.leader() == 1
    jobs = Counting(fleet, tmp_path)
    for job_id in jobs.submit(3):
        fleet.until(job_id, "running")
    fleet.start(2)
    with fleet.quick() as client:
        db = client.database
        stopped, other = (_id_of(db, fleet.workers[which].pid) for which in (1, 2))
        assert _holders(db) == {stopped}
        since = db.time()
        fleet.workers[1].send_signal(signal.SIGSTOP)
        wait_until(lambda: _holders(db) == {other}, timeout=60, what="the takeover")
        wait_until(lambda: db.time() - since > 3 * LEASE, timeout=60, what="three leases")
        before = _fences(fleet)
        jobs.grow()
        fleet.workers[1].send_signal(signal.SIGCONT)
        wait_until(lambda: any(w.id == stopped for w in leases.workers(db)), what="its sign of life")
        jobs.grow()
        assert _holders(db) == {other}
        assert _fences(fleet) == before
        assert fleet.leader() == 2
    jobs.end()


def test_one_that_is_asked_to_end_hands_back_at_once(fleet: Workers, tmp_path: Path) -> None:
    fleet.start(1)
    jobs = Counting(fleet, tmp_path)
    for job_id in jobs.submit(3):
        fleet.until(job_id, "running")
    fleet.start(2)
    with fleet.quick() as client:
        db = client.database
        other = _id_of(db, fleet.workers[2].pid)
        handed_back = db.time()
        assert fleet.end(1, signal.SIGTERM) == 0
        wait_until(lambda: _holders(db) == {other}, what="the takeover")
        with db.read() as session:
            taken = session.execute(select(Attempt.lease_until).where(Attempt.state != "ended")).scalars()
            assert all(until is not None and until > handed_back for until in taken)
        assert [worker.id for worker in leases.workers(db)] == [other], "it has signed off"
    jobs.end()


@pytest.mark.timeout(200)
def test_more_jobs_than_one_worker_has_seats(fleet: Workers, tmp_path: Path) -> None:
    """Both attend, neither to more than it may; what is left waits for a seat."""
    for number in (1, 2):
        fleet.start(number, "--seats", "2")
    jobs = Counting(fleet, tmp_path)
    for job_id in jobs.submit(4):
        fleet.until(job_id, "running")
    fifth = fleet.submit("echo fifth")
    with fleet.quick() as client:
        assert [worker.busy for worker in leases.workers(client.database)] == [2, 2]
        waits = wait_until(lambda: fleet.show(fifth)["reason"], what="why the fifth waits")
    assert waits == "waiting_for_slot"
    status = json.loads(fleet.ok("status", "--json"))
    assert [(w["busy"], w["seats"]) for w in status["workers"]] == [(2, 2), (2, 2)]
    assert [w["leads"] for w in status["workers"]].count(True) == 1
    assert fleet.ok("status").count(" 2 of 2 seats") == 2
    doctor = fleet.run("doctor").stdout.decode()
    assert "2 alive, 4 of 4 seats taken" in doctor
    assert "broker    answers" in doctor
    fleet.ok("cancel", fifth)
    jobs.end()


# What workers must have in common.

KEY_A, KEY_B = "A" * 43 + "=", "B" * 42 + "A="


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        ({}, {"RUNNER_SSH_KEY": "another key"}, "RUNNER_SSH_KEY"),
        ({"RUNNER_SECRET_KEY": KEY_A}, {"RUNNER_SECRET_KEY": KEY_B}, "RUNNER_SECRET_KEY"),
        ({"RUNNER_ARTIFACTS_URL": "s3://one"}, {"RUNNER_ARTIFACTS_URL": "s3://two"}, "RUNNER_ARTIFACTS_URL"),
    ],
)
def test_one_that_has_something_else_is_refused(
    fleet: Workers, first: dict[str, str], second: dict[str, str], named: str
) -> None:
    fleet.start(1, **first)
    home = fleet.home.parent / "another home"
    home.mkdir(mode=0o700)
    environ = {"RUNNER_SSH_KEY": str(fleet.home / "ssh" / "id_ed25519"), **second}
    if named == "RUNNER_SSH_KEY":
        environ[named] = str(home / "another_key")
    fleet.environ |= {"RUNNER_HOME": str(home), **environ}
    done = fleet.run("worker")
    assert done.returncode == 3
    sentence = done.stderr.decode().strip().splitlines()[-1]
    assert named in sentence
    assert str(fleet.workers[1].pid) in sentence
    assert not any(value in sentence for value in (KEY_A, KEY_B, "s3://"))
    with fleet.quick() as client:
        assert len(leases.workers(client.database)) == 1


@pytest.mark.timeout(200)
def test_one_that_becomes_too_old_drains(fleet: Workers, tmp_path: Path) -> None:
    """A migration that old code cannot work with ends the old workers, and no job."""
    fleet.up()
    jobs = Counting(fleet, tmp_path)
    for job_id in jobs.submit(2):
        fleet.until(job_id, "running")
    with fleet.quick() as client, client.database.write() as session:
        session.execute(update(Agreement).values(least_code=CODE + 1))
    for number in (1, 2):
        assert fleet.end(number) == 3
    assert "too old for the database" in fleet.tail()
    done = fleet.run("worker")
    assert (done.returncode, b"too old" in done.stderr) == (3, True), done.stderr
    with fleet.quick() as client, client.database.write() as session:
        session.execute(update(Agreement).values(least_code=CODE))
    fleet.up()
    jobs.end()


def test_workers_need_a_server_and_a_broker(fleet: Workers) -> None:
    del fleet.environ["RUNNER_BROKER_URL"]
    done = fleet.run("worker")
    assert (done.returncode, b"RUNNER_BROKER_URL" in done.stderr) == (2, True)
    del fleet.environ["RUNNER_DATABASE_URL"]
    done = fleet.run("worker")
    assert (done.returncode, b"PostgreSQL" in done.stderr) == (2, True)


def test_each_line_is_json_and_holds_no_secret(fleet: Workers) -> None:
    assert fleet.run("health").returncode == 3
    fleet.start(1, "--log-format", "json")
    assert "attends to 0 of 20 jobs" in fleet.ok("health")
    done = fleet.run("run", *GPU, "--name", "told", "--", "exit 3")
    assert done.returncode == 3
    job = fleet.show("told")
    fleet.nothing_left()
    with fleet.quick() as client, client.database.write() as session:
        session.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid != pg_backend_pid()")
        )
    assert fleet.end(1, signal.SIGTERM) == 0
    lines = [json.loads(line) for line in fleet.service_log.read_text().splitlines()]
    assert all({"time", "level", "logger", "message", "job", "attempt"} <= line.keys() for line in lines)
    of_job = [line for line in lines if line["job"] == job["id"]]
    assert any("exited with 3" in line["message"] for line in of_job)
    assert all(line["attempt"] in job["attempts"][0]["instance_name"] for line in of_job if line["attempt"])
    said = fleet.service_log.read_text()
    assert fleet.sim.token not in said
    assert "pass/word" not in said
    assert "pass%2Fword" not in said
