"""Settings: what the environment and ``runner.toml`` say, checked once, each with where it came from.

Precedence: what a caller passes, the environment, ``runner.toml`` in ``RUNNER_HOME``, the default. Where a
variable is not to hold a secret itself, ``NAME_FILE`` names a file that does, as Docker's secrets are. A
``runner.toml`` in the working folder may hold defaults of jobs only: a cloned repository must not be
able to redirect a token, a database or a key.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jobs import values
from jobs.errors import InvalidJob, InvalidSettings, InvalidToken
from jobs.money import MICROS_PER_USD, Micros, format_usd, parse_usd
from jobs.values import DAY, DEFAULT_API_URL, Secret, parse_duration, parse_size

__all__ = ["Secret", "Settings", "job_defaults", "load_settings", "parse_duration", "parse_size"]

APPLICATION = "gpu-job-runner"
TOML_NAME = "runner.toml"
FILE_SUFFIX = "_FILE"
LARGEST_FILE = 64 * 1024
"""Bytes of a file that holds one value; the largest ones, lists of keys, take a few thousand."""
LARGEST_TOML = 1 << 20
TOKEN_VARIABLE = "MASSED_COMPUTE_API_KEY"  # noqa: S105 - the name of the variable
JOB_KEYS = frozenset(
    {
        *("gpu", "image", "max_cost", "max_runtime", "name", "env", "retries", "retry_on", "cheapest"),
        *("workdir", "setup", "output", "sync_every"),
        *("max_price", "coupon", "budget", "grace", "idle_timeout"),
    }
)
"""What may stand in a working folder's ``runner.toml``."""


@dataclass(frozen=True)
class Settings:
    """One checked set of settings. Money in micro-dollars, durations in seconds, sizes in bytes.

    ``sources`` says for each field where it came from: a variable, a file, ``default`` or ``argument``.
    """

    api_token: Secret | None
    api_url: str
    database_url: str = field(repr=False)
    broker_url: str = field(repr=False)
    home: Path
    fleet: str
    image: str
    default_max_cost: Micros
    default_max_runtime: int
    boot_timeout: int
    deploy_quarantine: int
    api_rate: int
    max_instances: int
    max_burn: Micros | None
    billing_minimum_minutes: int
    ssh_port: int
    ssh_key: Path
    host_keys: Literal["verify", "accept-new"] | None
    max_workdir_bytes: int
    max_log_bytes: int
    secret_key: Secret | None
    artifacts_url: str | None
    notify_url: Secret | None
    retention: int | None
    guard_token: Secret | None
    sources: Mapping[str, str] = field(repr=False, compare=False, default_factory=dict)

    @property
    def on_sqlite(self) -> bool:
        """Whether the database is a file of this computer, which one service serves alone."""
        return self.database_url.startswith("sqlite")

    @property
    def served_by_workers(self) -> bool:
        """Whether workers make jobs happen (`runner worker`), not the service of one computer."""
        return bool(self.broker_url) or not self.on_sqlite

    @property
    def artifacts(self) -> str:
        """Where workdirs and outputs are kept: a folder, or an address that fsspec knows."""
        return self.artifacts_url or str(self.home / "artifacts")

    def required_token(self) -> Secret:
        """The API token. Raises InvalidToken where there is none."""
        if self.api_token is None:
            raise InvalidToken(f"There is no API token: run `runner init`, or set {TOKEN_VARIABLE}.")
        return self.api_token


def load_settings(
    environ: Mapping[str, str] | None = None,
    *,
    anywhere: bool = False,
    only: Collection[str] | None = None,
    **overrides: object,
) -> Settings:
    """Read all settings; *overrides* are by field name, and None there means "not given".

    *only*: the fields that are read; the others have their defaults, whatever is wrong with them.

    Raises InvalidSettings, with one sentence that names the variable and what it may be. That is so, too,
    where the working folder's file holds more than defaults of jobs, unless it must work *anywhere*.
    """
    environ = os.environ if environ is None else environ
    given = {name: value for name, value in overrides.items() if value is not None}
    if unknown := sorted(given.keys() - _SETTINGS.keys() - {"home"}):
        raise InvalidSettings(f"There is no setting {unknown[0]!r}; there are: {', '.join(_SETTINGS)}, home.")
    sources: dict[str, str] = {}
    home = _home(environ, given.get("home"), sources)
    if not anywhere:
        job_defaults(home=home)
    found: dict[str, Any] = {"home": home}
    in_file = _home_file(home)
    defaults = {"database_url": values.sqlite_url(home / "runner.db"), "ssh_key": home / "ssh" / "id_ed25519"}
    for name, setting in _SETTINGS.items():
        sources[name], found[name] = "default", defaults.get(name, setting.default)
    for name in _SETTINGS if only is None else only:
        setting = _SETTINGS[name]
        what, base = setting.variable, None
        if name in given:
            raw, sources[name], what = given[name], "argument", name
        elif (in_environ := _in_environ(environ, setting.variable)) is not None:
            raw, sources[name], what = in_environ
        elif setting.key in in_file:
            file = home / TOML_NAME
            raw, sources[name], what, base = in_file[setting.key], str(file), f"{setting.key} in {file}", home
        else:
            continue
        try:
            value = setting.read(raw, what)
        except InvalidSettings:
            raise
        except InvalidJob as error:
            raise InvalidSettings(str(error)) from None
        if name == "database_url" and values.absolute_sqlite(value, Path("/")) != value:  # a relative one
            value = values.absolute_sqlite(value, _absolute(Path(), base, what))
        if name == "artifacts_url" and "://" not in value:
            value = str(_absolute(Path(value).expanduser(), base, what))
        found[name] = _absolute(value, base, what) if isinstance(value, Path) else value
    return Settings(**found, sources=sources)


