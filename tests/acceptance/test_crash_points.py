"""kill -9 at every commit and around every call to the outside: each time the job ends right, and once."""

from __future__ import annotations

import json
import signal
import subprocess
import zlib
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from jobs.states import FINAL
from tests import crashing, prefork
from tests.acceptance.conftest import Make
from tests.acceptance.harness import GPU, Installation, Workers
from tests.acceptance.test_secrets import new_key
from tests.receiver import Post, Receiver
from tests.waiting import wait_until

ARRANGEMENTS = ("service", "workers")
IN_FULL = ("workers",)
SHARES = 4
PART = 6
"""`make test` kills at one point of so many, of one share; `make test-full` at all."""
AFTERWARDS = ("outbox", "notify")
NOTED_SECONDS = 5
"""How long one of these points may take to come after the job is final and its notification is there."""


CEILING = "0.20"


class _Killing:
    """An installation that runs the same job again and again, and is killed at another point each time.

    All its jobs are paid by one budget. With ``stopped`` they go on until their ceiling in time.
    """

    stopped = False

    def __init__(self, served: Installation, folder: Path, receiver: Receiver) -> None:
        self.served, self.folder, self.receiver = served, folder, receiver
        self.marks = folder / "marks"
        self.workdir = folder / "work dir"
        self.workdir.mkdir()
        (self.workdir / "data").write_text("data\n")
        served.ok("budget", "set", "crashes", "100")

    def submit(self) -> str:
        self.marks.unlink(missing_ok=True)
        before = dict(self.served.environ)
        self.served.environ["TOKEN"] = "swordfish"
        command = f"cat data; echo $TOKEN | tr a-z A-Z; echo ran >>'{self.marks}'; seq 3; cp data result"
        options = ["--workdir", str(self.workdir), "--setup", "echo set up", "--output", "result"]
        options += ["--max-cost", CEILING, "--budget", "crashes", "--secret", "TOKEN"]
        if self.stopped:
            options += ["--max-runtime", "10s", "--grace", "2s"]
            command += "; sleep 600"
        try:
            return self.served.ok("submit", *GPU, *options, "--", command).strip()
        finally:
            self.served.environ = before

    def start(self, order: str) -> prefork.Process:
        """Something that serves and does as it is told at its points; it may die before it serves."""
        words, environ = ["up"], {**self.served.environ, crashing.VARIABLE: order}
        cwd = self.served.home.parent
        if isinstance(self.served, Workers):
            words, cwd = ["worker"], self.folder / "worker"
            cwd.mkdir(exist_ok=True, mode=0o700)
            environ |= {
                "RUNNER_HOME": str(cwd),
                "RUNNER_SSH_KEY": str(self.served.home / "ssh" / "id_ed25519"),
            }
        with self.served.service_log.open("ab") as log:
            return prefork.start(words, env=environ, cwd=cwd, output=log.fileno())

    def points(self, *, running: bool = False) -> list[str]:
        """All that are passed on one job's way, and when the service stops, in their order.

        *running*: only those that come after its command has begun.
        """
        noted = self.folder / "points"
        process = self.start(f"note:{noted}")
        passed = 0
        try:
            job_id = self.submit()
            if running:
                wait_until(self.marks.exists, timeout=60, what="a command that runs")
                passed = len(noted.read_text().splitlines())
            self.check(job_id)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        return noted.read_text().splitlines()[passed:]

    def killed_at(self, point: str) -> bool:
        """Whether it came by there. Whatever happened: the job is done, once, and nothing is left."""
        process = self.start(f"kill:{point}")
        try:
            job_id = self.submit()
            with self.served.quick() as client:
                job = client.get(job_id)
                wait_until(
                    lambda: (
                        process.poll() is not None or (job.refresh().state in FINAL and self.told(job_id))
                    ),
                    timeout=90,
                    what=f"a death {point}",
                )
                if any(part in point for part in AFTERWARDS):
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(NOTED_SECONDS)
        finally:
            process.send_signal(signal.SIGTERM)
            killed = process.wait(30) == -signal.SIGKILL
        self.served.up()
        self.check(job_id, point)
        self.served.stop()
        return killed

    def told(self, job_id: str) -> list[Post]:
        """The notifications of a job that have come."""
        return [post for post in self.receiver.received if post.body["id"] == job_id]

    def check(self, job_id: str, point: str = "never") -> None:
        job = self.served.final(job_id)
        end = ("expired", "max_runtime") if self.stopped else ("succeeded", "exit_code")
        assert (job["state"], job["reason"]) == end, (point, job, self.served.tail())
        assert self.served.log(job_id) == b"set up\ndata\nSWORDFISH\n1\n2\n3\n", point
        assert self.marks.read_text() == "ran\n", f"{point}: it ran twice, or never"
        assert job["attempts"][-1]["outputs"]["complete"], (point, job)
        with self.served.quick() as client:
            (path,) = client.get(job_id).download(self.folder / job_id)
        assert path.read_text() == "data\n", point
        self.served.nothing_left()
        self.served.receipt_agrees(job)
        self.check_money(job, point)
        told = wait_until(
            lambda: self.told(job_id),
            timeout=120,  # one that may have been sent is sent again after a minute
            what=f"the notification, killed {point}",
        )
        assert len({post.id for post in told}) == 1, f"{point}: told of it as of two"

    def check_money(self, job: dict[str, Any], point: str) -> None:
        """The job cost no more than its ceiling; its budget has paid for what jobs have cost, no more."""
        assert Decimal(job["cost_usd"]) <= Decimal(CEILING), (point, job)
        jobs = json.loads(self.served.ok("ls", "--json"))
        (budget,) = json.loads(self.served.ok("budget", "ls", "--json"))
        assert Decimal(budget["spent_usd"]) == sum(Decimal(one["cost_usd"]) for one in jobs), (point, budget)
        assert (budget["reserved_usd"], budget["waiting_jobs"]) == ("0.00", 0), (point, budget)


