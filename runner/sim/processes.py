"""The real processes of a simulated machine: started with its marker, found by it, killed to the last one.

A machine's processes may call setsid, fork twice or outlive their parents: no process group holds them all.
They are found through psutil by the marker in their environment, by their session, and as descendants of such
processes; killing repeats until a look finds none. Only a process that gave up all three escapes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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


@dataclass(frozen=True)
class Marked:
    """What the processes of one machine are known by.

    *machine* is the value of the marker, *known* the live processes that we started, *sessions* the sessions
    of all that we ever started.
    """

    machine: str
    known: frozenset[int] = frozenset()
    sessions: frozenset[int] = frozenset()


class _Marks:
    """The marks of several machines together: each process is asked once, however many machines there are."""

    def __init__(self, machines: Sequence[Marked]) -> None:
        self._machines = {machine.machine for machine in machines}
        self._known = frozenset[int]().union(*(machine.known for machine in machines))
        self._sessions = frozenset[int]().union(*(machine.sessions for machine in machines))

    def owns(self, process: psutil.Process) -> bool:
        """Whether *process* bears a mark. Raises psutil.Error if it cannot be told."""
        if process.pid in self._known or _marker(process) in self._machines:
            return True
        session = _session(process)
        if session not in self._sessions:
            return False
        # Its number may have gone to a stranger's session by now; then its leader is alive and not ours.
        return session in self._known or not psutil.pid_exists(session)


def find(*machines: Marked) -> list[psutil.Process]:
    """The live processes of *machines*: those that bear a mark and their descendants; never this process."""
    marks = _Marks(machines)
    found: dict[int, psutil.Process] = {}
    children: dict[int, list[psutil.Process]] = {}
    own = os.getpid()
    for process in psutil.process_iter():
        if process.pid == own:
            continue
        try:
            children.setdefault(process.ppid(), []).append(process)
            if process.status() != psutil.STATUS_ZOMBIE and marks.owns(process):
                found[process.pid] = process
        except psutil.Error:
            continue  # gone meanwhile, or another user's
    todo = list(found)
    while todo:
        for child in children.get(todo.pop(), []):
            if child.pid not in found and _alive(child):
                found[child.pid] = child
                todo.append(child.pid)
    return list(found.values())


def _marker(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARKER)
    except psutil.AccessDenied:
        return None


def _session(process: psutil.Process) -> int:
    try:
        return os.getsid(process.pid)
    except OSError:
        return -1


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def kill(machines: Sequence[Marked], *, timeout: float = 20.0) -> None:
    """SIGKILL the processes of *machines* until none is found; TimeoutError after *timeout* seconds."""
    end = time.monotonic() + timeout
    while machines and (processes := find(*machines)):
        if time.monotonic() > end:
            raise TimeoutError(f"would not die: {', '.join(str(process) for process in processes)}")
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(0.005)  # not psutil.wait_procs: it would take the exit codes of our own children


class Reaper:
    """Kills for the event loop, in a thread; machines that end together share each look at all processes."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Marked, asyncio.Future[None]]] = []
        self._working: asyncio.Task[None] | None = None

    async def kill(self, machine: Marked) -> None:
        """Return when no process of *machine* is left. Raises TimeoutError as `kill` does."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append((machine, done))
        if self._working is None or self._working.done():
            self._working = loop.create_task(self._work())
        await done

    async def _work(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await in_thread(partial(kill, [machine for machine, _ in batch]))
            except (OSError, psutil.Error) as error:  # TimeoutError is one of OSError's
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
            else:
                for _, done in batch:
                    if not done.done():
                        done.set_result(None)


async def in_thread(call: Callable[[], None]) -> None:
    """Run *call* without blocking the loop, unless the interpreter is ending: then threads are refused."""
    try:
        work = asyncio.get_running_loop().run_in_executor(None, call)
    except RuntimeError:
        call()
    else:
        await work
