"""Nothing of the user's is run as ours: not by any command or service, from the worst of folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import Make
from tests.acceptance.harness import GPU, Installation

TRAP = "import pathlib; pathlib.Path({mark!r}).touch(); raise SystemExit('run as ours')\n"
NAMES = (
    "jobs.py",
    "workers/__init__.py",
    "runner/__init__.py",
    "celeryconfig.py",
    "sitecustomize.py",
    "tasks.py",
    "celery.py",
    "sqlalchemy.py",
    "paramiko.py",
    "settings.py",
    "json.py",
)


@pytest.fixture
def hostile(tmp_path: Path) -> tuple[Path, Path]:
    """A folder full of traps, and the mark that any of them leaves."""
    folder, mark = tmp_path / "hostile", tmp_path / "mark"
    for name in NAMES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TRAP.format(mark=str(mark)))
    return folder, mark


def test_no_command_runs_what_lies_in_the_folder(
    installation: Installation, hostile: tuple[Path, Path]
) -> None:
    folder, mark = hostile
    script = Path(sys.executable).with_name("runner")
    environ = {
        **installation.environ,
        "CELERY_CONFIG_MODULE": "celeryconfig",
        "DJANGO_SETTINGS_MODULE": "settings",
    }
    commands = [
        ("run", *GPU, "--max-cost", "1", "--name", "trapped", "--", "echo safe"),
        ("submit", *GPU, "--dry-run", "--", "true"),
        ("ls",),
        ("show", "trapped"),
        ("logs", "trapped"),
        ("wait", "trapped"),
        ("cancel", "trapped"),
        ("status",),
        ("gpus",),
        ("images",),
        ("instances",),
        ("reap", "--dry-run"),
        ("db", "upgrade"),
        ("doctor",),
        ("down",),
    ]
    for words in commands:
        done = subprocess.run(
            [script, *words],
            env=environ,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=90,
        )
        assert not mark.exists(), words
        assert done.returncode == 0, (words, done.stderr)


def test_settings_of_somebody_elses_celery_are_not_ours(make: Make, tmp_path: Path) -> None:
    folder, mark = tmp_path / "theirs", tmp_path / "mark"
    folder.mkdir()
    (folder / "celeryconfig.py").write_text(TRAP.format(mark=str(mark)))
    served = make(
        PYTHONPATH=str(folder),
        CELERY_CONFIG_MODULE="celeryconfig",
        CELERY_RESULT_BACKEND="redis://127.0.0.1:9/0",
        CELERY_BROKER_URL="redis://127.0.0.1:9/0",
        CELERY_LOADER="nothing.like_it",
    )
    served.up()
    assert served.final(served.submit("true"))["state"] == "succeeded", served.tail()
    assert not mark.exists()
    assert "Traceback" not in served.tail()
    served.nothing_left()


def test_a_script_beside_such_files_gets_one_sentence(installation: Installation, tmp_path: Path) -> None:
    folder, mark = tmp_path / "mine", tmp_path / "mark"
    folder.mkdir()
    (folder / "jobs.py").write_text(TRAP.format(mark=str(mark)))
    (folder / "train.py").write_text("import runner\nprint(runner.get)\n")
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run([sys.executable, folder / "train.py"], env=environ, capture_output=True, timeout=60)
    assert done.returncode == 1
    assert not mark.exists()
    hidden = f"{folder / 'jobs.py'} hides a package of gpu-job-runner"
    assert done.stderr.decode().strip().splitlines()[-1].startswith(f"ImportError: {hidden}")
    ours = [sys.executable, "-m", "runner", "ls", "--json"]
    done = subprocess.run(ours, env=environ, cwd=folder, capture_output=True, timeout=60)
    assert done.returncode == 1
    assert not mark.exists()
    (only,) = done.stderr.decode().splitlines()
    assert only.startswith(f"runner: {hidden}")
