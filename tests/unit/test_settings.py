"""Settings: where each comes from, what is refused, and that no message or repr shows a secret."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import InvalidJob, InvalidSettings
from jobs.settings import (
    Secret,
    Settings,
    as_environ,
    load_settings,
    parse_duration,
    parse_size,
)
from jobs.store.database import Database
from tests.properties import examples

TOKEN = "secret-token-4711"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "a home"
    folder.mkdir()
    return folder


def load(
    home: Path, environ: Mapping[str, str] | None = None, *, anywhere: bool = False, **overrides: object
) -> Settings:
    environ = {"RUNNER_HOME": str(home), **(environ or {})}
    return load_settings(environ, anywhere=anywhere, **overrides)


def write(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "runner.toml"
    file.write_text(text)
    file.chmod(mode)
    return file


def refused(error: pytest.ExceptionInfo[Exception], *parts: str) -> str:
    """One sentence, naming what is wrong."""
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 600
    for part in parts:
        assert part in text, text
    return text


def test_the_defaults_of_the_interface(home: Path) -> None:
    found = load(home)
    assert found.api_token is None
    assert found.api_url == "https://vm.massedcompute.com/api/v1"
    assert found.database_url == f"sqlite:///{home}/runner.db"
    assert found.broker_url == ""
    assert found.home == home
    assert found.fleet == "default"
    assert found.image == "Ubuntu Server 22.04 w/ drivers"
    assert found.default_max_cost == 25_000_000
    assert found.default_max_runtime == 86_400
    assert found.boot_timeout == 900
    assert found.deploy_quarantine == 60
    assert found.max_instances == 20
    assert found.max_burn is None
    assert found.billing_minimum_minutes == 0
    assert found.ssh_port == 22
    assert found.ssh_key == home / "ssh" / "id_ed25519"
    assert found.host_keys is None
    assert found.max_log_bytes == 1 << 30
    assert set(found.sources.values()) == {"default", "RUNNER_HOME"}
    assert not list(home.iterdir()), "reading settings writes nothing"


def test_the_home_is_the_platforms_own_where_nothing_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    found = load_settings({})
    assert found.home.is_relative_to(tmp_path)
    assert found.home.name == "gpu-job-runner"
    assert found.sources["home"] == "default"


def test_every_setting_from_the_environment(home: Path) -> None:
    found = load(
        home,
        {
            "MASSED_COMPUTE_API_KEY": f" {TOKEN} ",
            "RUNNER_API_URL": "http://127.0.0.1:8080/api/v1/",
            "RUNNER_DATABASE_URL": "sqlite:////srv/runner.db",
            "RUNNER_BROKER_URL": "redis://localhost:6379/0",
            "RUNNER_FLEET": "lab-1",
            "RUNNER_IMAGE": "184",
            "RUNNER_DEFAULT_MAX_COST": "2.50",
            "RUNNER_DEFAULT_MAX_RUNTIME": "2h",
            "RUNNER_BOOT_TIMEOUT": "90s",
            "RUNNER_DEPLOY_QUARANTINE": "5s",
            "RUNNER_MAX_INSTANCES": "3",
            "RUNNER_MAX_BURN": "12.5",
            "RUNNER_BILLING_MINIMUM_MINUTES": "60",
            "RUNNER_SSH_PORT": "2222",
            "RUNNER_SSH_KEY": "/srv/key",
            "RUNNER_HOST_KEYS": "verify",
            "RUNNER_MAX_LOG_BYTES": "64KiB",
        },
    )
    assert found.api_token == Secret(TOKEN)
    assert found.api_url == "http://127.0.0.1:8080/api/v1"
    assert (found.database_url, found.broker_url) == ("sqlite:////srv/runner.db", "redis://localhost:6379/0")
    assert (found.fleet, found.image) == ("lab-1", "184")
    assert (found.default_max_cost, found.default_max_runtime) == (2_500_000, 7200)
    assert (found.boot_timeout, found.deploy_quarantine) == (90, 5)
    assert (found.max_instances, found.max_burn, found.billing_minimum_minutes) == (3, 12_500_000, 60)
    assert (found.ssh_port, found.ssh_key) == (2222, Path("/srv/key"))
    assert (found.host_keys, found.max_log_bytes) == ("verify", 65_536)
    assert found.sources["fleet"] == "RUNNER_FLEET"
    assert found.sources["api_token"] == "MASSED_COMPUTE_API_KEY"


def test_another_process_can_be_given_the_same(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a caller, a file or the working folder decided reaches the service that is started for it."""
    write(home, 'image = "file"\n')
    found = load(
        home,
        {"MASSED_COMPUTE_API_KEY": TOKEN, "RUNNER_DATABASE_URL": "sqlite:///here.db"},
        max_instances=7,
        max_burn="0.000001",
        default_max_cost="2.5",
        boot_timeout=3,
        max_log_bytes="64KiB",
        ssh_key="keys/id",
        host_keys="verify",
    )
    given = as_environ(found)
    monkeypatch.chdir("/")
    assert load_settings(given) == found
    assert load_settings(as_environ(load(home))) == load(home)


