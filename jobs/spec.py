"""What a job is: the keywords of a submission, checked once, before anything is written or rented.

Every value that makes no sense ends here, as one sentence that names the option; behind this module a
specification is valid.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypedDict

from jobs.errors import InvalidJob
from jobs.money import GRACE_SECONDS, LONGEST_GRACE_SECONDS, Micros, parse_usd
from jobs.secrets import from_environment
from jobs.settings import Settings
from jobs.values import Secret, parse_duration, shown

LONGEST_COMMAND = 256 * 1024
LONGEST_WORD = 128 * 1024 - 1
"""Linux starts no program with a longer argument or variable."""
LARGEST_ENV = 1024 * 1024
LONGEST_NAME = 100
LONGEST_KEY = 200
LONGEST_COUPON = 100
LEAST_IDLE = 10
"""Seconds: for less nobody looks often enough to tell a pause from the end of work."""
MOST_RETRIES = 100
MOST_OUTPUTS = 100
MOST_PRODUCTS = 20
LONGEST_GLOB = 1000
NONE = "none"
"""What switches a default of the working folder off, for one job."""
SWITCHED_OFF = ("budget", "coupon", "idle_timeout", "max_price")
RETRIABLE = ("lost", "exit_code")
"""Why a command that was started may be tried again. What failed before its start is so by itself."""

_PRODUCT = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_BUDGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EXPORT = re.compile(r"^export[ \t]+(?=[A-Za-z_])")


class JobSpec(TypedDict, total=False):
    """The keywords of a submission. Money in US dollars, durations as text or seconds."""

    command: str | Sequence[str]
    gpu: str | Sequence[str] | None
    cheapest: bool | None
    name: str | None
    max_cost: int | str | Decimal | float | None
    max_runtime: str | int | timedelta | None
    max_price: int | str | Decimal | float | None
    budget: str | None
    coupon: str | None
    grace: str | int | timedelta | None
    idle_timeout: str | int | timedelta | None
    image: str | None
    env: Mapping[str, str] | None
    secret: Mapping[str, str] | Sequence[str] | None
    key: str | None
    retries: int | None
    retry_on: str | Sequence[str] | None
    workdir: str | PathLike[str] | None
    setup: str | None
    output: str | Sequence[str] | None
    sync_every: str | int | timedelta | None


@dataclass(frozen=True)
class Begun:
    """An upload, as its row has it. In a database that was restored the id may be another one's."""

    id: int
    at: datetime


@dataclass(frozen=True)
class Packed:
    """A folder in the artifact store: its tree's key, how many files it has, and their bytes.

    ``upload``: by which it came there; None where it was there before.
    """

    key: str
    files: int
    size: int
    upload: Begun | None = None


@dataclass(frozen=True)
class Spec:
    """A valid job. Money in micro-dollars, durations in seconds; a ``str`` is a shell command line.

    ``max_price``: micro-dollars an hour; ``grace``: from TERM to KILL.

    ``products`` are tried in their order, or with ``cheapest`` the cheapest first; none: all that have GPUs.
    ``max_cost_source`` and ``max_runtime_source`` say where each ceiling comes from.
    """

    command: str | tuple[str, ...] = field(repr=False)
    products: tuple[str, ...]
    name: str | None
    image: str
    env: Mapping[str, str] = field(repr=False)
    max_cost: Micros
    max_cost_source: str
    max_runtime: int
    max_runtime_source: str
    key: str | None
    retries: int = 0
    retry_on: tuple[str, ...] = RETRIABLE
    workdir: Packed | None = None
    setup: str | None = field(default=None, repr=False)
    outputs: tuple[str, ...] = ()
    sync_every: int | None = None
    cheapest: bool = False
    max_price: Micros | None = None
    budget: str | None = None
    coupon: str | None = None
    grace: int = GRACE_SECONDS
    idle_timeout: int | None = None
    folder: str | None = None
    """The folder that becomes ``workdir`` once it is packed."""
    secrets: Mapping[str, Secret] = field(default_factory=dict, repr=False)

    @property
    def command_text(self) -> str:
        """The command as a person would type it."""
        return self.command if isinstance(self.command, str) else shlex.join(self.command)

    @property
    def with_files(self) -> bool:
        """Whether files go to its machines before the command starts: a folder, or what was synced."""
        return self.folder is not None or self.workdir is not None or self.sync_every is not None

    @property
    def with_outputs(self) -> bool:
        """Whether files are to come back."""
        return bool(self.outputs)

    @property
    def upload(self) -> Begun | None:
        """The upload by which its folder came into the artifact store just now."""
        return None if self.workdir is None else self.workdir.upload


