"""The acceptance tests run the real command line, in processes of their own, against the simulated cloud."""

from __future__ import annotations

import itertools
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
from tests.acceptance.harness import Installation, Workers
from tests.servers import Postgres, Redis

Make = Callable[..., Installation]
_broker_numbers = itertools.count()
SSHD_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


OPENSSH = shutil.which("sshd", path=SSHD_PATH) is not None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A module that names ARRANGEMENTS runs in each of them; in those IN_FULL with `make test-full` only.

    A test's own mark says otherwise: `arrangements("service", full=("workers",))`.

    What a service does is shown on OpenSSH's servers, where they are installed, and else on the simulator's.
    """
    arrangements = getattr(metafunc.module, "ARRANGEMENTS", None)
    if arrangements is None or "arrangement" not in metafunc.fixturenames:
        return
    in_full = set(getattr(metafunc.module, "IN_FULL", ()))
    if marked := metafunc.definition.get_closest_marker("arrangements"):
        arrangements = marked.args or arrangements
        in_full = set(marked.kwargs.get("full", in_full))
    if not OPENSSH:
        in_full.discard("service")
    params = [
        pytest.param(name, marks=[pytest.mark.full] if name in in_full else []) for name in arrangements
    ]
    metafunc.parametrize("arrangement", params, indirect=True, scope="module")


@pytest.fixture(scope="module")
def arrangement(request: pytest.FixtureRequest) -> str:
    """What the jobs run on: ``service``, with the simulator's own SSH server; ``openssh``, the same with
    OpenSSH's; or ``workers``, two of them, with PostgreSQL and Redis."""
    kind: str = getattr(request, "param", "service")
    if kind == "openssh" and not OPENSSH:
        pytest.skip("OpenSSH's sshd is not installed, so nothing was shown against it")
    return kind


@contextmanager
def _making(where: Path, arrangement: str, request: pytest.FixtureRequest) -> Iterator[Make]:
    with ExitStack() as stack:
        count = 0

        def _make(config: SimConfig | None = None, *, folder: Path = where, **environ: str) -> Installation:
            nonlocal count
            count += 1
            config = config or SimConfig(boot_seconds=0.2)
            sim = stack.enter_context(Simulator(replace(config, openssh=arrangement == "openssh")))
            home = folder / f"home {count}"
            home.mkdir(mode=0o700)
            if arrangement == "workers":
                database_url, broker_url = stack.enter_context(_servers(request))
                installation: Installation = Workers(home, sim, database_url, broker_url, environ)
            else:
                installation = Installation(home, sim, environ)
            stack.callback(installation.close)
            return installation

        yield _make


@contextmanager
def _servers(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A migrated database and a broker of one's own."""
    postgres: Postgres = request.getfixturevalue("postgres")
    redis: Redis = request.getfixturevalue("redis")
    name = postgres.create(request.getfixturevalue("migrated_template"))
    number = next(_broker_numbers) % 16  # so many Redis has
    yield postgres.url(name), redis.url(number)
    postgres.drop(name)


@pytest.fixture
def make(tmp_path: Path, arrangement: str, request: pytest.FixtureRequest) -> Iterator[Make]:
    """Make an installation with a simulated cloud of its own; everything is ended after the test."""
    with _making(tmp_path, arrangement, request) as make:
        yield make


@pytest.fixture(scope="module")
def lasting(
    tmp_path_factory: pytest.TempPathFactory, arrangement: str, request: pytest.FixtureRequest
) -> Iterator[Installation]:
    """One installation, and what serves it, for all tests of a module that leave it as they found it."""
    with _making(tmp_path_factory.mktemp("lasting"), arrangement, request) as make:
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
