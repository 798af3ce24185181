"""The follower: live, exact from any byte, told of the end, and gone when its connection is."""

from __future__ import annotations

import contextlib
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.conformance.supervisor_machine import ATTEMPT, Machine, each_shell, settle
from tests.waiting import wait_until
from workers.supervisor import parse_state, shell

COUNT = "for i in $(seq 400); do echo line $i; [ $((i % 50)) -ne 0 ] || sleep 0.05; done"
COUNTED = b"".join(b"line %d\n" % n for n in range(1, 401))
# With busybox's tail, which lacks what GNU's has, the supervisor copies by itself.
each_tail = pytest.mark.parametrize(
    "tools",
    [
        pytest.param(None, id="gnu"),
        pytest.param(
            {"tail": "busybox"},
            id="other",
            marks=pytest.mark.skipif(shutil.which("busybox") is None, reason="NOT TESTED: no busybox"),
        ),
    ],
)


@contextlib.contextmanager
def _follower(machine: Machine, offset: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    with machine.popen(shell(ATTEMPT, "follow", offset)) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _of(machine: Machine, session: int) -> list[psutil.Process]:
    """The processes of a follower: all that it starts is of its session."""
    found = []
    for process in machine.processes():
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(process.pid) == session:
                found.append(process)
    return found


def _gone(machine: Machine, session: int) -> None:
    wait_until(lambda: not _of(machine, session), what="the follower's end")


def _read(process: subprocess.Popen[bytes], size: int) -> bytes:
    assert process.stdout is not None
    return process.stdout.read(size)


@each_shell
@each_tail
def test_exact_from_any_byte_after_the_end(
    tools: dict[str, str | None] | None, sh: str, tmp_path: Path
) -> None:
    with Machine(tmp_path, sh, tools=tools) as machine:
        whole, state = machine.finished(COUNT)
        assert whole == COUNTED
        for offset in [0, 1, len(whole) - 1, len(whole), *random.choices(range(len(whole)), k=3)]:
            assert machine.follow(offset) == (whole[offset:], state)


@each_shell
@each_tail
def test_resumed_again_and_again_while_it_runs(
    tools: dict[str, str | None] | None, sh: str, tmp_path: Path
) -> None:
    with Machine(tmp_path, sh, tools=tools) as machine:
        machine.start(COUNT)
        got = b""
        while len(got) < len(COUNTED) - 300:
            with _follower(machine, len(got)) as process:
                got += _read(process, random.randint(1, 300))
        rest, state = machine.follow(len(got))
        assert got + rest == COUNTED
        assert state.exit is not None
        assert state.exit.log_bytes == len(COUNTED)


@each_shell
@each_tail
def test_what_is_written_arrives_at_once(
    tools: dict[str, str | None] | None, sh: str, tmp_path: Path
) -> None:
    """Each word is only written after the one before has arrived, down to a single byte."""
    with Machine(tmp_path, sh, tools=tools) as machine:
        gate = tmp_path / "gate"
        os.mkfifo(gate)
        machine.start(f"while read -r word; do printf %s $word; done <{gate}")
        with _follower(machine) as process, gate.open("w", buffering=1) as words:
            for word in ("a", "bc", "d", "xyz"):
                words.write(word + "\n")
                assert _read(process, len(word)) == word.encode()
            words.close()
            assert _read(process, 1) == b""
            assert process.stderr is not None
            assert parse_state(process.stderr.read()).exit is not None


@each_shell
def test_five_at_once(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        machine.start(COUNT)
        with ThreadPoolExecutor(5) as pool:
            answers = list(pool.map(lambda _: machine.follow(), range(5)))
        assert all(answer == (COUNTED, machine.state()) for answer in answers)


@each_shell
@each_tail
def test_it_leaves_when_its_caller_has_left(
    tools: dict[str, str | None] | None, sh: str, tmp_path: Path
) -> None:
    """A closed channel ends the follower's standard input; the command is not disturbed."""
    with Machine(tmp_path, sh, tools=tools) as machine:
        machine.start("echo on; sleep 300")
        wait_until(lambda: machine.log() == b"on\n", what="the command")
        with _follower(machine) as process:
            assert _read(process, 3) == b"on\n"
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(timeout=30) == 0
            _gone(machine, process.pid)
        assert machine.state().kind == "running"
        machine.stop("cancelled_by_user", 5)
        machine.ended()


@each_shell
@pytest.mark.parametrize("who", ["sh", "tail"])
def test_a_follower_killed_in_the_middle_leaves_nothing(who: str, sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        machine.start("echo on; sleep 300")
        wait_until(lambda: machine.log() == b"on\n", what="the command")
        with _follower(machine) as process:
            assert _read(process, 3) == b"on\n"
            if who == "sh":
                os.kill(process.pid, signal.SIGKILL)
            else:
                next(p for p in machine.processes() if p.name() == "tail").kill()
            assert process.stdin is not None
            process.stdin.close()
            _gone(machine, process.pid)
        machine.stop("cancelled_by_user", 5)
        machine.ended()


@each_shell
def test_it_leaves_when_nobody_reads(sh: str, tmp_path: Path) -> None:
    """Blocked in the middle of a write, as by flow control, when the channel closes."""
    with Machine(tmp_path, sh) as machine:
        machine.start("head -c 5000000 /dev/zero; sleep 300")
        wait_until(lambda: len(machine.log()) == 5_000_000, what="the log")
        with _follower(machine) as process:
            _read(process, 10)
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            process.stdout.close()
            _gone(machine, process.pid)
        machine.stop("cancelled_by_user", 5)
        machine.ended()


@each_shell
def test_without_a_channel_as_standard_input_it_stays(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        machine.start("sleep 0.5; echo on")
        done = machine.exec(shell(ATTEMPT, "follow", 0) + " </dev/null")
        assert done.stdout == b"on\n"


@each_shell
def test_idle_it_starts_no_process_and_costs_nothing(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        machine.start("echo on; exec sleep 300")
        with _follower(machine) as process:
            assert _read(process, 3) == b"on\n"
            all_there = {"cat": 2, "tail": 1}
            wait_until(
                lambda: all_there.items() <= Counter(p.name() for p in _of(machine, process.pid)).items(),
                what="all of the follower",
            )
            before = _of(machine, process.pid)
            spent = sum(sum(p.cpu_times()[:4]) for p in before)
            settle(2)
            assert _of(machine, process.pid) == before
            assert sum(sum(p.cpu_times()[:4]) for p in before) - spent <= 0.05
        machine.stop("cancelled_by_user", 5)
        machine.ended()


@each_shell
def test_an_offset_beyond_the_log_is_refused(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        _, state = machine.finished("echo on")
        done = machine.exec(shell(ATTEMPT, "follow", 4))
        assert (done.returncode, done.stdout, parse_state(done.stderr)) == (4, b"", state)


@each_shell
@pytest.mark.parametrize(
    "args", [("follow",), ("follow", "x"), ("follow", "-1"), ("stop",), ("stop", "a b", "1")]
)
def test_wrong_usage(args: tuple[str, ...], sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        done = machine.exec(shell(ATTEMPT, *args))  # type: ignore[arg-type]
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.startswith(b"usage: ")


SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


@pytest.mark.skipif(
    SSHD is None or shutil.which("ssh") is None, reason="NOT TESTED OVER OPENSSH: not installed"
)
@each_shell
@pytest.mark.parametrize("end", ["client killed", "connection dropped"])
def test_over_openssh_it_leaves_with_its_connection(end: str, sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine, _openssh(tmp_path) as (ssh, server):
        settings = " ".join(f"{k}={shlex.quote(v)}" for k, v in machine.environment.items())
        machine.start("echo on; sleep 300")
        wait_until(lambda: machine.log() == b"on\n", what="the command")
        line = f"env {settings} sh -c {shlex.quote(shell(ATTEMPT, 'follow', 0))}"
        with subprocess.Popen([*ssh, line], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
            assert _read(client, 3) == b"on\n"
            session = next(os.getsid(p.pid) for p in machine.processes() if "follow" in p.cmdline())
            if end == "client killed":
                client.kill()
            else:
                # The server's process for the connection dies: nothing is left to say good-bye.
                for child in _children(server.pid):
                    os.kill(child, signal.SIGKILL)
            _gone(machine, session)
            client.kill()
        machine.stop("cancelled_by_user", 5)
        machine.ended()


def _children(pid: int) -> list[int]:
    return [p.pid for p in psutil.Process(pid).children(recursive=True) if p.name().startswith("sshd")]


@contextlib.contextmanager
def _openssh(folder: Path) -> Iterator[tuple[list[str], subprocess.Popen[bytes]]]:
    """OpenSSH's own server on loopback, for whoever runs the tests; the words with which to call it."""
    assert SSHD is not None
    for key in ("host", "login"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": f"{folder}/host",
        "AuthorizedKeysFile": f"{folder}/login.pub",
        "PidFile": "none",
        "UsePAM": "no",
        "StrictModes": "no",
        "PermitRootLogin": "yes",
    }
    (folder / "sshd_config").write_text("".join(f"{k} {v}\n" for k, v in options.items()))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with subprocess.Popen(
        [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=subprocess.DEVNULL
    ) as server:
        words = ["ssh", "-F", "none", "-p", str(port), "-i", str(folder / "login"), "-o", "BatchMode=yes"]
        words += [
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
        ]
        words += ["127.0.0.1"]
        try:
            wait_until(lambda: _listens(port), what="sshd")
            if subprocess.run([*words, "true"], capture_output=True, check=False).returncode != 0:
                pytest.skip(
                    "NOT TESTED OVER OPENSSH: it does not let this user in (locked, or without a shell)"
                )
            yield words, server
        finally:
            server.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
