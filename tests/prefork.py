"""The command line in a process of its own, without the second that its imports take each time.

A server process imports what the commands import and forks for each command. The child gets the arguments,
environment, folder and pipes that a new process would have, and ends as one does. Where any variable but our
own settings differs, Python might have started differently, so an ordinary process is started.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Protocol

RUNNER = Path(sys.executable).with_name("runner")
IMPORTED = (
    "alembic.config",
    "celery.app.amqp",
    "celery.app.control",
    "celery.app.trace",
    "celery.backends.base",
    "celery.concurrency.thread",
    "celery.events.receiver",
    "celery.worker.components",
    "celery.worker.consumer",
    "celery.worker.control",
    "certifi",
    "cryptography.fernet",
    "encodings.idna",
    "fsspec.implementations.local",
    "h11",
    "httpcore",
    "jobs.files.workdir",
    "jobs.store.schema",
    "kombu.transport.redis",
    "runner.cli.account",
    "runner.cli.cloud",
    "runner.cli.doctor",
    "runner.cli.files",
    "runner.cli.init",
    "runner.cli.jobs",
    "runner.cli.keys",
    "runner.cli.offers",
    "runner.cli.service",
    "runner.cli.ssh",
    "runner.daemon",
    "runner.hopeless",
    "runner.inventory",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite",
    "typer._adapters",
    "workers.app",
    "workers.cloud.client",
    "workers.steps.gate",
    "zstandard",
)
SIZE = struct.Struct("!Q")
_lock = threading.Lock()
_server: tuple[subprocess.Popen[bytes], socket.socket] | None = None


def pid() -> int | None:
    """The server's, where there is one: it lives as long as the tests' process."""
    return None if _server is None else _server[0].pid


def run(
    words: Sequence[str], *, env: Mapping[str, str], cwd: Path, given: bytes | None, timeout: float
) -> subprocess.CompletedProcess[bytes]:
    """One command, to its end. *given*: its standard input."""
    if _foreign(env) != _foreign(os.environ):
        return subprocess.run(
            [RUNNER, *words],
            env=env,
            cwd=cwd,
            input=given or b"",
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    (stdin, to_stdin), (from_stdout, stdout), (from_stderr, stderr) = os.pipe(), os.pipe(), os.pipe()
    with contextlib.ExitStack() as stack:
        for end in (stdin, stdout, stderr):
            stack.callback(os.close, end)
        child = _fork(words, env, cwd, (stdin, stdout, stderr))
    with child:
        try:
            out, err = _communicate(to_stdin, given or b"", [from_stdout, from_stderr], timeout)
        except TimeoutError:
            child.kill()
            raise subprocess.TimeoutExpired(child.args, timeout) from None
        return subprocess.CompletedProcess(child.args, child.wait(), out, err)


def start(words: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: int) -> Process:
    """One command, left to run; *output* is a file descriptor for all that it says, and it reads nothing."""
    if _foreign(env) != _foreign(os.environ):
        return subprocess.Popen(
            [RUNNER, *words], env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    with Path(os.devnull).open("rb") as nothing:
        return _fork(words, env, cwd, (nothing.fileno(), output, output))


class Process(Protocol):
    """What subprocess.Popen and Forked can both do."""

    pid: int

    def poll(self) -> int | None:
        """The exit status, None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, negative for a signal. Raises subprocess.TimeoutExpired."""

    def send_signal(self, sig: int) -> None:
        """Nothing where it has ended."""

    def kill(self) -> None:
        """SIGKILL."""


class Forked:
    """A process that was forked for a command; whoever started it waits for it, as for one of its own."""

    def __init__(self, args: list[str], line: socket.socket) -> None:
        self.args = args
        self._line = line
        self._lock = threading.Lock()
        self._status: int | None = None
        (self.pid,) = SIZE.unpack(_exactly(line, SIZE.size))

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.close()

    def poll(self) -> int | None:
        """The exit status, None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, negative for a signal. Raises subprocess.TimeoutExpired."""
        status = self._ended(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return status

    def send_signal(self, sig: int) -> None:
        """Nothing where it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        with self._lock:
            if self._status is None and select.select([self._line], [], [], timeout)[0]:
                (status,) = SIZE.unpack(_exactly(self._line, SIZE.size))
                self._status = os.waitstatus_to_exitcode(status)
                self._line.close()
            return self._status


