"""The real processes of a simulated machine: started with its marker, found by it, killed to the last one.

A machine's processes may call setsid, fork twice or outlive their parents: no process group holds them all.
They are found through psutil by the marker in their environment, by a working folder inside the machine's
folder, and as descendants of such processes; killing repeats until a look finds none.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import psutil

MARKER = "RN_SIM_INSTANCE"


class Child:
    """A process started for a machine, and an awaitable for its end (`returncode` as in subprocess)."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.pid = process.pid
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._pidfd = -1
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # macOS, or a kernel without it: a thread waits instead
            threading.Thread(target=self._wait_in_thread, name=f"sim-wait-{self.pid}", daemon=True).start()
        else:
            self._loop.add_reader(self._pidfd, self._collect)

    def _wait_in_thread(self) -> None:
        code = self.process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._finish, code)

    def _collect(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        self._finish(self.process.wait())

    def _finish(self, code: int) -> None:
        if not self._ended.done():
            self._ended.set_result(code)

    def when_ended(self, call: Callable[[], object]) -> None:
        """Call *call* on the loop when the process has ended."""
        self._ended.add_done_callback(lambda _: call())

    async def wait(self) -> int:
        """The exit code, negative for a signal."""
        return await asyncio.shield(self._ended)


def spawn(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path, stdin: int, stdout: int, stderr: int
) -> subprocess.Popen[bytes]:
    """Start *argv* in a session of its own. Raises OSError if it cannot be started."""
    return subprocess.Popen(
        list(argv), env=dict(env), cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
    )


def find(machine: str, folder: Path, known: Collection[int] = ()) -> list[psutil.Process]:
    """The live processes of *machine*: *known* ones, marked ones, those in *folder*, and their descendants.

    Never this process itself.
    """
    found: dict[int, psutil.Process] = {}
    parents: dict[int, list[psutil.Process]] = {}
    own = os.getpid()
    inside = str(folder) + os.sep
    for process in psutil.process_iter():
        if process.pid == own:
            continue
        try:
            parents.setdefault(process.ppid(), []).append(process)
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.pid in known or _belongs(process, machine, inside):
                found[process.pid] = process
        except psutil.Error:
            continue  # gone meanwhile, or another user's
    todo = list(found)
    while todo:
        for child in parents.get(todo.pop(), []):
            if child.pid not in found and _alive(child):
                found[child.pid] = child
                todo.append(child.pid)
    return list(found.values())


def _belongs(process: psutil.Process, machine: str, inside: str) -> bool:
    with contextlib.suppress(psutil.AccessDenied):
        if process.environ().get(MARKER) == machine:
            return True
    with contextlib.suppress(psutil.AccessDenied):
        return (process.cwd() + os.sep).startswith(inside)
    return False


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def kill(machine: str, folder: Path, known: Collection[int] = (), *, timeout: float = 20.0) -> None:
    """SIGKILL every process of *machine* until none is found. Raises TimeoutError after *timeout* seconds."""
    end = time.monotonic() + timeout
    while processes := find(machine, folder, known):
        if time.monotonic() > end:
            pids = ", ".join(str(process.pid) for process in processes)
            raise TimeoutError(f"processes of machine {machine} would not die: {pids}")
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(0.005)  # not psutil.wait_procs: it would take the exit codes of our own children