def as_environ(settings: Settings) -> dict[str, str]:
    """The environment in which another process has these very settings, the token in clear among them.

    It is laid over an environment that may name files for the same settings: they count as not set there.
    """
    found = {"RUNNER_HOME": str(settings.home), f"RUNNER_HOME{FILE_SUFFIX}": ""}
    for name, setting in _SETTINGS.items():
        found[setting.variable + FILE_SUFFIX] = ""
        value = getattr(settings, name)
        if value is not None:
            found[setting.variable] = setting.write(value)
    return found


def job_defaults(folder: Path | None = None, *, home: Path | None = None) -> Mapping[str, object]:
    """The defaults of jobs in the ``runner.toml`` of the working folder; none where there is no file.

    Where *folder*, else the current one, is *home* itself, the file is the other kind and holds none.
    Raises InvalidSettings for a file that cannot be read, and for any key that is not a job's.
    """
    if folder is None:
        try:
            folder = Path.cwd()
        except FileNotFoundError:  # it was removed, and all in it
            return {}
    if home is not None and folder.resolve() == home.resolve():
        return {}
    file = folder / TOML_NAME
    content = _read_toml(file)
    if others := sorted(content.keys() - JOB_KEYS):
        from difflib import get_close_matches  # for who makes a mistake, not for all that read settings

        near = get_close_matches(others[0], JOB_KEYS, n=1, cutoff=0.8)
        advice = f"did you mean {near[0]!r}?" if near else "remove it, or set it in the environment."
        raise InvalidSettings(
            f"{_names(others)} must not stand in a working folder's {TOML_NAME} ({file}), which may hold "
            f"defaults of jobs only ({', '.join(sorted(JOB_KEYS))}); {advice}"
        )
    return content


@dataclass(frozen=True)
class _Setting:
    variable: str
    default: Any  # as Settings holds it, already read
    read: Callable[[Any, str], Any]
    write: Callable[[Any], str] = str  # what `read` reads again

    @property
    def key(self) -> str:
        return self.variable.removeprefix("RUNNER_").lower()


_SETTINGS: Mapping[str, _Setting] = {
    "api_token": _Setting(TOKEN_VARIABLE, None, values.read_token, Secret.reveal),
    "api_url": _Setting("RUNNER_API_URL", DEFAULT_API_URL, values.read_api_url),
    "database_url": _Setting("RUNNER_DATABASE_URL", None, values.read_url),
    "broker_url": _Setting("RUNNER_BROKER_URL", "", values.read_broker),
    "fleet": _Setting("RUNNER_FLEET", "default", values.read_fleet),
    "image": _Setting("RUNNER_IMAGE", "Ubuntu Server 22.04 w/ drivers", values.read_image),
    "default_max_cost": _Setting("RUNNER_DEFAULT_MAX_COST", 25 * MICROS_PER_USD, parse_usd, format_usd),
    "default_max_runtime": _Setting("RUNNER_DEFAULT_MAX_RUNTIME", DAY, parse_duration, "{}s".format),
    "boot_timeout": _Setting("RUNNER_BOOT_TIMEOUT", 15 * 60, parse_duration, "{}s".format),
    "deploy_quarantine": _Setting("RUNNER_DEPLOY_QUARANTINE", 60, parse_duration, "{}s".format),
    "api_rate": _Setting("RUNNER_API_RATE", 2, values.whole_number(1, 100)),
    "max_instances": _Setting("RUNNER_MAX_INSTANCES", 20, values.whole_number(1, 100_000)),
    "max_burn": _Setting("RUNNER_MAX_BURN", None, parse_usd, format_usd),
    "billing_minimum_minutes": _Setting("RUNNER_BILLING_MINIMUM_MINUTES", 0, values.whole_number(0, 44_640)),
    "ssh_port": _Setting("RUNNER_SSH_PORT", 22, values.whole_number(1, 65_535)),
    "ssh_key": _Setting("RUNNER_SSH_KEY", None, values.read_path),
    "host_keys": _Setting("RUNNER_HOST_KEYS", None, values.read_host_keys),
    "max_workdir_bytes": _Setting("RUNNER_MAX_WORKDIR_BYTES", 10 * 1024**3, parse_size),
    "max_log_bytes": _Setting("RUNNER_MAX_LOG_BYTES", 1024**3, parse_size),
    "secret_key": _Setting("RUNNER_SECRET_KEY", None, values.read_secret_keys, Secret.reveal),
    "artifacts_url": _Setting("RUNNER_ARTIFACTS_URL", None, values.read_artifacts_url),
    "notify_url": _Setting("RUNNER_NOTIFY_URL", None, values.read_notify_url, Secret.reveal),
    "retention": _Setting("RUNNER_RETENTION", None, values.read_retention, "{}s".format),
    "guard_token": _Setting("RUNNER_GUARD_TOKEN", None, values.read_token, Secret.reveal),
}
"""Each field of Settings but ``home``, which says where the file with the others lies."""


