"""An installation as a person would have it: the real command line against a simulated cloud."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from jobs.store import doom, leases, reads
from jobs.store.news import News
from runner import daemon
from runner.client import Client
from runner.present import job_json
from runner.sim.simulator import Simulator
from tests import prefork
from tests.environ import clean_environ
from tests.waiting import wait_until

RUNNER = (sys.executable, "-P", "-m", "runner")
GPU = ("--gpu", "gpu_1x_l40")
PATIENCE = 90.0
FINAL = {"succeeded", "failed", "cancelled", "expired"}


class Installation:
    """One RUNNER_HOME, one account on one simulated cloud, and the commands between them."""

    def __init__(self, home: Path, sim: Simulator, extra: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.sim = sim
        self.environ = {
            **clean_environ(),
            "RUNNER_HOME": str(home),
            "RUNNER_API_URL": sim.url,
            "MASSED_COMPUTE_API_KEY": sim.token,
            "RUNNER_API_RATE": "20",
            **(extra or {}),
        }
        self.elsewhere: dict[str, str] = {}
        self.service: prefork.Process | None = None
        self.service_log = home.parent / f"{home.name}-service.log"

    def run(
        self, *words: str, cwd: Path | None = None, stdin: bytes | None = None, timeout: float = PATIENCE
    ) -> subprocess.CompletedProcess[bytes]:
        """One command, to its end."""
        return prefork.run(words, env=self.environ, cwd=cwd or self.home.parent, given=stdin, timeout=timeout)

    def ok(self, *words: str, **options: Any) -> str:
        """One command that must succeed; its standard output."""
        done = self.run(*words, **options)
        assert done.returncode == 0, (words, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout.decode()

    def spawn(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """One command, left to run."""
        return subprocess.Popen(
            [*RUNNER, *words],
            env=self.environ,
            cwd=self.home.parent,
            **{
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                **options,
            },
        )

    def submit(self, *command: str, **options: Any) -> str:
        """Queue a job as a process that is not the service; its id. *options*: keywords of the Python API."""
        with self.quick() as client:
            line = command[0] if len(command) == 1 else command
            return client.submit(line, **{"gpu": GPU[1], "max_cost": 5, **options}).id

    def up(self) -> prefork.Process:
        """Start the service and wait until it serves."""
        with self.service_log.open("ab") as log:
            self.service = prefork.start(["up"], env=self.environ, cwd=self.home.parent, output=log.fileno())
        service = self.service
        with self.quick() as client:
            db = client.database
            wait_until(
                lambda: service.poll() is not None or leases.workers(db), timeout=PATIENCE, what="the service"
            )
        assert service.poll() is None, self.tail()
        return service

    def stop(self, number: int = signal.SIGTERM, timeout: float = 30) -> int | None:
        """Send the service a signal and wait for its end; its exit status."""
        if self.service is None:
            return None
        if self.service.poll() is None:
            self.service.send_signal(number)
        status = self.service.wait(timeout)
        self.service = None
        return status

    def serving(self) -> list[psutil.Process]:
        """The processes that attend to jobs."""
        with self.quick() as client:
            return [psutil.Process(worker.pid) for worker in leases.workers(client.database)]

    def running(self) -> daemon.Running | None:
        """The service of this database, whoever started it; no process is started to ask."""
        with self.quick() as client:
            return daemon.find(client.settings)

    def show(self, job: str) -> dict[str, Any]:
        """What `show --json` prints, without a process for each look."""
        with self.quick() as client:
            return job_json(reads.show(client.database, client.get(job).id))

    def jobs(self) -> list[str]:
        """The ids of all jobs, the newest first, without a process either."""
        with self.quick() as client:
            return [job.id for job in client.jobs()]

    def log(self, job: str) -> bytes:
        """The bytes of the log as it is now."""
        with self.quick() as client:
            return b"".join(client.get(job).logs(raw=True))

    def until(self, job: str, *states: str, timeout: float = PATIENCE) -> dict[str, Any]:
        """Wait until the job is in one of these states; what `show` says then."""
        end = time.monotonic() + timeout
        with self.quick() as client, News(client.database) as news:
            found = client.get(job)
            while found.refresh().state not in states:
                assert time.monotonic() < end, (
                    f"job {job} is {found.state} ({found.detail}), not {states}; service: {self.tail()}"
                )
                news.wait(1.0)  # a look into the database costs more than many of these
            return job_json(reads.show(client.database, found.id))

    def final(self, job: str, timeout: float = PATIENCE) -> dict[str, Any]:
        """Wait until the job is final; what `show` says then."""
        return self.until(job, *FINAL, timeout=timeout)

    @contextmanager
    def quick(self) -> Iterator[Client]:
        """The Python API in this process."""
        with Client(home=self.home, **self.elsewhere) as client:
            yield client

    @contextmanager
    def without_store(self) -> Iterator[None]:
        """While this lasts no artifact can be read or stored."""
        store = Path(self.elsewhere.get("artifacts_url") or self.home / "artifacts")
        hidden = store.with_name("hidden")
        if store.exists():
            store.rename(hidden)
        store.write_text("in the way")
        try:
            yield
        finally:
            store.unlink()
            if hidden.exists():
                hidden.rename(store)

    def tail(self) -> str:
        """The end of what the service said."""
        try:
            return self.service_log.read_text(errors="replace")[-3000:]
        except OSError:
            return ""

    def nothing_left(self) -> None:
        """No machine on the account, none in our books, and no process of one."""
        wait_until(lambda: not self.sim.instances(), what="the end of all machines")
        with self.quick() as client:
            assert doom.instances(client.database) == []

    def receipt_agrees(self, job: dict[str, Any]) -> None:
        """Never below the cloud's own bill, and above it by a minute an instance at most."""
        ledger = self.sim.ledger()
        for attempt in job["attempts"]:
            if attempt["instance_uuid"] is None:
                continue
            charge = ledger[attempt["instance_uuid"]]
            if attempt["cost_estimated"]:
                continue
            assert charge.minutes <= attempt["minutes"] <= charge.minutes + 1, (charge, attempt)

    def close(self) -> None:
        """End whatever is left, gently first."""
        if self.service is not None and self.service.poll() is None:
            self.service.send_signal(signal.SIGCONT)
            self.stop()
        if (self.home / "runner.db.service.json").exists():  # one in the background, perhaps
            self.run("down", "--force")