@pytest.fixture
def killing(make: Make, tmp_path: Path) -> Iterator[_Killing]:
    with Receiver() as receiver:
        # Two homes, or one: the secrets are read with the same key.
        served = make(RUNNER_NOTIFY_URL=receiver.url, RUNNER_SECRET_KEY=new_key())
        served.environ["RUNNER_GUARD_TOKEN"] = served.environ["MASSED_COMPUTE_API_KEY"]
        if isinstance(served, Workers):
            served.count = 1
        yield _Killing(served, tmp_path, receiver)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "share", [0, *(pytest.param(number, marks=pytest.mark.full) for number in (1, 2, 3))]
)
def test_killed_at_points_of_a_job_s_way(
    killing: _Killing, share: int, request: pytest.FixtureRequest
) -> None:
    points = killing.points()
    assert len(points) > 80, "commits and calls, before and after each"
    points = [point for point in points if zlib.crc32(point.encode()) % SHARES == share]
    if "not full" in request.config.option.markexpr:
        points = points[::PART]
    _kill_at(killing, points, request)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_killed_at_points_of_the_way_of_one_that_its_ceiling_ends(
    killing: _Killing, request: pytest.FixtureRequest
) -> None:
    killing.stopped = True
    points = killing.points(running=True)
    assert len(points) > 30, "its stop, the end of its log, its outputs, its machine's end"
    _kill_at(killing, points, request)


def _kill_at(killing: _Killing, points: list[str], request: pytest.FixtureRequest) -> None:
    reached = [point for point in points if killing.killed_at(point)]
    never = sorted(set(points) - set(reached))
    told = f"killed at {len(reached)} of {len(points)} points; never passed: {never}"
    request.node.add_report_section("call", "points", told)
    assert len(reached) > len(points) // 2, "few are passed with the first job only"
