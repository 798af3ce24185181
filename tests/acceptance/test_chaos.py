"""A few jobs while everything goes wrong at random: the harness of `make chaos`, with fixed seeds."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.environ import clean_environ


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "words", [("--seed", "1", "--embedded"), ("--seed", "2")], ids=["service", "workers"]
)
def test_a_small_chaos_finds_nothing(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bench.chaos", "--jobs", "12", *words],
        env=clean_environ(),
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "findings: 0" in done.stdout
    assert "12 jobs" in done.stdout
