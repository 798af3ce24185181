"""Jobs while everything goes wrong at random: the harness of `make chaos`, by seeds; and that it can fail."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench import breaking, unprotected
from tests.environ import clean_environ

QUICK = ",".join(
    what.__name__
    for what in breaking.ALL
    # These cost a minute or more each, however few jobs there are.
    if what not in (breaking.ignored_terminate, breaking.endless_boot)
)


@pytest.mark.timeout(400)
def test_a_short_chaos_finds_nothing() -> None:
    said = _chaos("--seed", "1", "--jobs", "6", "--workers", "2", "--only", QUICK)
    assert "findings: 0" in said
    assert "6 jobs" in said


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "words", [("--seed", "1", "--embedded"), ("--seed", "2")], ids=["service", "workers"]
)
def test_a_small_chaos_finds_nothing(words: tuple[str, ...]) -> None:
    said = _chaos("--jobs", "12", *words)
    assert "findings: 0" in said
    assert "12 jobs" in said


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", sorted(unprotected.ALL))
def test_each_protection_is_missed(name: str) -> None:
    """The same faults with it and without it: only without it is there damage, and of its own kind."""
    words = ("--seed", "3", "--jobs", "8", "--workers", "2", "--about", name)
    assert "findings: 0" in _chaos(*words)
    said = _chaos(*words, "--without", code=1)
    assert any(f"    {kind}: " in said for kind in unprotected.ALL[name].finds), said


def _chaos(*words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bench.chaos", *words],
        env=clean_environ(),
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr[-3000:]
    return done.stdout