def test_a_relative_database_is_the_same_from_everywhere(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    from_here = load(home, {"RUNNER_DATABASE_URL": "sqlite:///a/b.db"})
    assert from_here.database_url == f"sqlite:///{tmp_path}/a/b.db"
    write(home, 'database_url = "sqlite:///b.db"\n')
    assert load(home).database_url == f"sqlite:///{home}/b.db"
    for whole in ("sqlite:////srv/runner.db", "postgresql://host/runner"):
        assert load(home, {"RUNNER_DATABASE_URL": whole}).database_url == whole


@pytest.mark.parametrize("name", ["a?1", "50%", "%20", "#1 &=\"'\\", "zwei\nzeilen", "é 😀", "a;b:c@d"])
def test_a_home_may_have_any_name(tmp_path: Path, name: str) -> None:
    """What an address would take for a part of itself must not put the database anywhere else."""
    folder = tmp_path / name
    folder.mkdir()
    assert Database(load(folder).database_url).path == folder / "runner.db"
    write(folder, 'database_url = "sqlite:///b.db"\n')
    assert Database(load(folder).database_url).path == folder / "b.db"


def test_precedence_argument_environment_file_default(home: Path) -> None:
    file = write(
        home, 'fleet = "file"\nmax_instances = 4\nimage = "file"\nssh_key = "keys/id"\nmax_burn = 2.5\n'
    )
    found = load(
        home, {"RUNNER_FLEET": "env", "RUNNER_MAX_INSTANCES": "5"}, max_instances=6, boot_timeout="3s"
    )
    assert (found.max_instances, found.fleet, found.image, found.ssh_port) == (6, "env", "file", 22)
    assert found.max_burn == 2_500_000
    assert found.ssh_key == home / "keys" / "id", "a path in the file is meant from there"
    assert found.sources["max_instances"] == "argument"
    assert found.sources["fleet"] == "RUNNER_FLEET"
    assert found.sources["image"] == str(file)
    assert found.sources["ssh_port"] == "default"


def test_an_empty_variable_is_none_at_all(home: Path) -> None:
    found = load(home, {"RUNNER_FLEET": "", "MASSED_COMPUTE_API_KEY": " ", "RUNNER_BROKER_URL": ""})
    assert (found.fleet, found.api_token, found.broker_url) == ("default", None, "")


def test_an_argument_of_none_is_not_given(home: Path) -> None:
    assert load(home, {"RUNNER_FLEET": "env"}, fleet=None).fleet == "env"


def test_arguments_are_checked_too(home: Path) -> None:
    with pytest.raises(InvalidSettings) as error:
        load(home, fleet="No Such Fleet")
    refused(error, "fleet must be")
    with pytest.raises(InvalidSettings) as error:
        load(home, flet="x")
    refused(error, "'flet'")


BAD = {
    "MASSED_COMPUTE_API_KEY": ["two words", "line\nbreak", "ümlaut", "nul\0"],
    "RUNNER_API_URL": [
        "http://vm.massedcompute.com/api/v1",
        "http://127.0.0.1.evil.com/",
        "http://localhost.evil.com/",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "ftp://localhost",
        "vm.massedcompute.com",
        "https://",
        "https://x.com/?a=b",
        "https://x.com/ y",
        "https://x.com:99999/",
        "https://[::1",
    ],
    "RUNNER_DATABASE_URL": ["runner.db", "/srv/runner.db", "sqlite:", "sqlite://", "sqlite:///a\nb"],
    "RUNNER_BROKER_URL": ["localhost:6379", "redis", "rediss://x/0", "rediss://x/0?ssl_cert_reqs=maybe"],
    "RUNNER_FLEET": ["Upper", "-x", "a_b", "f" * 25, "a b", "ünder", "x\n"],
    "RUNNER_IMAGE": ["x\x1b[31m", "i" * 201],
    "RUNNER_DEFAULT_MAX_COST": ["0", "-1", "free", "5,00", "$5", "nan", "1e400", "10000000"],
    "RUNNER_DEFAULT_MAX_RUNTIME": ["0s", "-1h", "soon", "1.5h", "90", "366d", "2 h 3"],
    "RUNNER_BOOT_TIMEOUT": ["0s", "x"],
    "RUNNER_DEPLOY_QUARANTINE": ["0s", "x"],
    "RUNNER_MAX_INSTANCES": ["0", "-1", "many", "1.5", "1e3", "999999999", "\u0661"],
    "RUNNER_MAX_BURN": ["0", "-1", "x"],
    "RUNNER_BILLING_MINIMUM_MINUTES": ["-1", "x", "100000"],
    "RUNNER_SSH_PORT": ["0", "65536", "ssh"],
    "RUNNER_SSH_KEY": ["~nobody-of-that-name/key"],
    "RUNNER_HOST_KEYS": ["no", "Verify"],
    "RUNNER_MAX_LOG_BYTES": ["0", "-1", "much", "1XB"],
}


@pytest.mark.parametrize(
    ("variable", "value"), [(name, value) for name, values in BAD.items() for value in values]
)
def test_a_bad_value_is_one_sentence_that_names_the_variable(home: Path, variable: str, value: str) -> None:
    with pytest.raises(InvalidSettings) as error:
        load(home, {variable: value})
    text = refused(error, variable)
    if variable == "MASSED_COMPUTE_API_KEY":
        assert value not in text


@pytest.mark.parametrize("variable", BAD)
def test_a_bad_value_in_the_file_names_the_key_and_the_file(home: Path, variable: str) -> None:
    key = variable.removeprefix("RUNNER_").lower()
    file = write(home, f"{key} = [1]\n")
    with pytest.raises(InvalidSettings) as error:
        load(home)
    refused(error, f"{key} in {file}")


@pytest.mark.parametrize(
    "url",
    ["https://vm.massedcompute.com/api/v1", "http://localhost:1", "http://127.8.9.1/", "http://[::1]:80/api"],
)
def test_addresses_that_are_taken(home: Path, url: str) -> None:
    assert load(home, {"RUNNER_API_URL": url}).api_url == url.rstrip("/")


def test_a_broker_over_tls_says_whom_it_trusts(home: Path) -> None:
    """Celery itself would trust anybody where nothing is said."""
    for url in ("rediss://:hunter2@x/0?ssl_cert_reqs=required", "rediss://x/0?ssl_cert_reqs=none"):
        assert load(home, {"RUNNER_BROKER_URL": url}).broker_url == url
    with pytest.raises(InvalidSettings) as error:
        load(home, {"RUNNER_BROKER_URL": "rediss://:hunter2@x/0"})
    assert "hunter2" not in refused(error, "RUNNER_BROKER_URL", "?ssl_cert_reqs=required")


def test_a_password_in_an_address_is_shown_nowhere(home: Path) -> None:
    for variable in ("RUNNER_API_URL", "RUNNER_DATABASE_URL", "RUNNER_BROKER_URL"):
        value = "https://me:hunter2@x.com/" if "API" in variable else "bad url me:hunter2@x"
        with pytest.raises(InvalidSettings) as error:
            load(home, {variable: value})
        assert "hunter2" not in str(error.value)
    found = load(
        home,
        {"RUNNER_DATABASE_URL": "postgresql://me:hunter2@x/y", "RUNNER_BROKER_URL": "redis://:hunter2@x"},
    )
    assert "hunter2" not in repr(found)


# ---- secrets


def test_a_secret_shows_itself_to_nobody(home: Path) -> None:
    found = load(home, {"MASSED_COMPUTE_API_KEY": TOKEN})
    secret = found.api_token
    assert secret is not None
    for text in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r}",
        f"{found}",
        repr([secret]),
        str(vars(found)),
    ):
        assert TOKEN not in text
    assert secret.reveal() == TOKEN
    assert secret == Secret(TOKEN)
    assert secret != Secret("other")
    assert secret != TOKEN
    assert hash(secret) == hash(Secret(TOKEN))
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        copy.deepcopy(found)
    with pytest.raises(TypeError):
        vars(secret)


