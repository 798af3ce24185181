"""The acceptance tests run the real command line, in processes of their own, against the simulated cloud."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from runner.sim.config import SimConfig
from runner.sim.simulator import Simulator
from tests.acceptance.harness import Installation

Make = Callable[..., Installation]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make an installation with a simulated cloud of its own; everything is ended after the test."""
    with ExitStack() as stack:
        count = 0

        def _make(config: SimConfig | None = None, **environ: str) -> Installation:
            nonlocal count
            count += 1
            sim = stack.enter_context(Simulator(config or SimConfig(boot_seconds=0.2)))
            home = tmp_path / f"home {count}"
            home.mkdir(mode=0o700)
            installation = Installation(home, sim, environ)
            stack.callback(installation.close)
            return installation

        yield _make


@pytest.fixture
def installation(make: Make) -> Installation:
    """One installation, no service yet."""
    return make()


@pytest.fixture
def served(installation: Installation) -> Installation:
    """One installation whose service runs."""
    installation.up()
    return installation
