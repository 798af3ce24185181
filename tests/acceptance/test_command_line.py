"""The command line itself: its help, its completion, its streams, and what it says to wrong usage."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.acceptance.account import FAILED, USAGE, Account, says
from tests.prefork import RUNNER
from tests.terminal import Terminal

HEAVY = (
    "sqlalchemy",
    "alembic",
    "celery",
    "kombu",
    "paramiko",
    "asyncssh",
    "httpx",
    "rich",
    "runner.sim",
)


@pytest.mark.parametrize("words", [("--help",), ("--version",), (), ("nonsense",)])
def test_help_and_version_load_nothing_heavy(account: Account, words: tuple[str, ...]) -> None:
    assert _heavy(account, words, {}) == []


def test_completion_loads_nothing_heavy(account: Account) -> None:
    environ = {"_RUNNER_COMPLETE": "complete_bash", "COMP_WORDS": "runner in", "COMP_CWORD": "1"}
    assert _heavy(account, (), environ) == []
    done = account.run(environ=environ)
    assert sorted(done.stdout.decode().split()) == ["init", "instances"]


def test_options_are_completed(account: Account) -> None:
    environ = {"_RUNNER_COMPLETE": "complete_bash", "COMP_WORDS": "runner reap --d", "COMP_CWORD": "2"}
    assert account.run(environ=environ).stdout.decode().split() == ["--dry-run"]


def _heavy(account: Account, words: tuple[str, ...], environ: Mapping[str, str]) -> list[str]:
    """Which of the heavy modules have been loaded when the command ends."""
    code = (
        "import atexit, sys\n"
        f"sys.argv = ['runner', *{words!r}]\n"
        "atexit.register(lambda: print('LOADED', *sorted(sys.modules), file=sys.stderr))\n"
        "from runner.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**account.environ, **environ},
        capture_output=True,
        timeout=60,
    )
    loaded = done.stderr.decode().partition("LOADED ")[2].split()
    assert "runner.cli.main" in loaded, done.stderr
    return [module for module in HEAVY if module in loaded]


def test_every_command_has_help_with_an_example(account: Account) -> None:
    from runner.cli.main import COMMANDS

    promised = (
        "init demo up down status submit run ls show logs wait cancel retry ssh pull "
        "worker health gpus images instances restart terminate reap coupon account keys sim db doctor "
        "receipt spend budget"
    )
    assert set(COMMANDS) == set(promised.split(" "))
    lines = ["db upgrade" if command == "db" else command for command in COMMANDS]
    lines += ["keys ls", "keys add", "keys rm", "budget ls", "budget rm"]
    for line in lines:
        done = account.run(*line.split(), "--help")
        assert (done.returncode, done.stderr) == (0, b""), line
        assert f"Example: runner {line}" in done.stdout.decode(), line


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("nonsense",), "nonsense"),
        (("instnces",), "did you mean 'instances'"),
        (("gpus", "--cheapest"), "--cheapest"),
        (("instances", "surplus"), "surplus"),
        (("pull", "x"), "pull"),
        (("--nonsense",), "--nonsense"),
    ],
)
def test_wrong_usage(account: Account, words: tuple[str, ...], part: str) -> None:
    done = account.run(*words)
    says(done, USAGE, part)
    assert b"--help`" in done.stderr


def test_a_reader_that_went_away_is_no_accident(account: Account) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as stdout:
        done = subprocess.run(
            [RUNNER, "gpus"],
            env=account.environ,
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_behind_standard_output(account: Account) -> None:
    with Path("/dev/full").open("wb") as stdout:
        done = subprocess.run(
            [RUNNER, "gpus", "--json"],
            env=account.environ,
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert done.returncode == FAILED
    assert done.stderr.decode() == "runner: standard output: the disk is full.\n"


def test_with_standard_error_closed_standard_output_stays_clean(account: Account) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" "$@" 2>&-', RUNNER, "reap"],
        env=account.environ,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_an_old_locale_is_no_reason_to_fail(account: Account) -> None:
    (uuid,) = account.rent("size")
    account.rename(uuid, "größe 😀")
    done = account.run("instances", environ={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert rb"gr\xf6\xdfe" in done.stdout


def test_a_terminal_gets_colours_unless_it_says_otherwise(account: Account) -> None:
    for environ, coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        with Terminal(
            [RUNNER, "images"], {**account.environ, "TERM": "xterm", **environ}, columns=70
        ) as terminal:
            assert terminal.end() == 0
            assert b"Ubuntu Server 22.04" in terminal.shown
            assert (b"\x1b[3" in terminal.shown or b"\x1b[1m" in terminal.shown) is coloured, terminal.shown
