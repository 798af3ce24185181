"""The one place where an error becomes an exit code and a sentence on standard error, never a traceback."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from pathlib import Path
from typing import TextIO

from jobs.errors import RunnerError
from runner.cli import output

FAILED = 1
USAGE = 2
INTERRUPTED = 130
PIPE_CLOSED = 141
"""What a shell says of a program that SIGPIPE ended: nobody reads on, so nothing is said either."""

SECRETS = ("MASSED_COMPUTE_API_KEY", "RUNNER_SECRET_KEY")
SHORTEST_SECRET = 8
OURS = Path(__file__).resolve().parents[2]


class NotDone(RunnerError):
    """The command could not do what was asked, or not all of it; the message says what and why."""


def report(error: BaseException) -> int:
    """Say what went wrong, where there is something to say; returns the exit code."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        _abandon(sys.stdout)
        return PIPE_CLOSED
    if isinstance(error, RunnerError):
        _say(str(error))
        return type(error).exit_code  # the instance's own may be that of a job's command
    if isinstance(error, OSError):
        if error.filename == output.STDOUT:
            _abandon(sys.stdout)
        _say(_os_error(error))
        return FAILED
    _say(
        f"something went wrong that should not have: {_kind(error)}{_where(error)}. Please report this line; "
        "`runner doctor` may tell more."
    )
    return FAILED


def report_usage(message: str, command_path: str | None) -> int:
    """Say how the command was used wrongly, and where its help is; returns the exit code."""
    sentence = message.replace(": Value error, ", ": ").strip().rstrip(".")
    _say(f"{sentence}. See `{command_path or 'runner'} --help`.")
    return USAGE


def finish(code: int) -> int:
    """Write out what is still buffered, while it can still be told if that fails; returns the exit code."""
    try:
        output.flush()
    except OSError as error:
        _abandon(sys.stdout)
        code = code or report(error)
    try:
        output.flush(sys.stderr)
    except OSError:
        _abandon(sys.stderr)
    return code


def _say(sentence: str) -> None:
    output.note(f"runner: {_without_secrets(sentence)}")


def _without_secrets(sentence: str) -> str:
    """Somebody may have given the token where something else belongs; of a long value a part is quoted."""
    for name in SECRETS:
        secret = os.environ.get(name, "").strip()
        for size in range(len(secret), max(SHORTEST_SECRET, len(secret) // 2) - 1, -1):
            if secret[:size] in sentence:
                sentence = sentence.replace(secret[:size], f"[{name}]")
                break
    return sentence


def _os_error(error: OSError) -> str:
    what = (error.strerror or str(error) or "the operating system refused").lower()
    if error.errno == errno.ENOSPC:
        what = "the disk is full"
    where = f"{output.clean(error.filename)}: " if error.filename is not None else ""
    return f"{where}{what}."


def _kind(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def _where(error: BaseException) -> str:
    """The innermost line of ours that was running."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(OURS) and file.relative_to(OURS).parts[0] in ("runner", "workers", "jobs"):
            return f" ({file.relative_to(OURS)}:{line})"
    return ""


def _abandon(stream: TextIO) -> None:
    """Let Python's own last flush go nowhere: it would complain where nobody can do anything about it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
