"""What is sent to a machine: the bootstrap script, the startup command, a verb's line, the payload of `go`.

The bootstrap only makes the machine reachable: our key among the authorized ones, the host-key attestation,
the supervisor unpacked. It starts nothing, and may run twice, at once, or again after a restart. What to run,
with its environment, comes with `go` over standard input: nothing private is in an argument of a process.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from workers.supervisor.attestation import key_block

PROTOCOL = 3
"""Of a machine that is set up now. It takes earlier payloads too: of 1, without a set-up command, and of 2,
without a watch for idle GPUs."""
SETUP_PROTOCOL, IDLE_PROTOCOL = 2, 3
"""From which on a machine knows of each."""
NO_NVIDIA_SMI = 3
"""The status of the verb ``gpus`` where there is none."""
FOLDER = ".gpu-job-runner"

Verb = Literal["attest", "go", "state", "follow", "stop", "gpus", "idle"]
DeadlineCause = Literal["max_runtime", "max_cost"]

_HERE = Path(__file__).parent
_ATTEMPT = re.compile(r"[0-9a-z]{1,64}")
_PUBLIC_KEY = re.compile(r"[a-z0-9@.-]+ AAAA[A-Za-z0-9+/=]+")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HERE_DOCUMENT_END = "end of supervisor"
_PYTHON = (
    "p=$(command -v python3 || command -v /usr/bin/python3 || command -v python) || "
    '{ echo "there is no python3 on the machine" >&2; exit 127; }'
)

_STUB = "import sys; i = sys.stdin.buffer; exec(compile(i.read(int(i.readline())), sys.argv[1], 'exec'))"
"""A program for Python whose own source comes first on standard input, after its length."""
NO_SUDO, SLOW_SUDO, NO_PYTHON = 71, 72, 73
"""Statuses of the line that starts the guard: of our own, because what the machine says is not repeated."""
_GUARD_SECONDS = 10
_GUARD = f"""
limit=
command -v timeout >/dev/null && limit='timeout {_GUARD_SECONDS}'
root='sudo -n'
if ! command -v sudo >/dev/null; then
    [ "$(id -u)" = 0 ] || exit {NO_SUDO}
    root=
fi
$limit $root true </dev/null
case $? in 0) ;; 124) exit {SLOW_SUDO} ;; *) exit {NO_SUDO} ;; esac
p=$($limit $root sh -c 'command -v /usr/bin/python3 || command -v python3' </dev/null) || exit {NO_PYTHON}
[ "$1" = look ] || exec $limit $root "$p" -I -S -c "$2" guard
"""

# A shell may hold these read-only, and end at an attempt to set one: such a value is left out there.
_READ_ONLY = frozenset({"UID", "EUID", "PPID", "SHELLOPTS", "BASHOPTS", "BASH_VERSINFO"})


def _shipped(text: str) -> str:
    """The script without comments and indentation: every machine gets it through a field of unknown limit."""
    first, *rest = text.splitlines()
    kept = (line.strip() for line in rest if not line.lstrip().startswith("#"))
    return "\n".join([first, *(line for line in kept if line)]) + "\n"


@cache
def supervisor_script() -> str:
    """The supervisor as it is shipped."""
    return _shipped((_HERE / "supervisor.sh").read_text(encoding="ascii"))


@cache
def keys_only_script() -> str:
    """A POSIX sh script for the machine that switches logins by password off; to be fed to ``sh``."""
    return _shipped((_HERE / "keys_only.sh").read_text(encoding="ascii"))


def bootstrap_script(attempt_id: str, public_key: str, attestation_key: bytes) -> str:
    """A POSIX sh script for the machine, to be fed to ``sh`` on standard input; may run any number of times.

    *public_key* is an OpenSSH line; its comment is left out. Raises ValueError for what is none.
    """
    key = " ".join(public_key.split()[:2])
    if not _PUBLIC_KEY.fullmatch(key):
        raise ValueError("not an OpenSSH public key")
    values = {
        "@ATTEMPT@": _attempt(attempt_id),
        "@PUBLIC_KEY@": key,
        "@INNER@": key_block(attestation_key, 0x36),
        "@OUTER@": key_block(attestation_key, 0x5C),
        "@FOLDER@": FOLDER,
        "@END@": _HERE_DOCUMENT_END,
        "@SUPERVISOR@\n": supervisor_script(),
    }
    script = _shipped((_HERE / "bootstrap.sh").read_text(encoding="ascii"))
    for mark, value in values.items():
        script = script.replace(mark, value)
    return script


def startup_command(attempt_id: str, public_key: str, attestation_key: bytes) -> str:
    """The bootstrap script as the one line that the cloud's field for a startup command takes."""
    script = bootstrap_script(attempt_id, public_key, attestation_key)
    encoded = base64.b64encode(script.encode("ascii")).decode("ascii")
    return f"printf %s '{encoded}' | base64 --decode | sh"


def shell(attempt_id: str, verb: Verb, *args: str | int) -> str:
    """The line that runs a verb of the supervisor over SSH, whatever the login shell."""
    words = " ".join([verb, *(shlex.quote(str(arg)) for arg in args)])
    return f'sh "$HOME/{FOLDER}/{_attempt(attempt_id)}/supervisor.sh" {words}'


