"""A variable that names a file instead of a value: what counts, what is refused, what is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import InvalidSettings
from jobs.settings import as_environ, load_settings
from tests.unit.test_settings import TOKEN, load, refused, write


def test_every_setting_may_stand_in_a_file(home: Path, tmp_path: Path) -> None:
    """As Docker's secrets do: what is in it is the value, without the line's end."""
    values = {
        "MASSED_COMPUTE_API_KEY": TOKEN,
        "RUNNER_DATABASE_URL": "postgresql://me:hunter2@x/y",
        "RUNNER_BROKER_URL": "redis://:hunter2@x",
        "RUNNER_SSH_KEY": "/srv/key",
        "RUNNER_DEFAULT_MAX_COST": "2.50",
    }
    files = {}
    for name, value in values.items():
        file = tmp_path / f"{name} of somebody"
        file.write_text(f" {value}\r\n")
        files[f"{name}_FILE"] = str(file)
    found = load(home, files)
    assert found == load(home, values)
    assert found.sources["api_token"] == "MASSED_COMPUTE_API_KEY_FILE"
    assert found.sources["fleet"] == "default"
    where = tmp_path / "where"
    where.write_text(str(home))
    by_file = load_settings({"RUNNER_HOME_FILE": str(where)})
    assert (by_file.home, by_file.sources["home"]) == (home, "RUNNER_HOME_FILE")


def test_a_file_counts_as_its_variable(home: Path, tmp_path: Path) -> None:
    """Below an argument, above runner.toml; and what counts as not set beside it does."""
    write(home, 'fleet = "file"\n')
    file = tmp_path / "fleet"
    file.write_text("secret")
    environ = {"RUNNER_FLEET_FILE": str(file)}
    assert load(home, environ).fleet == "secret"
    assert load(home, {**environ, "RUNNER_FLEET": " "}).fleet == "secret"
    assert load(home, environ, fleet="argument").fleet == "argument"
    assert load(home, {"RUNNER_FLEET_FILE": ""}).fleet == "file"


def test_a_variable_and_its_file_are_not_both_set(home: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    environ = {"MASSED_COMPUTE_API_KEY": TOKEN, "MASSED_COMPUTE_API_KEY_FILE": str(tmp_path / "token")}
    with pytest.raises(InvalidSettings) as error:
        load(home, environ)
    assert TOKEN not in refused(error, "MASSED_COMPUTE_API_KEY and MASSED_COMPUTE_API_KEY_FILE are both set")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read: no such file"),
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"\xff\xfe", "not UTF-8"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n", "what RUNNER_SSH_KEY would"),
        (b"/hunter2" + b" " * (1 << 20), "what RUNNER_SSH_KEY would"),
    ],
)
def test_a_file_that_holds_no_value(
    home: Path, tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidSettings) as error:
        load(home, {"RUNNER_SSH_KEY_FILE": str(file)})
    assert "hunter2" not in refused(error, f"RUNNER_SSH_KEY_FILE ({file})", complaint)


def test_a_bad_value_in_a_named_file_names_the_variable_and_the_file(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "cost"
    file.write_text("free")
    with pytest.raises(InvalidSettings) as error:
        load(home, {"RUNNER_DEFAULT_MAX_COST_FILE": str(file)})
    refused(error, f"RUNNER_DEFAULT_MAX_COST in {file} must be")


def test_a_secret_that_was_taken_for_a_path_is_not_shown(home: Path) -> None:
    for name, value in (("MASSED_COMPUTE_API_KEY", TOKEN), ("RUNNER_DATABASE_URL", f"postgresql://{TOKEN}")):
        with pytest.raises(InvalidSettings) as error:
            load(home, {f"{name}_FILE": value})
        assert TOKEN not in refused(error, f"{name}_FILE names a file that cannot be read")


def test_a_process_that_is_given_the_same_does_not_read_the_files_again(home: Path, tmp_path: Path) -> None:
    """The environment that it has besides names them still."""
    (tmp_path / "token").write_text(TOKEN)
    environ = {"RUNNER_HOME": str(home), "MASSED_COMPUTE_API_KEY_FILE": str(tmp_path / "token")}
    found = load_settings(environ)
    (tmp_path / "token").unlink()
    assert load_settings({**environ, **as_environ(found)}) == found
