"""The acceptance tests run the real command line, in processes of their own, against the simulated cloud."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from runner.sim.config import SimConfig
from runner.sim.simulator import Simulator
from tests.acceptance.account import Account
from tests.acceptance.harness import Installation

Make = Callable[..., Installation]
SSHD_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A module that names SSH_SERVERS runs against each of them: the simulator's own, and OpenSSH's."""
    servers = getattr(metafunc.module, "SSH_SERVERS", None)
    if servers is not None and "ssh_server" in metafunc.fixturenames:
        metafunc.parametrize("ssh_server", servers, indirect=True, scope="module")


@pytest.fixture(scope="module")
def ssh_server(request: pytest.FixtureRequest) -> str:
    """The kind of SSH server in front of each machine."""
    kind: str = getattr(request, "param", "built-in")
    if kind == "openssh" and shutil.which("sshd", path=SSHD_PATH) is None:
        pytest.skip("OpenSSH's sshd is not installed, so nothing was shown against it")
    return kind


@contextmanager
def _making(where: Path, ssh_server: str) -> Iterator[Make]:
    with ExitStack() as stack:
        count = 0

        def _make(config: SimConfig | None = None, *, folder: Path = where, **environ: str) -> Installation:
            nonlocal count
            count += 1
            config = config or SimConfig(boot_seconds=0.2)
            sim = stack.enter_context(Simulator(replace(config, openssh=ssh_server == "openssh")))
            home = folder / f"home {count}"
            home.mkdir(mode=0o700)
            installation = Installation(home, sim, environ)
            stack.callback(installation.close)
            return installation

        yield _make


@pytest.fixture
def make(tmp_path: Path, ssh_server: str) -> Iterator[Make]:
    """Make an installation with a simulated cloud of its own; everything is ended after the test."""
    with _making(tmp_path, ssh_server) as make:
        yield make


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory, ssh_server: str) -> Iterator[Installation]:
    """One installation, and its service, for all tests of a module that leave it as they found it."""
    with _making(tmp_path_factory.mktemp("lasting"), ssh_server) as make:
        installation = make()
        installation.up()
        yield installation


@pytest.fixture
def shared(lasting: Installation) -> Iterator[Installation]:
    """The same, without what the test told the cloud to do."""
    yield lasting
    lasting.sim.faults.clear()


@pytest.fixture
def installation(make: Make) -> Installation:
    """One installation, no service yet."""
    return make()


@pytest.fixture
def served(installation: Installation) -> Installation:
    """One installation whose service runs."""
    installation.up()
    return installation


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with Simulator(SimConfig(boot_seconds=0.1)) as sim:
        yield Account(sim, tmp_path / "a home")