@cache
def agent_source() -> bytes:
    """The program with which files come and go, for ``transfer`` to read: it and the module that it needs."""
    ours = {"jobs.files.portable": _HERE.parents[1] / "jobs" / "files" / "portable.py"}
    modules = {name: path.read_text(encoding="utf-8") for name, path in ours.items()}
    lines = [
        "import sys, types",
        f"modules = {json.dumps(modules)}",
        "for name in ('jobs', 'jobs.files', *modules):",
        "    sys.modules[name] = types.ModuleType(name)",
        "    exec(compile(modules.get(name, ''), name, 'exec'), sys.modules[name].__dict__)",
        "sys.modules['jobs.files'].portable = sys.modules['jobs.files.portable']",
        f"agent = {json.dumps((_HERE / 'agent.py').read_text(encoding='ascii'))}",
        "exec(compile(agent, 'agent', 'exec'), globals())",
    ]
    return "\n".join(lines).encode("ascii")


def transfer(attempt_id: str, verb: Literal["receive", "send"]) -> str:
    """The line that runs the agent; it reads the length of its own source, the source, then its work."""
    folder = f'"$HOME/{FOLDER}/{_attempt(attempt_id)}"'
    script = f'{_PYTHON}; exec "$p" -I -S -c {shlex.quote(_STUB)} {verb} {folder}'
    return f"sh -c {shlex.quote(script)}"


def guard_line(verb: Literal["look", "start"]) -> str:
    """The line that starts the guard as root; it reads ``guard_payload``.

    ``look`` tells only whether it could: where there is no sudo, the token must not even be on its way, since
    whoever runs as the login user could read it there.
    """
    return f"sh -c {shlex.quote(_GUARD)} sh {verb} {shlex.quote(_STUB)}"


def guard_payload(attempt_id: str, *, url: str, token: str, uuid: str, seconds: float) -> bytes:
    """The guard's source and its order. *seconds* remain from the moment the machine reads this."""
    source = (_HERE / "guard.py").read_bytes()
    order = {"attempt": _attempt(attempt_id), "url": url, "token": token, "uuid": uuid, "seconds": seconds}
    return b"%d\n%b%b\n" % (len(source), source, json.dumps(order).encode("ascii"))


def enter(attempt_id: str, words: Sequence[str]) -> str:
    """The line that becomes a shell, or *words*, beside the attempt's command."""
    code = (_HERE / "enter.py").read_text(encoding="utf-8")
    folder = f'"$HOME/{FOLDER}/{_attempt(attempt_id)}"'
    script = f'{_PYTHON}; exec "$p" -I -S -c {shlex.quote(code)} {folder} {shlex.join(words)}'
    return f"sh -c {shlex.quote(script)}"


def go_payload(
    *,
    command: str | Sequence[str],
    env: Mapping[str, str],
    deadline_seconds: int,
    deadline_cause: DeadlineCause,
    grace_seconds: int,
    max_log_bytes: int,
    setup: str | None = None,
    idle_seconds: int | None = None,
) -> bytes:
    """What `go` reads: ASCII; a header, the environment, the command, and a last line that proves it whole.

    A str is a shell line, several words are run as they are; *setup* is a shell line that runs before;
    *idle_seconds*: how long the GPUs may do nothing while nothing is written.
    *deadline_seconds* remain from the moment the machine reads this: no clocks are compared. Raises
    ValueError for what no process can be given (a NUL, a name that is none, an empty command).
    """
    if isinstance(command, str):
        kind, script = "line", command + "\n"
    else:
        kind, script = "words", "set -- " + " ".join(_quoted(word) for word in command) + "\n"
    if not command or "\0" in script or "\0" in (setup or ""):
        raise ValueError("the command is empty or holds a NUL")
    protocol = 1 if setup is None else SETUP_PROTOCOL
    if idle_seconds is not None:
        protocol = IDLE_PROTOCOL
    header = (
        f"gpu-job-runner go {protocol} {max(0, int(deadline_seconds))} {deadline_cause} "
        f"{max(0, int(grace_seconds))} {max(2, int(max_log_bytes))} {kind}"
    )
    if idle_seconds is not None:
        header += f" {max(1, int(idle_seconds))}"
    first = [] if setup is None else [_encoded(setup + "\n")]
    parts = [header, _encoded(_exports(env)), _encoded(script), *first, "end", ""]
    return "\n".join(parts).encode("ascii")


def _exports(env: Mapping[str, str]) -> str:
    lines = []
    for name, value in env.items():
        if not _ENV_NAME.fullmatch(name) or "\0" in value:
            raise ValueError(f"not an environment variable: {name!r}")
        line = f"export {name}={_quoted(value)}"
        if name in _READ_ONLY:
            line = f"if ({line}) 2>/dev/null; then {line}; fi"
        lines.append(line)
    return "\n".join([*lines, ":"])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _encoded(text: str) -> str:
    # Names of files that were no UTF-8 come back as the bytes they were.
    return base64.b64encode(text.encode("utf-8", "surrogateescape")).decode("ascii")


def _attempt(attempt_id: str) -> str:
    if not _ATTEMPT.fullmatch(attempt_id):
        raise ValueError(f"not an attempt's id: {attempt_id!r}")
    return attempt_id
