"""A place for many machines: one simulated cloud, and workers that can be stopped, killed and started again.

As `bench.house`, with as many machines as wanted, and either workers around PostgreSQL and Redis or the
service of one computer on SQLite.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from sqlalchemy import select

from bench.house import GPU, START_SECONDS, STOP_SECONDS, wait_until
from jobs.models import Attempt
from jobs.store import leases
from runner import Client
from runner.sim import SimConfig, Simulator
from runner.sim.config import Product
from tests.environ import clean_environ

FILLING_RATE = 20
"""API requests a second while the account fills: at the usual two, 400 deploys alone would take 200 s."""
LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class Held:
    """One attempt that runs: who attends to it, and how much of its log is committed."""

    job_id: str
    owner: str | None
    log_bytes: int


class Farm:
    """One account, one home of whoever submits, and the workers, each with a home of its own."""

    def __init__(
        self, folder: Path, sim: Simulator, client: Client, environ: Mapping[str, str], module: str
    ) -> None:
        self.folder, self.sim, self.client = folder, sim, client
        self._environ, self._module = environ, module
        self._workers: list[subprocess.Popen[bytes]] = []

    def start(self, count: int = 1, **environ: str) -> list[psutil.Process]:
        """Start *count* workers (without a broker: the one service) and wait until all serve."""
        started = [self._spawn(environ) for _ in range(count)]  # at once: else the first would take all jobs
        db = self.client.database
        wait_until(
            lambda: (
                any(worker.poll() is not None for worker in started)
                or {worker.pid for worker in started} <= {worker.pid for worker in leases.workers(db)}
            ),
            START_SECONDS,
            "the workers",
            LOOK_SECONDS,
        )
        if ended := [worker.returncode for worker in started if worker.poll() is not None]:
            raise RuntimeError(f"workers have ended with {ended}: {self.said()}")
        return [psutil.Process(worker.pid) for worker in started]

    def _spawn(self, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
        home = self.folder / f"worker {len(self._workers) + 1}"
        home.mkdir(mode=0o700, exist_ok=True)
        alone = "RUNNER_BROKER_URL" not in self._environ
        ours = {} if alone else {"RUNNER_HOME": str(home)}
        ours["RUNNER_SSH_KEY"] = str(self.folder / "home" / "ssh" / "id_ed25519")
        with (self.folder / "workers.log").open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-P", "-m", self._module, "up" if alone else "worker"],
                env={**self._environ, **ours, **environ},
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._workers.append(worker)
        return worker

    def stop(self) -> None:
        """Stop all workers in order; what they attend to is handed back."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.terminate()
        for worker in workers:
            try:
                worker.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()

    def kill(self, process: psutil.Process) -> None:
        """`kill -9` one worker; returns when it is dead."""
        worker = next(worker for worker in self._workers if worker.pid == process.pid)
        worker.kill()
        worker.wait()
        self._workers.remove(worker)

    def processes(self) -> list[psutil.Process]:
        """The workers that live, as far as they were started here."""
        return [psutil.Process(worker.pid) for worker in self._workers if worker.poll() is None]

    def owner(self, process: psutil.Process) -> str:
        """The name of a worker in its leases."""
        return next(w.id for w in leases.workers(self.client.database) if w.pid == process.pid)

    def leads(self, process: psutil.Process) -> bool:
        """Whether this worker's observer leads."""
        return any(w.leads for w in leases.workers(self.client.database) if w.pid == process.pid)

    def running(self) -> dict[str, Held]:
        """The attempts that run, by their ids, in one small query: a look must not be a load of its own."""
        db = self.client.database
        columns = (Attempt.id, Attempt.job_id, Attempt.lease_owner, Attempt.log_bytes)
        with db.read() as session:
            rows = session.execute(select(*columns).where(Attempt.state == "running"))
            return {row[0]: Held(row[1], row[2], row[3]) for row in rows}

    def submit(self, commands: Sequence[str]) -> list[str]:
        """Queue jobs, all together; their ids."""
        jobs = self.client.submit_many(
            {"command": command, "gpu": GPU, "max_cost": 5, "max_runtime": "1h"} for command in commands
        )
        return [job.id for job in jobs]

    def warm(self) -> None:
        """One whole job, so that inventory, images and key are known and everything is imported."""
        [job_id] = self.submit(["true"])
        job = self.client.get(job_id)
        wait_until(lambda: job.refresh().state == "succeeded", 60, "the first job", LOOK_SECONDS)
        wait_until(lambda: not self.sim.instances(), 30, "the end of its machine", LOOK_SECONDS)

    def said(self) -> str:
        """The end of what the workers said."""
        return (self.folder / "workers.log").read_text(errors="replace")[-3000:]

    def calls(self, since: float) -> int:
        """How many API requests have come in since *since* (monotonic seconds)."""
        return sum(entry.at >= since for entry in self.sim.requests())


@contextmanager
def farm(
    machines: int,
    environ: Mapping[str, str],
    *,
    stock: int | None = None,
    boot_seconds: float = 0.2,
    module: str = "runner",
    guarded: bool = False,
) -> Iterator[Farm]:
    """Build it, and leave nothing behind: no process, no folder, whatever happens inside.

    *machines*: how many may be rented at once. *stock*: how many of them there are, by default enough.
    *module*: what is run as `runner`. *guarded*: whether machines get a token to end themselves with.
    """
    product = Product(GPU, "1x L40 (48GB)", 86, machines if stock is None else stock)
    config = SimConfig(boot_seconds=boot_seconds, products=(product,))
    with TemporaryDirectory(prefix="runner-bench-") as name, Simulator(config) as sim:
        folder = Path(name)
        home = folder / "home"
        home.mkdir(mode=0o700)
        ours = {
            "RUNNER_HOME": str(home),
            "RUNNER_API_URL": sim.url,
            "MASSED_COMPUTE_API_KEY": sim.token,
            "RUNNER_MAX_INSTANCES": str(machines),
        }
        if guarded:
            ours["RUNNER_GUARD_TOKEN"] = sim.token
        names = ("database_url", "broker_url", "artifacts_url", "secret_key")
        options = {name: environ.get(f"RUNNER_{name.upper()}") for name in names}
        given = {key: value for key, value in options.items() if value is not None}
        with Client(home=home, api_url=sim.url, **given) as client:
            built = Farm(folder, sim, client, {**clean_environ(), **ours, **environ}, module)
            try:
                yield built
            finally:
                built.stop()


def cpu(process: psutil.Process) -> float:
    """Seconds of processor time that a process and its children have used."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:  # a connection that was closed meanwhile
            continue
        total += times.user + times.system
    return total
