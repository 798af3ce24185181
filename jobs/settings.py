"""Settings: what the environment and ``runner.toml`` say, checked once, each with where it came from.

Precedence: what a caller passes, the environment, ``runner.toml`` in ``RUNNER_HOME``, the default. A
``runner.toml`` in the working folder may hold defaults of jobs only: a cloned repository must not be
able to redirect a token, a database or a key.
"""

from __future__ import annotations

import hmac
import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from jobs.errors import InvalidJob, InvalidSettings
from jobs.ids import FLEET
from jobs.money import Micros, parse_usd

APPLICATION = "gpu-job-runner"
TOML_NAME = "runner.toml"
DEFAULT_API_URL = "https://vm.massedcompute.com/api/v1"
JOB_KEYS = frozenset({"gpu", "image", "max_cost", "max_runtime", "name", "env"})
"""What may stand in a working folder's ``runner.toml``."""

DAY = 86_400
LONGEST_DURATION = 365 * DAY
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_SIZE = re.compile(r"([0-9]{1,15})(B|[KMGT]iB|[kMGT]B)?")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": DAY}
_SIZES = {None: 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12} | {
    unit: 1024**power for power, unit in enumerate(("KiB", "MiB", "GiB", "TiB"), 1)
}


class Secret:
    """A text that shows itself to nobody who does not ask for it by :meth:`reveal`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself: for the header that carries it, and for nothing else."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    def __str__(self) -> str:
        return "…"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> Any:
        raise TypeError("a Secret is not written anywhere")


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
    max_instances: int
    max_burn: Micros | None
    billing_minimum_minutes: int
    ssh_port: int
    ssh_key: Path
    host_keys: Literal["verify", "accept-new"] | None
    max_log_bytes: int
    sources: Mapping[str, str] = field(repr=False, compare=False, default_factory=dict)


def load_settings(environ: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """Read all settings; *overrides* are by field name, and None there means "not given".

    Raises InvalidSettings, with one sentence that names the variable and what it may be.
    """
    environ = os.environ if environ is None else environ
    given = {name: value for name, value in overrides.items() if value is not None}
    if unknown := sorted(given.keys() - _SETTINGS.keys() - {"home"}):
        raise InvalidSettings(f"There is no setting {unknown[0]!r}; there are: {', '.join(_SETTINGS)}, home.")
    sources: dict[str, str] = {}
    home = _home(environ, given.get("home"), sources)
    values: dict[str, Any] = {"home": home}
    in_file = _home_file(home)
    defaults = {"database_url": f"sqlite:///{home / 'runner.db'}", "ssh_key": home / "ssh" / "id_ed25519"}
    for name, setting in _SETTINGS.items():
        if name in given:
            raw, source, what, base = given[name], "argument", name, Path.cwd
        elif environ.get(setting.variable, "").strip():
            raw, source, what, base = environ[setting.variable], setting.variable, setting.variable, Path.cwd
        elif setting.key in in_file:
            file = home / TOML_NAME
            raw, source, what, base = (
                in_file[setting.key],
                str(file),
                f"{setting.key} in {file}",
                lambda: home,
            )
        else:
            sources[name] = "default"
            values[name] = defaults.get(name) or (
                setting.read(setting.default, setting.variable) if setting.default else setting.default
            )
            continue
        sources[name] = source
        try:
            value = setting.read(raw, what)
        except InvalidSettings:
            raise
        except InvalidJob as error:
            raise InvalidSettings(str(error)) from None
        values[name] = base() / value if isinstance(value, Path) else value
    return Settings(**values, sources=sources)


def job_defaults(cwd: Path, *, home: Path | None = None) -> Mapping[str, object]:
    """The defaults of jobs in *cwd*'s ``runner.toml``, as they stand there; none where there is no file.

    Where *cwd* is *home* itself, the file is the other kind and holds none. Raises InvalidSettings for a
    file that cannot be read, and for any key that is not a job's.
    """
    file = cwd / TOML_NAME
    if home is not None and cwd.resolve() == home.resolve():
        return {}
    values = _read_toml(file)
    if others := sorted(values.keys() - JOB_KEYS):
        raise InvalidSettings(
            f"{_names(others)} must not stand in a working folder's {TOML_NAME} ({file}), which may hold defaults "
            f"of jobs only ({', '.join(sorted(JOB_KEYS))}); remove it, or set it in the environment."
        )
    return values


def parse_duration(
    value: str | int | timedelta, what: str, *, least: int = 1, most: int = LONGEST_DURATION
) -> int:
    """Whole seconds from ``90s``, ``45m``, ``2h``, ``1d``, a number of seconds, or a timedelta.

    Raises InvalidJob where it is none of these, or not from *least* to *most* seconds.
    """
    seconds: int | None = None
    if isinstance(value, timedelta):
        seconds = value // timedelta(seconds=1)
    elif isinstance(value, int) and not isinstance(value, bool):
        seconds = value
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        seconds = int(match[1]) * _UNITS[match[2]]
    if seconds is None:
        raise InvalidJob(
            f"{what} must be a whole number with a unit, such as 90s, 45m, 2h or 1d, not {shown(value)}."
        )
    if not least <= seconds <= most:
        raise InvalidJob(f"{what} must be from {_period(least)} to {_period(most)}, not {shown(value)}.")
    return seconds


def parse_size(value: str | int, what: str = "the size") -> int:
    """Bytes from ``1GiB``, ``500MB``, ``4096`` and the like. Raises InvalidJob for anything else and 0."""
    size = None
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value.strip().replace(" ", ""))):
        size = int(match[1]) * _SIZES[match[2]]
    if size is None or not 0 < size <= 2**60:
        raise InvalidJob(f"{what} must be a size, such as 500MB or 1GiB, not {shown(value)}.")
    return size


def shown(value: object) -> str:
    """A value as a message shows it: escaped where it is text, and never longer than a line."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:60] + "…"


