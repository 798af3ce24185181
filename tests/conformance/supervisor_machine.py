"""A machine without the machine: a home folder in which the real supervisor runs under a shell of choice.

Everything is done as it is done over SSH: the startup command through ``sh``, the verbs by their exec lines.
The shell under test is what ``sh`` means there, also to the supervisor itself. On leaving, nothing may still
run.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import psutil
import pytest

from tests.waiting import wait_until
from workers.supervisor import (
    GoAnswer,
    MachineState,
    go_payload,
    new_attestation_key,
    parse_go,
    parse_state,
    parse_stop,
    shell,
    startup_command,
)
from workers.supervisor.build import FOLDER, Verb

ATTEMPT = "installattempt0123456789ab"
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7ynhdoQ4UYKuC8mhmZkn2cJmGtn7PTbBGWlSrFNMfG"
SHELLS = ("dash", "bash", "busybox")
_MARK = "RN_TEST_MACHINE"


def each_shell(test: Callable[..., None]) -> Callable[..., None]:
    """Run ``test(..., sh, tmp_path)`` under every shell, at the same time, each with a folder of its own.

    Most of such a test is waiting, so that three cost little more than one. A shell that is missing is
    skipped, loudly, after the others have passed.
    """
    signature = inspect.signature(test)
    there = [name for name in SHELLS if shutil.which(name)]

    @functools.wraps(test)
    def everywhere(tmp_path: Path, **given: object) -> None:
        for sh in there:
            (tmp_path / sh).mkdir()
        with ThreadPoolExecutor(len(SHELLS)) as pool:
            runs = {sh: pool.submit(test, sh=sh, tmp_path=tmp_path / sh, **given) for sh in there}
        errors = [(sh, error) for sh, run in runs.items() if (error := run.exception())]
        for sh, error in sorted(errors, key=lambda failed: isinstance(failed[1], pytest.skip.Exception)):
            error.add_note(f"under {sh}")
            raise error
        if missing := sorted(set(SHELLS) - set(there)):
            pytest.skip(
                f"NOT TESTED UNDER {', '.join(missing)}: not installed (passed under {', '.join(there)})"
            )

    parameters = [p for p in signature.parameters.values() if p.name != "sh"]
    everywhere.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return everywhere


class Machine:
    """One attempt's folder on one machine; see the module."""

    def __init__(
        self, root: Path, sh: str, *, tools: Mapping[str, str | None] | None = None, home: str = "a home"
    ) -> None:
        """*tools*: programs replaced on the PATH by others, or hidden where None."""
        self.home = root / home
        self.home.mkdir(parents=True, exist_ok=True)
        self.folder = self.home / FOLDER / ATTEMPT
        self.run_folder = self.folder / "run"
        self.mark = uuid.uuid4().hex
        self.attestation_key = new_attestation_key()
        programs = root / "programs"
        programs.mkdir()
        path = os.environ["PATH"]
        if tools is not None:
            for folder in ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"):
                for tool in Path(folder).iterdir() if Path(folder).is_dir() else ():
                    if tool.name not in tools and not (programs / tool.name).exists():
                        (programs / tool.name).symlink_to(tool)
            for name, target in tools.items():
                if target is not None:
                    (programs / name).symlink_to(_found(target))
            path = ""
        (programs / "sh").unlink(missing_ok=True)
        (programs / "sh").symlink_to(_found(sh))
        self.host_keys = root / "host keys"
        self.host_keys.mkdir()
        (self.host_keys / "ssh_host_ed25519_key.pub").write_text("ssh-ed25519 AAAAhost root@machine\n")
        self.environment = {
            "HOME": str(self.home),
            "PATH": f"{programs}:{path}".rstrip(":"),
            "RN_HOST_KEYS": str(self.host_keys),
            "LOGNAME": "tester",
            _MARK: self.mark,
        }

    def __enter__(self) -> Machine:
        done = self.exec(startup_command(ATTEMPT, PUBLIC_KEY, self.attestation_key))
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                wait_until(lambda: not self.processes(), timeout=15, what="the end of every process")
        finally:
            self.kill_all()

    def processes(self) -> list[psutil.Process]:
        """Every process of this machine that is not a zombie."""
        found = []
        mark = f"{_MARK}={self.mark}".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, psutil.Error):
                if mark in (folder / "environ").read_bytes():  # a zombie has none
                    found.append(psutil.Process(int(folder.name)))
        return found

    def kill_all(self) -> int:
        """Kill every process of this machine; how many there were."""
        processes = self.processes()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return len(processes)

    def exec(self, line: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """What sshd does with an exec request."""
        return subprocess.run(
            ["sh", "-c", line],
            input=stdin,
            env=self.environment,
            capture_output=True,
            check=False,
            timeout=90,
        )

    def popen(self, line: str) -> subprocess.Popen[bytes]:
        """The same, without waiting; the caller closes it."""
        return subprocess.Popen(
            ["sh", "-c", line],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def verb(self, verb: Verb, *args: str | int, stdin: bytes = b"") -> bytes:
        done = self.exec(shell(ATTEMPT, verb, *args), stdin)
        assert done.stderr == b""
        return done.stdout

    @staticmethod
    def payload(
        command: str | Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        deadline: int = 600,
        grace: int = 5,
        max_log: int = 1 << 30,
        setup: str | None = None,
        idle: int | None = None,
    ) -> bytes:
        return go_payload(
            command=command,
            env=env or {},
            deadline_seconds=deadline,
            deadline_cause="max_runtime",
            grace_seconds=grace,
            max_log_bytes=max_log,
            setup=setup,
            idle_seconds=idle,
        )

    def go(self, payload: bytes) -> GoAnswer:
        return parse_go(self.verb("go", stdin=payload))

    def start(self, command: str | Sequence[str], **options: object) -> None:
        assert self.go(self.payload(command, **options)).accepted  # type: ignore[arg-type]

    def state(self) -> MachineState:
        return parse_state(self.verb("state"))

    def stop(self, cause: str, grace: int) -> MachineState | None:
        return parse_stop(self.verb("stop", cause, grace))

    def follow(self, offset: int = 0) -> tuple[bytes, MachineState]:
        """The log from *offset* to its end, and how it ended."""
        with self.popen(shell(ATTEMPT, "follow", offset)) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            log = process.stdout.read()
            return log, parse_state(process.stderr.read())

    def log(self) -> bytes:
        return (self.run_folder / "log").read_bytes()

    def ended(self) -> MachineState:
        return (
            wait_until(lambda: (now := self.state()).over and now, what="the end of the command")
            or self.state()
        )

    def identity(self, of: str) -> int:
        """The process id of the supervisor, the keeper or the command (command.id)."""
        return int(
            wait_until((self.run_folder / of).exists, what=of)
            and (self.run_folder / of).read_text().split()[0]
        )

    def finished(self, command: str | Sequence[str], **options: object) -> tuple[bytes, MachineState]:
        """Run *command* to its end under a follower, and check what must hold of every log."""
        self.start(command, **options)
        log, state = self.follow()
        assert state.exit is not None
        assert log == self.log()
        assert state.exit.log_bytes == len(log)
        assert state.exit.log_sha256 == hashlib.sha256(log).hexdigest()
        assert self.state() == state
        return log, state


def settle(seconds: float) -> None:
    """Let real time pass, where the passing of time is itself what a test is about (never to win a race)."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, timeout=seconds + 30)


def _found(program: str) -> str:
    path = shutil.which(program)
    assert path is not None, f"{program} is not installed"
    return path