def _home(environ: Mapping[str, str], given: object, sources: dict[str, str]) -> Path:
    if given is not None:
        sources["home"] = "argument"
        return _absolute(values.read_path(given, "home"), None, "home")
    if (in_environ := _in_environ(environ, "RUNNER_HOME")) is not None:
        raw, sources["home"], what = in_environ
        return _absolute(values.read_path(raw, what), None, what)
    import platformdirs  # only where it is needed: most of a test run, and every worker, names its home

    sources["home"] = "default"
    return platformdirs.user_data_path(APPLICATION, appauthor=False)


def _in_environ(environ: Mapping[str, str], variable: str) -> tuple[str, str, str] | None:
    """What the environment says of a variable, by which variable it does, and what to call that.

    None where it says nothing. Raises InvalidSettings where it says it twice, or names a file in vain.
    """
    by_file = variable + FILE_SUFFIX
    path = environ.get(by_file, "").strip()
    if not environ.get(variable, "").strip():
        return (_only_line(path, by_file), by_file, f"{variable} in {path}") if path else None
    if path:
        raise InvalidSettings(f"{variable} and {by_file} are both set; set one of them.")
    return environ[variable], variable, variable


def _only_line(path: str, by_file: str) -> str:
    """What a file holds, which is one value and nothing else; no message shows any of it.

    Nor does one show what is no path: somebody may have set the secret itself.
    """
    where = f"{by_file} ({path})" if path.startswith("/") else by_file
    try:
        with values.read_path(path, by_file).open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
        text = data.decode("utf-8").strip()
    except OSError as error:
        reason = (error.strerror or "it failed").lower()
        raise InvalidSettings(f"{where} names a file that cannot be read: {reason}.") from None
    except ValueError:
        raise InvalidSettings(f"{where} names a file that is not UTF-8 text.") from None
    if not text:
        raise InvalidSettings(f"{where} names a file that is empty.")
    if len(data) > LARGEST_FILE or len(text.splitlines()) > 1:
        raise InvalidSettings(
            f"{where} names a file of more than one line; it must hold what "
            f"{by_file.removesuffix(FILE_SUFFIX)} would, and nothing else."
        )
    return text


def _absolute(path: Path, base: Path | None, what: str) -> Path:
    """*path* as it is seen from *base*, or else from the current folder, which only relative ones need."""
    if path.is_absolute():
        return path
    if base is not None:
        return base / path
    try:
        return Path.cwd() / path
    except FileNotFoundError:
        raise InvalidSettings(
            f"{what} is a relative path, and the current folder does not exist any more; go to another one."
        ) from None


def _home_file(home: Path) -> dict[str, object]:
    file = home / TOML_NAME
    content = _read_toml(file)
    known = {setting.key for setting in _SETTINGS.values()}
    if unknown := sorted(content.keys() - known):
        raise InvalidSettings(
            f"{file} holds {_names(unknown)}, which is no setting; there are: {', '.join(sorted(known))}."
        )
    tokens = {_SETTINGS[name].key for name in ("api_token", "guard_token")}
    if tokens & content.keys() and stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise InvalidSettings(f"{file} holds a token and may be read by others; run: chmod 600 '{file}'")
    return content


def _read_toml(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(_regular(file).decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InvalidSettings(f"{file} cannot be read: {(error.strerror or 'it failed').lower()}.") from None
    except UnicodeDecodeError:
        raise InvalidSettings(f"{file} is not UTF-8 text.") from None
    except (ValueError, RecursionError) as error:
        raise InvalidSettings(f"{file} is not valid TOML: {error}.") from None


def _regular(file: Path) -> bytes:
    """What a file holds that may have come with somebody's repository: as a link to a device or a pipe."""
    if file.exists() and not file.is_file():
        raise InvalidSettings(f"{file} is no regular file.")
    with file.open("rb") as stream:
        data = stream.read(LARGEST_TOML + 1)
    if len(data) > LARGEST_TOML:
        raise InvalidSettings(f"{file} is larger than {LARGEST_TOML >> 20} MiB.")
    return data


def _names(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names)