def guards(sim: Simulator, uuid: str) -> list[psutil.Process]:
    """The processes on a machine that end it at its expiry."""
    found = []
    for process in sim.processes(uuid):
        with suppress(psutil.NoSuchProcess):  # a word with the machine, which was over meanwhile
            if process.cmdline()[-1:] == ["guard"]:
                found.append(process)
    return found


class Workers(Installation):
    """The same with PostgreSQL, Redis and several workers, each in a home of its own."""

    def __init__(
        self,
        home: Path,
        sim: Simulator,
        database_url: str,
        broker_url: str,
        extra: Mapping[str, str] | None = None,
        *,
        count: int = 2,
    ) -> None:
        store = str(home.parent / f"{home.name} store")
        addresses = {
            "RUNNER_DATABASE_URL": database_url,
            "RUNNER_BROKER_URL": broker_url,
            "RUNNER_ARTIFACTS_URL": store,
        }
        super().__init__(home, sim, {**addresses, **(extra or {})})
        store = self.environ["RUNNER_ARTIFACTS_URL"]
        self.elsewhere = {"database_url": database_url, "broker_url": broker_url, "artifacts_url": store}
        self.count = count
        self.workers: dict[int, prefork.Process] = {}

    def up(self) -> prefork.Process:
        """Start the workers that are missing and wait until all serve."""
        started = [self.start(number) for number in range(1, self.count + 1) if number not in self.workers]
        return started[0]

    def start(self, number: int, *words: str, **environ: str) -> prefork.Process:
        """Start one worker and wait until it serves."""
        home = self.home.parent / f"{self.home.name} of worker {number}"
        home.mkdir(mode=0o700, exist_ok=True)
        ours = {"RUNNER_HOME": str(home), "RUNNER_SSH_KEY": str(self.home / "ssh" / "id_ed25519")}
        with self.service_log.open("ab") as log:
            worker = prefork.start(
                ["worker", *words],
                env={**self.environ, **ours, **environ},
                cwd=home,
                output=log.fileno(),
            )
        self.workers[number] = worker
        with self.quick() as client:
            db = client.database
            wait_until(
                lambda: worker.poll() is not None or any(w.pid == worker.pid for w in leases.workers(db)),
                timeout=PATIENCE,
                what=f"worker {number}",
            )
        assert worker.poll() is None, self.tail()
        return worker

    def stop(self, number: int = signal.SIGTERM, timeout: float = 30) -> int | None:
        """Send all workers a signal and wait for their ends; the first exit status that is not 0."""
        for worker in self.workers.values():
            worker.send_signal(number)
        found = [self.end(which, timeout=timeout) for which in list(self.workers)]
        return next((status for status in found if status), 0)

    def end(self, which: int, number: int | None = None, timeout: float = 30) -> int:
        """Send one worker a signal, if any, and wait for its end; its exit status."""
        worker = self.workers.pop(which)
        if number is not None:
            worker.send_signal(number)
        return worker.wait(timeout)

    def leader(self) -> int:
        """The number of the worker that leads."""
        with self.quick() as client:
            return wait_until(lambda: self._leader(client), what="somebody who leads")

    def _leader(self, client: Client) -> int | None:
        pids = [worker.pid for worker in leases.workers(client.database) if worker.leads]
        return next((which for which, worker in self.workers.items() if worker.pid in pids), None)

    def close(self) -> None:
        for worker in self.workers.values():
            worker.send_signal(signal.SIGCONT)
        self.stop()
