"""`runner ssh`: a shell beside the command of a job, by the system's ssh, to the machine that was pinned."""

from __future__ import annotations

import errno
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from jobs.errors import InvalidJob
from jobs.settings import Settings
from jobs.states import State
from jobs.store import attempts, reads
from jobs.store.attempts import Work
from jobs.store.database import Database
from runner.cli import output
from runner.cli.options import Job
from runner.client import Client
from workers.ssh.errors import fingerprint

Forward = Annotated[
    list[str] | None,
    typer.Option("-L", metavar="[BIND:]PORT:HOST:PORT", help="Forward a port of this computer; repeatable."),
]


_SIX = r"\[[0-9A-Fa-f:.%]+\]"
_FORWARD = re.compile(rf"(?:(?:{_SIX}|[\w.*-]*):)?(\d+):(?:{_SIX}|\w[\w.-]*):(\d+)", re.ASCII)


class NoWayIn(InvalidJob):
    """There is nothing to log into, or nothing to do it with."""

    exit_code = 1


def ssh(
    job: Job,
    command: Annotated[list[str] | None, typer.Argument(metavar="[-- COMMAND…]", show_default=False)] = None,
    forward: Forward = None,
) -> None:
    """A shell in the folder of a job that runs, with its environment; or a command there.

    With -L a port of this computer leads to one that the machine sees, as long as the shell lasts.

    Example: runner ssh my-training -- nvidia-smi
    """
    for where in forward or ():
        _check_forward(where)
    with Client() as client:
        work = _running(client.database, reads.find(client.database, job))
        words = _words(client.settings, work, forward or [], command or [])
    with _files(work) as (known, said):
        quoted = str(known).replace("%", "%%")
        code = _run([*words[:1], "-E", str(said), "-o", f'UserKnownHostsFile="{quoted}"', *words[1:]])
        complaint = said.read_text(errors="replace").strip()
    if complaint:
        _say(complaint, work)
    raise SystemExit(code)


def _say(complaint: str, work: Work) -> None:
    """What ssh itself said, which may not be where the command's own words are."""
    assert work.host_key is not None
    if "Host key verification failed" in complaint or "IDENTIFICATION HAS CHANGED" in complaint:
        output.note(
            f"runner: the machine does not show the host key {fingerprint(work.host_key)} that was pinned "
            "for it: it is not the same machine, or somebody is in between. Nothing was sent to it."
        )
    elif "Permission denied" in complaint:
        output.note(
            "runner: the machine does not accept the key in RUNNER_SSH_KEY; it must be that of the workers"
        )
    else:
        output.note(f"runner: ssh: {complaint.splitlines()[-1]}")


def _check_forward(where: str) -> None:
    match = _FORWARD.fullmatch(where)
    if match is None or not all(0 < int(port) < 65536 for port in match.groups()):
        raise InvalidJob(f"-L takes [BIND:]PORT:HOST:PORT, such as 8888:localhost:8888, not {where!r}.")
    port = int(match[1])
    if where.startswith(match[1]):
        # ssh is content with one of this computer's two addresses; at the other one somebody else answers.
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((address, port))
                except OSError as error:
                    if error.errno == errno.EADDRINUSE:
                        raise NoWayIn(
                            f"Port {port} of this computer is in use; forward another one."
                        ) from None


def _running(db: Database, job_id: str) -> Work:
    view = reads.show(db, job_id)
    if view.state is not State.RUNNING:
        raise NoWayIn(f"Job {job_id}: {view.state}; one can log in while its command runs.")
    work = attempts.load(db, view.attempts[-1].id)
    if work is None or work.host_key is None or not work.host:
        raise NoWayIn(f"The machine of job {job_id} is not known well enough to log in; try again.")
    return work


def _words(settings: Settings, work: Work, forward: Sequence[str], command: Sequence[str]) -> list[str]:
    from workers.ssh.keys import existing_key
    from workers.supervisor import enter

    program = shutil.which("ssh")
    if program is None:
        raise NoWayIn("There is no `ssh` on this computer; install OpenSSH's client (openssh-client).")
    if existing_key(settings.ssh_key) is None:
        raise NoWayIn(
            f"The key of the machines is not on this computer ({settings.ssh_key}); name a copy of the one "
            "that the workers have in RUNNER_SSH_KEY."
        )
    assert work.host_key is not None
    kind = work.host_key.split()[0]
    kinds = "rsa-sha2-512,rsa-sha2-256" if kind == "ssh-rsa" else kind
    words = [
        program,
        "-F",
        "none",
        "-i",
        str(settings.ssh_key).replace("%", "%%"),
        "-p",
        str(work.port or settings.ssh_port),
    ]
    for option in (
        *("BatchMode=yes", "IdentitiesOnly=yes", "IdentityAgent=none", "StrictHostKeyChecking=yes"),
        *("GlobalKnownHostsFile=/dev/null", "UpdateHostKeys=no", "LogLevel=ERROR"),
        *(f"HostKeyAlias={work.attempt_id}", f"HostKeyAlgorithms={kinds}", "ServerAliveInterval=15"),
    ):
        words += ["-o", option]
    if forward:
        words += ["-o", "ExitOnForwardFailure=yes"]
    for where in forward:
        words += ["-L", where]
    words.append("-t" if not command and sys.stdin.isatty() else "-T")
    return [*words, f"{work.username or 'ubuntu'}@{work.host}", enter(work.attempt_id, command)]


@contextmanager
def _files(work: Work) -> Iterator[tuple[Path, Path]]:
    """A file with the one host key that may be shown, and one for what ssh has to say.

    They are gone afterwards, also where we are told to end.
    """

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with tempfile.TemporaryDirectory(prefix="runner-ssh-") as folder:
            known, said = Path(folder) / "known", Path(folder) / "said"
            known.write_text(f"{work.attempt_id} {work.host_key}\n")
            said.touch()
            yield known, said
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(words: Sequence[str]) -> int:
    """Run ssh on our own terminal. Ctrl-C is for what runs there, which ssh passes on."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    process = subprocess.Popen(words, restore_signals=True, preexec_fn=_default_interrupt)
    try:
        return _shell_code(process.wait())
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        signal.signal(signal.SIGINT, before)


def _default_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _shell_code(status: int) -> int:
    return 128 - status if status < 0 else status
