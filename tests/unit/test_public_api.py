"""What `import runner` promises: exactly the names in `__all__`, quickly, and with types."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling import build

import runner

SAMPLE = Path(__file__).with_name("typed_sample.py")


def test_all_is_what_is_exported() -> None:
    public = {
        name
        for name, value in vars(runner).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and name not in ("annotations", "TYPE_CHECKING")
    }
    lazy = {"Attempt", "Client", "Job", "JobSpec", "Result"}
    helpers = {"AbstractContextManager", "Iterable", "Sequence"}
    assert public - helpers - lazy <= set(runner.__all__)
    for name in runner.__all__:
        assert getattr(runner, name) is not None
    assert sorted(runner.__all__) == runner.__all__


def test_every_error_descends_from_one() -> None:
    errors = [
        value
        for name in runner.__all__
        if inspect.isclass(value := getattr(runner, name)) and issubclass(value, Exception)
    ]
    assert len(errors) >= 11
    assert all(issubclass(error, runner.RunnerError) for error in errors)
    assert issubclass(runner.InvalidJob, ValueError)


def test_the_public_names_are_not_hidden_by_our_own_modules() -> None:
    code = "import runner, runner.client, runner.daemon, runner.cli.main; print(runner.jobs, runner.service)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("<function") == 2


def test_the_import_loads_nothing_heavy() -> None:
    heavy = "{'sqlalchemy', 'celery', 'paramiko', 'httpx', 'asyncssh'}"
    code = f"import sys, runner; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_user_s_code_type_checks(tmp_path: Path) -> None:
    """From a folder of the user's own, where nothing but the installed package tells the types."""
    shutil.copy(SAMPLE, tmp_path)
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "mypy",
            "--strict",
            "--no-incremental",
            "--follow-imports=silent",
            SAMPLE.name,
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_wheel_says_that_it_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SAMPLE.parents[2])
    with zipfile.ZipFile(tmp_path / build.build_wheel(str(tmp_path))) as wheel:
        assert {"runner/py.typed", "workers/py.typed", "jobs/py.typed"} <= set(wheel.namelist())
