"""Somebody who has an account on a simulated cloud, and the real command line."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.ids import InstanceName, new_attempt_id
from jobs.settings import Secret
from runner.sim.simulator import Simulator
from tests import prefork
from tests.environ import clean_environ
from workers.cloud.client import Cloud, DeployRequest

FAILED, USAGE, UNREACHABLE = 1, 2, 3
HOUR = 3600


class Account:
    """An account on a simulated cloud, and the real command line of somebody who has its token."""

    def __init__(self, sim: Simulator, home: Path) -> None:
        self.sim, self.home = sim, home
        self.environ = {
            **clean_environ(),
            "RUNNER_HOME": str(home),
            "RUNNER_API_URL": sim.url,
            "MASSED_COMPUTE_API_KEY": sim.token,
        }

    def run(
        self,
        *words: str,
        environ: Mapping[str, str] | None = None,
        given: bytes | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        env = {**self.environ, **(environ or {})}
        return prefork.run(words, env=env, cwd=cwd or self.home.parent, given=given, timeout=60)

    def ok(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def json(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        assert done.stderr == b""
        return json.loads(done.stdout)

    def rent(self, *names: str) -> list[str]:
        with Cloud(self.sim.url, Secret(self.sim.token)) as cloud:
            return [cloud.deploy(DeployRequest(84, "gpu_1x_l40", name, "true")) for name in names]

    def rename(self, uuid: str, name: str) -> None:
        """Give a machine a name that only the account's own pages could have given it."""
        machine = self.sim.machine(uuid)
        machine.order = replace(machine.order, name=name)

    def live(self) -> set[str]:
        return {machine.uuid for machine in self.sim.instances()}


def says(done: subprocess.CompletedProcess[bytes], code: int, part: str) -> None:
    """One clear sentence on standard error, the right exit code, and nothing on standard output."""
    text = done.stderr.decode()
    assert done.returncode == code, text
    assert part in text
    assert text.startswith("runner: ")
    assert text.count("\n") == 1, text
    assert "Traceback" not in text
    assert done.stdout == b""


def name(fleet: str, expires_in: float) -> str:
    return str(InstanceName(fleet, new_attempt_id("abc123"), int(time.time() + expires_in)))