def validate(
    spec: JobSpec,
    settings: Settings,
    defaults: Mapping[str, object] | None = None,
    sources: Mapping[str, str] | None = None,
) -> Spec:
    """Complete *spec* from *defaults* (the working folder's file) and *settings*, and check it.

    *sources* names a keyword as the person wrote it, such as ``--max-cost``; without it the keyword itself
    stands in messages. Raises InvalidJob.
    """
    reader = _Values(spec, defaults or {}, sources or {})
    if unknown := sorted(map(str, spec.keys() - JobSpec.__annotations__.keys())):
        raise InvalidJob(
            f"There is no option {unknown[0]!r}; there are: {', '.join(JobSpec.__annotations__)}."
        )
    outputs = _outputs(*reader.get("output"))
    gpu, gpu_source = reader.get("gpu")
    cheapest = _flag(*reader.get("cheapest"))
    if spec.get("gpu") is not None or spec.get("cheapest") is not None:
        # Which product, and whether the cheapest, is one choice: who makes it here has made all of it.
        gpu, cheapest = spec.get("gpu"), bool(spec.get("cheapest"))
    max_cost, cost_source = reader.get("max_cost")
    max_runtime, runtime_source = reader.get("max_runtime")
    env = _env(reader)
    return Spec(
        command=_command(spec.get("command")),
        products=_products(gpu, gpu_source, cheapest),
        cheapest=cheapest,
        name=_printable(*reader.get("name"), LONGEST_NAME),
        image=_image(*reader.get("image")) or settings.image,
        env=env,
        max_cost=parse_usd(max_cost, cost_source) if max_cost is not None else settings.default_max_cost,
        max_cost_source=cost_source
        if max_cost is not None
        else settings.sources.get("default_max_cost", "default"),
        max_runtime=parse_duration(max_runtime, runtime_source)
        if max_runtime is not None
        else settings.default_max_runtime,
        max_runtime_source=runtime_source
        if max_runtime is not None
        else settings.sources.get("default_max_runtime", "default"),
        max_price=_max_price(*reader.get("max_price")),
        coupon=_coupon(*reader.get("coupon")),
        budget=_budget(*reader.get("budget")),
        idle_timeout=_idle_timeout(*reader.get("idle_timeout")),
        grace=_grace(*reader.get("grace")),
        key=_printable(*reader.get("key"), LONGEST_KEY),
        retries=_retries(*reader.get("retries")),
        retry_on=_retry_on(*reader.get("retry_on")),
        setup=_setup(*reader.get("setup")),
        outputs=outputs,
        sync_every=_sync_every(*reader.get("sync_every"), outputs),
        folder=_folder(*reader.get("workdir"), in_file=spec.get("workdir") is None),
        secrets=read_secrets(spec.get("secret"), reader.sources.get("secret", "secret"), env),
    )


def read_env_file(path: Path | str) -> dict[str, str]:
    """Read ``KEY=VALUE`` lines, with or without ``export`` before them.

    ``#`` begins a comment line; one pair of quotes around a value is removed.

    Raises InvalidJob, with the line's number and never its value, which may be a secret.
    """
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(LARGEST_ENV + 1)
        if len(content) > LARGEST_ENV:
            raise InvalidJob(f"{path} is larger than 1 MiB, the most that an environment file may hold.")
        lines = content.decode("utf-8-sig").split("\n")
    except OSError as error:
        raise InvalidJob(f"{path} cannot be read: {(error.strerror or 'it failed').lower()}.") from None
    except ValueError as error:
        what = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else "is not a path"
        raise (error if isinstance(error, InvalidJob) else InvalidJob(f"{path} {what}.")) from None
    env: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        where = f"{path}, line {number}"
        name, equals, value = _EXPORT.sub("", text).partition("=")
        if not equals:
            raise InvalidJob(f"{where}: write KEY=VALUE; there is no '=' in it.")
        name, value = name.rstrip(), value.lstrip()
        if value[:1] in ("'", '"'):
            if len(value) < 2 or value[-1] != value[0]:
                raise InvalidJob(f"{where}: the quote that opens the value of {shown(name)} is not closed.")
            value = value[1:-1]
        _check_variable(name, value, where)
        env[name] = value
    return env


class _Values:
    """Where each value comes from: the submission itself, or the working folder's defaults."""

    def __init__(self, spec: JobSpec, defaults: Mapping[str, object], sources: Mapping[str, str]) -> None:
        self.spec: Mapping[str, object] = spec
        self.defaults, self.sources = defaults, sources

    def get(self, name: str) -> tuple[Any, str]:
        """The value or None, and what to call it in a message."""
        value, source = None, self.sources.get(name, name)
        if self.spec.get(name) is not None:
            value = self.spec[name]
        elif self.defaults.get(name) is not None:
            value, source = self.defaults[name], f"{name} in ./runner.toml"
        return (None if name in SWITCHED_OFF and value == NONE else value), source


