"""`runner init`: the one command that asks a question."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Annotated

import typer

from jobs import values
from jobs.errors import InvalidSettings, RunnerError
from jobs.settings import TOKEN_VARIABLE, TOML_NAME, Secret, load_settings
from runner import daemon
from runner.cli import output
from runner.cli.api import SECONDS, open_cloud

KEY = TOKEN_VARIABLE.lower()
_LINE = re.compile(rf"^[ \t]*[\"']?{KEY}[\"']?[ \t]*=.*\n?", re.MULTILINE)


class CannotStore(RunnerError):
    """The token is valid and could not be written down."""


def init(
    words: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
) -> None:
    """Ask for the account's API token, check it, and store it where only you can read it.

    It is not shown while it is typed. Where standard input is no terminal, the first line there is the token.

    Example: runner init
    """
    if words:  # a token, perhaps, which no message repeats
        raise InvalidSettings("`runner init` takes no argument: it asks for the token, or reads its input.")
    load_settings(api_token=Secret("-"))  # what else is wrong is said before anybody types a token
    token = _ask()
    settings = load_settings(api_token=token)
    with open_cloud(settings) as cloud:
        cloud.validate_token(deadline_s=SECONDS)
    file = store(settings.home / TOML_NAME, token)
    output.line(f"Massed Compute accepts the token. It is stored in {file}, which only you can read.")
    running = daemon.find(settings)
    if running is not None:
        output.note(
            f"The service that runs (pid {running.pid}) still has the token with which it was started: "
            "`runner down`, then start it again."
        )
    _say_next(token)


def store(file: Path, token: Secret) -> Path:
    """Write the token into *file* beside what stands there, whole or not at all; returns where it lies.

    Raises CannotStore.
    """
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = file.resolve()  # a link stays a link
        before = file.read_text("utf-8") if file.exists() else ""
        _replace(file, with_token(before, token))
    except OSError as error:
        what = (error.strerror or "it failed").lower()
        raise CannotStore(f"{file} cannot be written: {what}; the token was not stored.") from None
    return file


def with_token(text: str, token: Secret) -> str:
    """The settings file *text* with *token* in it, and all else, comments too, as it was."""
    kept = {key: value for key, value in tomllib.loads(text).items() if key != KEY}
    line = f"{KEY} = {json.dumps(token.reveal())}\n"
    changed = line + _LINE.sub("", text)
    try:
        if tomllib.loads(changed) == kept | {KEY: token.reveal()}:
            return changed
    except tomllib.TOMLDecodeError:
        pass  # the old value stood on several lines
    return line + "".join(f"{key} = {json.dumps(value)}\n" for key, value in kept.items())


def _ask() -> Secret:
    try:
        if sys.stdin.isatty():
            text = getpass.getpass("API token of your Massed Compute account (it is not shown): ")
        else:
            text = sys.stdin.readline(8192)
    except (EOFError, UnicodeDecodeError):
        text = ""
    if not text.strip():
        raise InvalidSettings("No token was given; nothing was stored.")
    return values.read_token(text, "What was given")


def _replace(file: Path, text: str) -> None:
    """Put *text* in the file's place at once, so that a crash leaves the old one or the new one."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _say_next(token: Secret) -> None:
    in_force = load_settings()
    if in_force.api_token != token:
        output.note(f"{TOKEN_VARIABLE} in the environment holds another token, and goes before the file.")
    output.line("\nWhat comes next:")
    output.line(
        "  runner gpus                                                what can be rented, at which price"
    )
    output.line(
        "  runner run --gpu gpu_1x_l40 --max-cost 1 -- nvidia-smi     a first job under a ceiling of $1"
    )