@pytest.mark.parametrize("key", ["massed_compute_api_key", "guard_token"])
def test_a_token_in_a_file_that_others_may_read_is_refused(home: Path, key: str) -> None:
    for mode in (0o640, 0o604, 0o666):
        file = write(home, f'{key} = "{TOKEN}"\n', mode)
        with pytest.raises(InvalidSettings) as error:
            load(home)
        assert TOKEN not in refused(error, f"chmod 600 '{file}'")
    write(home, f'{key} = "{TOKEN}"\n')
    assert Secret(TOKEN) in (load(home).api_token, load(home).guard_token)
    write(home, 'fleet = "open"\n', 0o644)
    assert load(home).fleet == "open", "without a token there is nothing to hide"


# ---- durations and sizes


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("90s", 90),
        ("45m", 2700),
        ("2h", 7200),
        ("1d", 86_400),
        ("1h30m", 5400),
        ("1d00h", 86_400),
        (" 7s ", 7),
        (1, 1),
        (timedelta(minutes=2.5), 150),
    ],
)
def test_durations(value: str | int | timedelta, seconds: int) -> None:
    assert parse_duration(value, "--max-runtime") == seconds


def test_a_duration_of_many_digits_is_called_too_long() -> None:
    with pytest.raises(InvalidJob, match="must be from 1s to 365d"):
        parse_duration("99999999999d", "--max-runtime")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "90",
        "s",
        "-5s",
        "+5s",
        "1.5h",
        "30m1h",
        "5 s",
        "2H",
        "0s",
        "0d",
        "999d",
        "9" * 5000 + "s",
        "٣s",
        "1e3s",
        0,
        -1,
        10**12,
        pytest.param(10**5000, id="5000 digits"),
        True,
        1.5,
        None,
        b"5s",
        timedelta(0),
        timedelta(seconds=0.9),
        timedelta(days=-1),
        timedelta(days=366),
        timedelta.max,
    ],
)
def test_what_is_no_duration(value: object) -> None:
    with pytest.raises(InvalidJob) as error:
        parse_duration(value, "--max-runtime")  # type: ignore[arg-type]
    text = refused(error, "--max-runtime must be")
    assert len(text) < 160


@examples
@given(st.integers(1, 31_536_000))
def test_seconds_are_read_back(seconds: int) -> None:
    assert parse_duration(f"{seconds}s", "x") == parse_duration(seconds, "x") == seconds
    assert parse_duration(timedelta(seconds=seconds), "x") == seconds


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("1GiB", 1 << 30),
        ("64KiB", 65_536),
        ("500MB", 500_000_000),
        ("7B", 7),
        ("4096", 4096),
        (1, 1),
        ("1 kB", 1000),
    ],
)
def test_sizes(value: str | int, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize(
    "value", ["", "0", "0GiB", "-1", "1.5GiB", "1gib", "GiB", "x", 0, -1, True, None, 2**61, 1.5]
)
def test_what_is_no_size(value: object) -> None:
    with pytest.raises(InvalidJob) as error:
        parse_size(value, "RUNNER_MAX_LOG_BYTES")  # type: ignore[arg-type]
    refused(error, "RUNNER_MAX_LOG_BYTES must be a size")