def _command(value: object) -> str | tuple[str, ...]:
    words: tuple[object, ...]
    if isinstance(value, str):
        words = (value,)
    elif isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        words = tuple(value)
    elif value is None:
        words = ()
    else:
        raise InvalidJob("The command must be a text or a sequence of texts.")
    texts = tuple(word for word in words if isinstance(word, str))
    if len(texts) < len(words):
        raise InvalidJob("Each word of the command must be a text.")
    if not texts or not texts[0].strip():
        raise InvalidJob("The command is empty; say what to run.")
    sizes = [_size(text, "The command") for text in texts]
    if sum(sizes) + len(sizes) - 1 > LONGEST_COMMAND:
        raise InvalidJob("The command is longer than 256 KiB; put it into a file that the command fetches.")
    if isinstance(value, str):
        return value
    if max(sizes) > LONGEST_WORD:
        raise InvalidJob(
            "One word of the command is 128 KiB or longer, and Linux starts no program with such a one; "
            "pass it in a file."
        )
    return texts


def _products(value: object, what: str, cheapest: bool) -> tuple[str, ...]:
    if value is None and cheapest:
        return ()
    if value is None:
        raise InvalidJob(f"Say which product to rent with {what}; `runner gpus` lists them.")
    several = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if not several or len(several) > MOST_PRODUCTS:
        raise InvalidJob(f"{what} takes 1 to {MOST_PRODUCTS} products, in the order in which to try them.")
    return tuple(dict.fromkeys(_product(item, what) for item in several))


def _flag(value: object, what: str) -> bool:
    if value is not None and not isinstance(value, bool):
        raise InvalidJob(f"{what} must be true or false, not {shown(value)}.")
    return bool(value)


def _product(value: object, what: str) -> str:
    if not isinstance(value, str) or not _PRODUCT.fullmatch(value):
        raise InvalidJob(
            f"{what} must be the name of a product, such as gpu_1x_l40, not {shown(value)}; "
            "`runner gpus` lists them."
        )
    return value


def _printable(value: object, what: str, longest: int) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > longest:
        raise InvalidJob(f"{what} must be 1 to {longest} printable characters, not {shown(value)}.")
    return value


def _image(value: object, what: str) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return _printable(value.strip() if isinstance(value, str) else value, what, 200)


def _env(reader: _Values) -> Mapping[str, str]:
    merged: dict[str, str] = {}
    for source, what in (
        (reader.defaults.get("env"), "env in ./runner.toml"),
        (reader.spec.get("env"), reader.sources.get("env", "env")),
    ):
        if source is None:
            continue
        if not isinstance(source, Mapping):
            raise InvalidJob(f"{what} must map names of variables to texts.")
        for name, value in source.items():
            _check_variable(name, value, what)
            merged[name] = value
    _check_size(merged)
    return merged


def read_secrets(value: object, what: str, env: Mapping[str, str]) -> Mapping[str, Secret]:
    """The secrets that a person gives: names to values, or names of variables. Raises InvalidJob.

    Only of the submission itself: a working folder's file must not choose what is taken from whom.
    """
    if value is None:
        return {}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)):
        value = from_environment(value, what)
    if not isinstance(value, Mapping):
        raise InvalidJob(f"{what} must map names of variables to texts, or be a sequence of such names.")
    for name, text in value.items():
        _check_variable(name, text, what)
        if not text:
            raise InvalidJob(f"{what}: the value of {name} is empty.")
        if name in env:
            raise InvalidJob(f"{what}: {name} is in the job's environment (env) as well; give it once.")
    _check_size({**env, **value})
    return {name: Secret(text) for name, text in value.items()}


def _check_size(env: Mapping[str, str]) -> None:
    if sum(len(name) + len(value.encode()) + 2 for name, value in env.items()) > LARGEST_ENV:
        raise InvalidJob("The environment of the job is larger than 1 MiB; pass large values in a file.")


def _check_variable(name: object, value: object, what: str) -> None:
    if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
        raise InvalidJob(
            f"{what}: {shown(name)} is no name of a variable; it takes letters, digits and '_', "
            "and does not begin with a digit."
        )
    if name.startswith("RUNNER_"):
        raise InvalidJob(
            f"{what}: {shown(name)} cannot be set; names that begin with RUNNER_ are the runner's own."
        )
    if not isinstance(value, str):
        raise InvalidJob(f"{what}: the value of {name} must be a text.")
    if len(name) + 1 + _size(value, f"{what}: the value of {name}") > LONGEST_WORD:
        raise InvalidJob(
            f"{what}: the value of {name} is 128 KiB or longer, and Linux starts no program with such a one; "
            "pass it in a file."
        )


def _max_price(value: Any, what: str) -> Micros | None:
    return None if value is None else parse_usd(value, what)


