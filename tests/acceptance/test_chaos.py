"""Jobs while everything goes wrong at random: the harness of `make chaos`, by seeds; and that it can fail."""

from __future__ import annotations

import subprocess
import sys
from subprocess import PIPE

import pytest

from bench import breaking, unprotected
from tests.environ import clean_environ

QUICK = ",".join(
    what.__name__
    for what in breaking.ALL
    # These cost a minute or more each, however few jobs there are.
    if what not in (breaking.ignored_terminate, breaking.endless_boot)
)

SECONDS = 400.0
"""How long a run may take at most."""


@pytest.mark.timeout(SECONDS + 60)
def test_a_short_chaos_finds_nothing() -> None:
    said = _chaos("--seed", "1", "--jobs", "6", "--workers", "2", "--only", QUICK)
    assert "findings: 0" in said
    assert "6 jobs" in said


@pytest.mark.full
@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize(
    "words", [("--seed", "1", "--embedded"), ("--seed", "2")], ids=["service", "workers"]
)
def test_a_small_chaos_finds_nothing(words: tuple[str, ...]) -> None:
    said = _chaos("--jobs", "12", *words)
    assert "findings: 0" in said
    assert "12 jobs" in said


@pytest.mark.full
@pytest.mark.timeout(2 * SECONDS + 60)
@pytest.mark.parametrize("name", sorted(unprotected.ALL))
def test_each_protection_is_missed(name: str) -> None:
    """The same faults with it and without it: only without it is there damage, and of its own kind."""
    words = ("--seed", "3", "--jobs", "8", "--workers", "2", "--about", name)
    assert "findings: 0" in _chaos(*words)
    said = _chaos(*words, "--without", code=1)
    assert any(f"    {kind}: " in said for kind in unprotected.ALL[name].finds), said


def _chaos(*words: str, code: int = 0) -> str:
    words = (sys.executable, "-P", "-m", "bench.chaos", *words)
    with subprocess.Popen(words, env=clean_environ(), stdout=PIPE, stderr=PIPE, text=True) as chaos:
        try:
            out, err = chaos.communicate(timeout=SECONDS)
        finally:
            chaos.terminate()  # where it hangs, it takes its servers and its workers with it
    assert chaos.returncode == code, out + err[-3000:]
    return out
