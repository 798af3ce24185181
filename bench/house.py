"""A place to measure in: one simulated cloud, one home, and the service as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from runner import Client, Job
from runner.sim import SimConfig, Simulator
from tests.environ import clean_environ

GPU = "gpu_1x_l40"
FINAL = ("succeeded", "failed", "cancelled", "expired")
START_SECONDS = 30.0
STOP_SECONDS = 15.0


class Late(Exception):
    """A measurement took longer than it may."""


class House:
    """What one group of measurements needs. ``service`` is the process that serves."""

    def __init__(self, folder: Path, sim: Simulator, service: psutil.Process, client: Client) -> None:
        self.folder, self.sim, self.service, self.client = folder, sim, service, client

    def submit(self, command: str) -> Job:
        return self.client.submit(command, gpu=GPU, max_cost=5, max_runtime="5m")

    def warm(self) -> None:
        """One whole job, so that inventory, images and key are known and everything is imported."""
        self.final(self.submit("true"))

    def final(self, job: Job, seconds: float = 60) -> Job:
        wait_until(lambda: job.refresh().state in FINAL, seconds, f"the end of job {job.id}", 0.05)
        if job.state != "succeeded":
            raise Late(f"job {job.id} is {job.state}: {job.detail}")
        return job

    def empty(self, seconds: float = 30) -> None:
        """Wait until no machine is left."""
        wait_until(lambda: not self.sim.instances(), seconds, "the end of all machines", 0.05)

    def arrived(self, operation: str, after: float, seconds: float = 30) -> float:
        """When the first accepted request of *operation* came in after *after* (monotonic seconds)."""
        found: list[float] = []

        def look() -> bool:
            found[:] = [
                entry.at
                for entry in self.sim.requests(operation)
                if entry.at >= after and entry.status is not None and entry.status < 300
            ]
            return bool(found)

        wait_until(look, seconds, operation, 0.02)
        return found[0]

    def ready_at(self, uuid: str) -> float:
        """When a machine became ready (monotonic seconds), to a millisecond."""
        machine = self.sim.machine(uuid)
        low, high = time.monotonic() - 600, time.monotonic()
        while high - low > 0.001:
            middle = (low + high) / 2
            low, high = (middle, high) if machine.phase_at(middle) in (None, "booting") else (low, middle)
        return high


@contextmanager
def house(config: SimConfig | None = None, *, serve: bool = True, **environ: str) -> Iterator[House]:
    """Build it, and leave nothing behind: no process, no folder, whatever happens inside."""
    config = config or SimConfig(boot_seconds=0.2)
    with TemporaryDirectory(prefix="runner-bench-") as name, Simulator(config) as sim:
        folder = Path(name)
        home = folder / "home"
        home.mkdir()
        kept = clean_environ()
        ours = {"RUNNER_HOME": str(home), "RUNNER_API_URL": sim.url, "MASSED_COMPUTE_API_KEY": sim.token}
        whole = {**kept, **ours, **environ}
        with Client(home=home, api_url=sim.url) as client, (folder / "service.log").open("wb") as log:
            process = None
            if serve:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "runner", "up"],
                    env=whole,
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            try:
                built = House(folder, sim, psutil.Process(process.pid if process else None), client)
                if process is not None:
                    wait_until(lambda: _serves(process, whole), START_SECONDS, "the service", 0.05)
                yield built
            finally:
                if process is not None:
                    _end(process)


def wait_until(condition: Callable[[], object], seconds: float, what: str, pause: float = 0.01) -> None:
    """Raises Late."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Late(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)


def _serves(process: subprocess.Popen[bytes], environ: Mapping[str, str]) -> bool:
    """Whether the service says of itself that it works."""
    if process.poll() is not None:
        raise Late(f"the service has ended with {process.returncode}")
    words = [sys.executable, "-P", "-m", "runner", "status", "--json"]
    said = subprocess.run(words, env=dict(environ), capture_output=True, timeout=START_SECONDS, check=False)
    return said.returncode == 0 and bool(json.loads(said.stdout)["workers"])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