def _coupon(value: object, what: str) -> str | None:
    code = _printable(value, what, LONGEST_COUPON)
    if code is not None and " " in code:
        raise InvalidJob(f"{what} must be the code of a coupon, without spaces, not {shown(value)}.")
    return code


def _budget(value: object, what: str) -> str | None:
    return None if value is None else budget_name(value, what)


def budget_name(value: object, what: str) -> str:
    """The name of a budget. Raises InvalidJob."""
    if not isinstance(value, str) or not _BUDGET.fullmatch(value):
        raise InvalidJob(
            f"{what} must be a budget's name: 1 to 64 letters, digits, '.', '_' or '-', beginning with a "
            f"letter or a digit; not {shown(value)}."
        )
    if value.lower() == NONE:
        raise InvalidJob(f"{what} must be another name than {value!r}: {NONE!r} stands for no budget.")
    return value


def _grace(value: Any, what: str) -> int:
    if value is None:
        return GRACE_SECONDS
    return parse_duration(value, what, most=LONGEST_GRACE_SECONDS)


def _idle_timeout(value: Any, what: str) -> int | None:
    return None if value is None else parse_duration(value, what, least=LEAST_IDLE)


def _retries(value: object, what: str) -> int:
    if value is None:
        return 0
    number = int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value) else value
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= MOST_RETRIES:
        raise InvalidJob(f"{what} must be a whole number from 0 to {MOST_RETRIES}, not {shown(value)}.")
    return number


def _retry_on(value: object, what: str) -> tuple[str, ...]:
    if value is None:
        return RETRIABLE
    found = value.split(",") if isinstance(value, str) else value
    if not isinstance(found, Sequence) or not found or not all(isinstance(reason, str) for reason in found):
        raise InvalidJob(f"{what} takes reasons, such as {','.join(RETRIABLE)}; not {shown(value)}.")
    reasons = tuple(dict.fromkeys(str(reason).strip() for reason in found))
    for reason in reasons:
        if reason not in RETRIABLE:
            raise InvalidJob(f"{what} knows {' and '.join(RETRIABLE)}, and not {shown(reason)}.")
    return reasons


def _setup(value: object, what: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise InvalidJob(f"{what} must be a shell command line, not {shown(value)}.")
    if _size(value, what) > LONGEST_COMMAND:
        raise InvalidJob(f"{what} is longer than 256 KiB; put it into a file of the --workdir.")
    return value


def _outputs(value: object, what: str) -> tuple[str, ...]:
    if value is None:
        return ()
    globs = [value] if isinstance(value, str) else value
    if not isinstance(globs, Sequence) or not all(isinstance(glob, str) for glob in globs):
        raise InvalidJob(f"{what} takes a text, or several, such as 'checkpoints/**'; not {shown(value)}.")
    if len(globs) > MOST_OUTPUTS:
        raise InvalidJob(f"{what} is given more than {MOST_OUTPUTS} times; `**` stands for many files.")
    return tuple(dict.fromkeys(_glob(glob, what) for glob in globs))


def _glob(glob: str, what: str) -> str:
    parts = glob.split("/")
    if not glob.strip() or _size(glob, what) > LONGEST_GLOB:
        raise InvalidJob(f"{what} must name files, such as 'checkpoints/**'; not {shown(glob)}.")
    if glob.startswith(("/", "~")) or ".." in parts:
        raise InvalidJob(
            f"{what} {shown(glob)} leaves the folder in which the command runs; name files below it."
        )
    if not any(part not in ("", ".") for part in parts):
        return "**"
    return glob


def _sync_every(value: object, what: str, outputs: tuple[str, ...]) -> int | None:
    if value is None:
        return None
    if not outputs:
        raise InvalidJob(f"{what} needs --output: without it there is nothing to bring back.")
    return parse_duration(value, what)  # type: ignore[arg-type]


def _folder(value: object, what: str, in_file: bool) -> str | None:
    if value is None:
        return None
    try:
        folder = fspath(value) if isinstance(value, str | PathLike) else ""
    except TypeError:
        folder = ""
    if not isinstance(folder, str) or not folder or "\0" in folder:
        raise InvalidJob(f"{what} must be the path of a folder, not {shown(value)}.")
    if in_file:
        here = Path.cwd().resolve()
        if not (here / folder).resolve().is_relative_to(here):
            # Whoever wrote a cloned repository must not choose what of this computer is sent away.
            raise InvalidJob(f"{what} must lie in the working folder; name another one with --workdir.")
    return folder


def _size(text: str, what: str) -> int:
    if "\0" in text:
        raise InvalidJob(f"{what} holds a NUL character, which no program can be given.")
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise InvalidJob(f"{what} holds bytes that are not UTF-8 text; pass them in a file.") from None