def _fork(words: Sequence[str], env: Mapping[str, str], cwd: Path, streams: tuple[int, int, int]) -> Forked:
    argv = [str(RUNNER), *words]
    order = json.dumps({"argv": argv, "env": dict(env), "cwd": str(cwd)}).encode()
    line, theirs = socket.socketpair()
    with theirs, _lock:
        socket.send_fds(_connected(), [b"!"], [theirs.fileno(), *streams])
    line.sendall(SIZE.pack(len(order)) + order)
    return Forked(argv, line)


def _foreign(env: Mapping[str, str]) -> dict[str, str]:
    from tests.environ import clean_environ  # the server, which is a script, finds no tests

    return {name: value for name, value in clean_environ(env).items() if not name.startswith("PYTEST_")}


def _connected() -> socket.socket:
    global _server
    if _server is None:
        ours, theirs = socket.socketpair()
        with theirs:
            server = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                # Pipes, as the commands will have: Python looks once whether it can seek there.
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        _server = server, ours
        atexit.register(_disconnect, server, ours)
    return _server[1]


def _disconnect(server: subprocess.Popen[bytes], ours: socket.socket) -> None:
    """The server ends where nobody can order any more."""
    ours.close()
    for pipe in (server.stdin, server.stdout, server.stderr):
        assert pipe is not None
        pipe.close()
    server.wait(10)


def _communicate(to_stdin: int, given: bytes, outputs: list[int], timeout: float) -> list[bytes]:
    """Write and read until the other side has closed all *outputs*. Raises TimeoutError."""
    end = time.monotonic() + timeout
    found: dict[int, bytearray] = {output: bytearray() for output in outputs}
    left = memoryview(given)
    os.set_blocking(to_stdin, False)
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
        for output in outputs:
            stack.callback(os.close, output)
            selector.register(output, selectors.EVENT_READ)
        if left:
            selector.register(to_stdin, selectors.EVENT_WRITE)
        else:
            os.close(to_stdin)
        while selector.get_map():
            ready = selector.select(max(0.0, end - time.monotonic()))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                if key.fd == to_stdin:
                    with contextlib.suppress(BrokenPipeError):
                        left = left[os.write(to_stdin, left) :]
                        if left:
                            continue
                    selector.unregister(to_stdin)
                    os.close(to_stdin)
                elif data := os.read(key.fd, 1 << 16):
                    found[key.fd] += data
                else:
                    selector.unregister(key.fd)
    return [bytes(data) for data in found.values()]


def _exactly(line: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = line.recv(size - len(data))
        if not more:
            raise EOFError("the server of forks has ended")
        data += more
    return data


# The server.


def _serve(orders: socket.socket) -> None:
    """Fork for each order; returns in the children that are to run one."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel waits for those who watch the children
    while True:
        message, fds, _, _ = socket.recv_fds(orders, 1, 4)
        if not message:
            os._exit(0)  # the tests are over
        if os.fork() == 0:
            if _watch(*fds):
                return
            os._exit(0)
        for fd in fds:
            os.close(fd)


def _watch(line_fd: int, *streams: int) -> bool:
    """Start the child, and tell its status when it has ended; returns True in the child."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with socket.socket(fileno=line_fd) as line:
        (size,) = SIZE.unpack(_exactly(line, SIZE.size))
        order = json.loads(_exactly(line, size))
        child = os.fork()
        if child == 0:
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            line.detach()
            os.closerange(3, 256)
            os.chdir(order["cwd"])
            os.environ.clear()
            os.environ.update(order["env"])
            sys.argv = order["argv"]
            return True
        for stream in streams:
            os.close(stream)
        line.sendall(SIZE.pack(child))
        line.sendall(SIZE.pack(os.waitpid(child, 0)[1]))
    return False


def _end(status: int) -> NoReturn:
    """End as the interpreter does, but for taking everything apart: that copies all that the forks share."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            status = 120  # as Python has it
    os._exit(status)


if __name__ == "__main__":
    for module in IMPORTED:
        importlib.import_module(module)
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))
    from runner.cli.main import main

    if (order := os.environ.get("PYTEST_RUNNER_CRASH")) is not None:
        sys.path.insert(0, str(Path(__file__).parent))
        importlib.import_module("crashing").install(order)
        del sys.path[0]
    try:
        main()
    except SystemExit as end:
        _end(end.code if isinstance(end.code, int) else 1)