# ---- how each setting is read


def _token(value: object, what: str) -> Secret:
    if isinstance(value, Secret):
        return value
    text = value.strip() if isinstance(value, str) else ""
    if not re.fullmatch(r"[!-~]{1,4096}", text):
        raise InvalidSettings(f"{what} is not an API token: it may hold no spaces and only ASCII characters.")
    return Secret(text)


def _api_url(value: object, what: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError:
        url, host = urlsplit(""), None
    if url.username is not None or url.password is not None:
        raise InvalidSettings(f"{what} must not hold a user or a password; the token is sent by itself.")
    plain = re.fullmatch(r"[!-~]+", text) and not url.query and not url.fragment
    if not plain or url.scheme not in ("http", "https") or not host:
        raise InvalidSettings(f"{what} must be an address such as {DEFAULT_API_URL}, not {shown(value)}.")
    if url.scheme == "http" and not _loopback(host):
        raise InvalidSettings(
            f"{what} must begin with https://, not {shown(text)}: the token would go over the network "
            "in clear (http is only for a loopback address such as http://127.0.0.1:8080)."
        )
    return text.rstrip("/")


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _url(value: object, what: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    # The value may hold a password, so the message does not show it.
    if not re.fullmatch(r"[a-z][a-z0-9+.]*:[^\x00-\x1f\x7f]*", text):
        raise InvalidSettings(f"{what} must be an address such as sqlite:////path/to/runner.db.")
    return text


def _broker(value: object, what: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not re.fullmatch(r"[a-z][a-z0-9+.]*://[!-~]*", text):
        raise InvalidSettings(f"{what} must be a broker's address such as redis://localhost:6379/0.")
    return text


def _fleet(value: object, what: str) -> str:
    if not isinstance(value, str) or not FLEET.fullmatch(value):
        raise InvalidSettings(
            f"{what} must be 1 to 24 of a-z, 0-9 and '-', and not begin with '-', not {shown(value)}."
        )
    return value


def _image(value: object, what: str) -> str:
    text = str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    if not 1 <= len(text) <= 200 or not text.isprintable():
        raise InvalidSettings(
            f"{what} must be the name or the id of an image (`runner images` lists them), not {shown(value)}."
        )
    return text


def _whole(least: int, most: int) -> Callable[[Any, str], int]:
    def read(value: object, what: str) -> int:
        number = value if isinstance(value, int) and not isinstance(value, bool) else None
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}", value.strip()):
            number = int(value)
        if number is None or not least <= number <= most:
            raise InvalidSettings(
                f"{what} must be a whole number from {least} to {most}, not {shown(value)}."
            )
        return number

    return read


def _path(value: object, what: str) -> Path:
    text = str(value) if isinstance(value, (str, Path)) else ""
    if not text.strip() or "\0" in text:
        raise InvalidSettings(f"{what} must be a path, not {shown(value)}.")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise InvalidSettings(f"{what} names a home folder that does not exist: {shown(value)}.") from None


def _host_keys(value: object, what: str) -> str:
    if value not in ("verify", "accept-new"):
        raise InvalidSettings(f"{what} must be 'verify' or 'accept-new', not {shown(value)}.")
    return str(value)


@dataclass(frozen=True)
class _Setting:
    variable: str
    default: Any
    read: Callable[[Any, str], Any]

    @property
    def key(self) -> str:
        return self.variable.removeprefix("RUNNER_").lower()


_SETTINGS: Mapping[str, _Setting] = {
    "api_token": _Setting("MASSED_COMPUTE_API_KEY", None, _token),
    "api_url": _Setting("RUNNER_API_URL", DEFAULT_API_URL, _api_url),
    "database_url": _Setting("RUNNER_DATABASE_URL", None, _url),
    "broker_url": _Setting("RUNNER_BROKER_URL", "", _broker),
    "fleet": _Setting("RUNNER_FLEET", "default", _fleet),
    "image": _Setting("RUNNER_IMAGE", "Ubuntu Server 22.04 w/ drivers", _image),
    "default_max_cost": _Setting("RUNNER_DEFAULT_MAX_COST", "25", parse_usd),
    "default_max_runtime": _Setting("RUNNER_DEFAULT_MAX_RUNTIME", "24h", parse_duration),
    "boot_timeout": _Setting("RUNNER_BOOT_TIMEOUT", "15m", parse_duration),
    "deploy_quarantine": _Setting("RUNNER_DEPLOY_QUARANTINE", "60s", parse_duration),
    "max_instances": _Setting("RUNNER_MAX_INSTANCES", 20, _whole(1, 100_000)),
    "max_burn": _Setting("RUNNER_MAX_BURN", None, parse_usd),
    "billing_minimum_minutes": _Setting("RUNNER_BILLING_MINIMUM_MINUTES", 0, _whole(0, 44_640)),
    "ssh_port": _Setting("RUNNER_SSH_PORT", 22, _whole(1, 65_535)),
    "ssh_key": _Setting("RUNNER_SSH_KEY", None, _path),
    "host_keys": _Setting("RUNNER_HOST_KEYS", None, _host_keys),
    "max_log_bytes": _Setting("RUNNER_MAX_LOG_BYTES", "1GiB", parse_size),
}
"""Each field of Settings but ``home``, which says where the file with the others lies."""


# ---- the files


def _home(environ: Mapping[str, str], given: object, sources: dict[str, str]) -> Path:
    if given is not None:
        sources["home"] = "argument"
        return Path.cwd() / _path(given, "home")
    if environ.get("RUNNER_HOME", "").strip():
        sources["home"] = "RUNNER_HOME"
        return Path.cwd() / _path(environ["RUNNER_HOME"], "RUNNER_HOME")
    import platformdirs  # only where it is needed: most of a test run, and every worker, names its home

    sources["home"] = "default"
    return platformdirs.user_data_path(APPLICATION, appauthor=False)


def _home_file(home: Path) -> dict[str, object]:
    file = home / TOML_NAME
    values = _read_toml(file)
    known = {setting.key for setting in _SETTINGS.values()}
    if unknown := sorted(values.keys() - known):
        raise InvalidSettings(
            f"{file} holds {_names(unknown)}, which is no setting; there are: {', '.join(sorted(known))}."
        )
    if _SETTINGS["api_token"].key in values and stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise InvalidSettings(f"{file} holds a token and may be read by others; run: chmod 600 '{file}'")
    return values


def _read_toml(file: Path) -> dict[str, object]:
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InvalidSettings(f"{file} cannot be read: {(error.strerror or 'it failed').lower()}.") from None
    except UnicodeDecodeError:
        raise InvalidSettings(f"{file} is not UTF-8 text.") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettings(f"{file} is not valid TOML: {error}.") from None


def _names(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _period(seconds: int) -> str:
    for unit in "dhms":
        if seconds % _UNITS[unit] == 0 and seconds >= _UNITS[unit]:
            return f"{seconds // _UNITS[unit]}{unit}"
    return f"{seconds}s"
