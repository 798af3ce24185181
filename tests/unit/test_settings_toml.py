"""``runner.toml``: what may stand in it, in RUNNER_HOME and in a working folder, and what is no such file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobs.errors import InvalidSettings
from jobs.settings import job_defaults
from tests.unit.test_settings import TOKEN, load, refused, write


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (b"fleet = ", "not valid TOML"),
        (b"\xff", "not UTF-8"),
        (b"flet = 'x'", "'flet', which is no setting"),
        (b"gpu = 'gpu_1x_l40'", "'gpu', which is no setting"),
        (b"[table]\nfleet = 'x'", "'table', which is no setting"),
        (b"home = '/x'", "'home', which is no setting"),
        (b"x = " + b"[" * 5000, "TOML"),
        (b"max_instances = " + b"9" * 5000, "runner.toml"),
        (b"#" * (1 << 20) + b"#", "larger than 1 MiB"),
    ],
)
def test_files_that_make_no_sense(home: Path, text: bytes, part: str) -> None:
    (home / "runner.toml").write_bytes(text)
    with pytest.raises(InvalidSettings) as error:
        load(home)
    refused(error, part)


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_file_in_the_files_place(home: Path, kind: str) -> None:
    """It may lie in a folder that somebody has cloned: it is neither waited for nor read for ever."""
    file = home / "runner.toml"
    match kind:
        case "folder":
            file.mkdir()
        case "pipe":
            os.mkfifo(file)
        case "device":
            file.symlink_to("/dev/zero")
    for read in (load, job_defaults):
        with pytest.raises(InvalidSettings) as error:
            read(home)
        refused(error, "is no regular file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(home: Path) -> None:
    write(home, "", 0o000)
    with pytest.raises(InvalidSettings) as error:
        load(home)
    refused(error, "permission denied")


def test_a_working_folder_holds_defaults_of_jobs_only(tmp_path: Path, home: Path) -> None:
    assert job_defaults(tmp_path) == {}
    write(
        tmp_path,
        'gpu = "gpu_1x_l40"\nmax_cost = "3.50"\nmax_runtime = 60\nimage = 84\nname = "n"\n[env]\nA = "b"\n',
        0o644,
    )
    assert job_defaults(tmp_path) == {
        "gpu": "gpu_1x_l40",
        "max_cost": "3.50",
        "max_runtime": 60,
        "image": 84,
        "name": "n",
        "env": {"A": "b"},
    }
    assert load(home).image != "84", "and changes no setting"


@pytest.mark.parametrize(
    "key",
    [
        "massed_compute_api_key",
        "guard_token",
        "api_url",
        "database_url",
        "broker_url",
        "home",
        "ssh_key",
        "fleet",
        "host_keys",
        "command",
    ],
)
def test_a_working_folder_may_not_redirect(tmp_path: Path, key: str) -> None:
    write(tmp_path, f'gpu = "x"\n{key} = "{TOKEN}"\n')
    with pytest.raises(InvalidSettings) as error:
        job_defaults(tmp_path)
    assert TOKEN not in refused(error, f"'{key}' must not stand in a working folder's runner.toml")


def test_a_working_folders_typing_error_is_seen(tmp_path: Path) -> None:
    write(tmp_path, "max_cots = 5\n")
    with pytest.raises(InvalidSettings) as error:
        job_defaults(tmp_path)
    refused(error, "'max_cots' must not stand", "did you mean 'max_cost'?")


def test_the_homes_own_file_is_no_working_folders(home: Path) -> None:
    write(home, 'fleet = "x"\n')
    assert job_defaults(home, home=home) == {}
    with pytest.raises(InvalidSettings):
        job_defaults(home)


def test_a_working_folder_that_redirects_is_refused_by_all_that_read_settings(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, 'api_url = "https://example.com"\n')
    with pytest.raises(InvalidSettings) as error:
        load(home)
    refused(error, "'api_url' must not stand", str(tmp_path / "runner.toml"))
    assert load(home, anywhere=True).api_url == "https://vm.massedcompute.com/api/v1"
    write(tmp_path, "max_cost = 5\n")
    assert load(home) == load(home, anywhere=True)


def test_a_current_folder_that_is_gone_disturbs_relative_paths_only(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    write(home, 'database_url = "sqlite:///mine.db"\n')
    found = load(home, {"RUNNER_SSH_KEY": "/srv/key"})
    assert found.database_url.endswith(f"{home}/mine.db")
    for name, value in (("HOME", "home"), ("DATABASE_URL", "sqlite:///x.db"), ("SSH_KEY", "key")):
        with pytest.raises(InvalidSettings) as error:
            load(home, {f"RUNNER_{name}": value})
        refused(error, f"RUNNER_{name}", "the current folder does not exist any more")
