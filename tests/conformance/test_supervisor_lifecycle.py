"""One start, one end: `go` is accepted once, a stop and a deadline are kept, a death is told as it is."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.conformance.supervisor_machine import ATTEMPT, Machine, each_shell
from tests.waiting import wait_until
from workers.supervisor import MachineState, shell

STUBBORN = "trap '' TERM; echo on; while :; do sleep 0.05; done"
PATIENT = "trap 'echo told; exit 3' TERM; mkfifo f; exec 3<>f; echo on; while :; do read -r -t 1 -u 3; done"


def _running(machine: Machine, *words: bytes) -> None:
    """Wait until the command itself has said so."""
    wait_until(lambda: machine.log() == b"".join(words), what=f"{words!r} in the log")


def _restart(machine: Machine, first: str = "") -> None:
    """End every process, as it happens to come, or *first* that one, or all by TERM."""
    if first == "TERM":
        for process in machine.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
    elif first:
        os.kill(machine.identity(first), signal.SIGKILL)
    wait_until(lambda: not machine.kill_all(), what="the end of every process")


def _kill(machine: Machine, of: str) -> None:
    process = psutil.Process(machine.identity(of))
    os.kill(process.pid, signal.SIGKILL)
    wait_until(
        lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, what=f"the end of {of}"
    )


@each_shell
def test_before_go_there_is_nothing(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        assert machine.state() == MachineState("none")
        assert machine.stop("cancelled_by_user", 1) == MachineState("none")
        done = machine.exec(shell(ATTEMPT, "follow", 0))
        assert (done.returncode, done.stdout, done.stderr) == (3, b"", b"none\n")


@each_shell
def test_a_second_go_is_refused_and_told_the_state(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        machine.start("echo once; sleep 0.5; exit 6")
        again = machine.go(machine.payload("echo twice"))
        assert not again.accepted
        assert again.state.kind in ("starting", "running")
        log, state = machine.follow()
        assert log == b"once\n"
        late = machine.go(machine.payload("echo thrice"))
        assert not late.accepted
        assert late.state == state == machine.state()
        assert machine.log() == b"once\n"


@each_shell
def test_of_twenty_at_once_one_is_accepted(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        with ThreadPoolExecutor(20) as pool:
            payloads = [machine.payload(f"echo {n}; sleep 0.3") for n in range(20)]
            answers = list(pool.map(machine.go, payloads))
        accepted = [n for n, answer in enumerate(answers) if answer.accepted]
        assert len(accepted) == 1
        log, _ = machine.follow()
        assert log == f"{accepted[0]}\n".encode()


@each_shell
@pytest.mark.parametrize("cut", [0, 10, 60, -1, -5])
def test_a_go_that_broke_off_starts_nothing_and_may_be_repeated(cut: int, sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        payload = machine.payload("echo whole", env={"A": "x" * 100})
        if cut == -1:
            # Only the last newline is missing: the shell cannot tell, and nothing else is.
            assert machine.go(payload[:cut]).accepted
        else:
            done = machine.exec(shell(ATTEMPT, "go"), payload[:cut])
            assert (done.returncode, done.stdout) == (1, b"refused none\n")
            assert b"incomplete" in done.stderr
            assert machine.state().kind == "none"
            assert machine.go(payload).accepted
        assert machine.follow()[0] == b"whole\n"


@each_shell
def test_a_stop_tells_the_command_and_waits(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        machine.start(PATIENT)
        _running(machine, b"on\n")
        assert machine.stop("cancelled_by_user", 30) is None
        log, state = machine.follow()
        assert state.exit is not None
        assert (state.exit.code, state.exit.cause) == (3, "cancelled_by_user")
        assert log == b"on\ntold\n"


@each_shell
def test_a_command_that_ignores_term_is_killed_after_the_grace(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        machine.start(STUBBORN)
        _running(machine, b"on\n")
        assert machine.stop("cancelled_by_user", 1) is None
        _, state = machine.follow()
        assert state.exit is not None
        assert (state.exit.code, state.exit.cause) == (137, "cancelled_by_user")
        assert machine.stop("cancelled_by_user", 1) == state


@each_shell
def test_a_stop_reaches_a_command_that_is_stopped_and_the_children(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        machine.start("sleep 300 & sleep 300 & echo on; kill -STOP $$")
        _running(machine, b"on\n")
        assert machine.stop("max_cost", 20) is None
        _, state = machine.follow()
        assert state.exit is not None
        assert (state.exit.code, state.exit.cause) == (143, "max_cost")


@each_shell
def test_the_first_cause_wins_and_a_second_stop_may_be_quicker(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        machine.start(STUBBORN)
        _running(machine, b"on\n")
        assert machine.stop("cancelled_by_user", 300) is None
        wait_until((machine.run_folder / "verdict").is_symlink, what="the first stop")
        assert machine.stop("max_cost", 0) is None
        _, state = machine.follow()
        assert state.exit is not None
        assert (state.exit.code, state.exit.cause) == (137, "cancelled_by_user")


@each_shell
def test_a_stop_right_after_go(sh: str, tmp_path: Path) -> None:
    """Whether or not the command's process is there yet: it ends, by that cause."""
    with Machine(tmp_path, sh) as machine:
        machine.start("sleep 300")
        assert machine.stop("cancelled_by_user", 5) is None
        _, state = machine.follow()
        assert state.exit is not None
        assert (state.exit.code, state.exit.cause) == (143, "cancelled_by_user")


@each_shell
def test_an_end_of_its_own_beats_a_stop_that_comes_later(sh: str, tmp_path: Path) -> None:
    """The command is dead, its log still held open by a child: the stop comes too late to be the cause."""
    with Machine(tmp_path, sh) as machine:
        machine.start("sleep 300 & echo on; exit 5")
        wait_until((machine.run_folder / "verdict").is_symlink, what="the end of the command")
        assert machine.stop("cancelled_by_user", 1) is None
        _, state = machine.follow()
        assert state.exit is not None
        assert (state.exit.code, state.exit.cause) == (5, "exit_code")


@each_shell
def test_the_deadline_is_kept_with_nobody_connected(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        machine.start(PATIENT, deadline=1)
        wait_until((machine.run_folder / "exit").exists, what="the deadline")
        state = machine.state()
        assert state.exit is not None
        assert (state.exit.code, state.exit.cause) == (3, "max_runtime")
        assert machine.log() == b"on\ntold\n"


@each_shell
def test_a_deadline_for_a_command_that_ignores_it(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        machine.start(STUBBORN, deadline=1, grace=1)
        wait_until((machine.run_folder / "exit").exists, what="the deadline")
        state = machine.state()
        assert state.exit is not None
        assert (state.exit.code, state.exit.cause) == (137, "max_runtime")


@each_shell
@pytest.mark.parametrize("first", ["supervisor", "command.id", "keeper", "TERM"])
def test_all_processes_killed_is_lost(first: str, sh: str, tmp_path: Path) -> None:
    """What a restart of the machine does, whichever it reaches first."""
    with Machine(tmp_path, sh) as machine:
        machine.start("echo on; sleep 300")
        _running(machine, b"on\n")
        _restart(machine, first)
        assert machine.state() == MachineState("lost")
        assert machine.stop("cancelled_by_user", 1) == MachineState("lost")
        assert machine.follow() == (b"on\n", MachineState("lost"))
        assert machine.go(machine.payload("echo again")).state == MachineState("lost")


@each_shell
def test_a_process_of_the_same_number_after_a_restart_is_not_ours(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        machine.start("echo on; sleep 300")
        _running(machine, b"on\n")
        _restart(machine)
        us = psutil.Process()
        ours = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        for name in ("supervisor", "command.id", "keeper"):
            (machine.run_folder / name).write_text(f"{us.pid} {ours} another-boot\n")
        assert machine.state() == MachineState("lost")
        for name in ("supervisor", "command.id", "keeper"):
            (machine.run_folder / name).write_text(f"{us.pid} {int(ours) + 1} {boot}\n")
        assert machine.state() == MachineState("lost")
        (machine.run_folder / "supervisor").write_text(f"{us.pid} {ours} {boot}\n")
        assert machine.state().kind == "running"


@each_shell
def test_a_zombie_is_not_alive(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        machine.start("echo on; sleep 300")
        _running(machine, b"on\n")
        _restart(machine)
        child = os.posix_spawnp("true", ["true"], {})
        zombie = psutil.Process(child)
        wait_until(lambda: zombie.status() == psutil.STATUS_ZOMBIE, what="a zombie")
        born = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[19]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        (machine.run_folder / "supervisor").write_text(f"{child} {born} {boot}\n")
        assert machine.state() == MachineState("lost")
        os.waitpid(child, 0)


@each_shell
def test_a_process_with_brackets_and_a_newline_in_its_name(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        odd = tmp_path / "a) S 1\n(b"
        odd.symlink_to("/bin/sleep")
        machine.start(f"exec {shlex.quote(str(odd))} 300")
        wait_until(lambda: machine.identity("command.id") and machine.state().kind == "running", what="it")
        command = psutil.Process(machine.identity("command.id"))
        wait_until(lambda: "300" in command.cmdline(), what="the odd program")
        assert machine.state().kind == "running"
        assert machine.stop("cancelled_by_user", 5) is None
        state = machine.ended()
        assert state.exit is not None
        assert state.exit.code == 143


@each_shell
def test_the_supervisor_killed_under_the_command(sh: str, tmp_path: Path) -> None:
    """The command goes on, its log as well; at its end there is a record, without a code."""
    with Machine(tmp_path, sh) as machine:
        gate = tmp_path / "gate"
        machine.start(f"echo one; until [ -e {gate} ]; do sleep 0.05; done; echo two; exit 3")
        _running(machine, b"one\n")
        pid = machine.state().pid
        _kill(machine, "supervisor")
        assert machine.state() == MachineState("running", pid=pid, unattended=True)
        gate.touch()
        log, state = machine.follow()
        assert log == b"one\ntwo\n"
        assert state.exit is not None
        assert (state.exit.code, state.exit.cause, state.exit.log_bytes) == (None, "lost", 8)


@each_shell
def test_a_command_that_kills_its_parent(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        log, state = machine.finished("kill -9 $PPID; echo alone; exit 3")
        assert log == b"alone\n"
        assert state.exit is not None
        assert (state.exit.code, state.exit.cause) == (None, "lost")


@each_shell
@pytest.mark.parametrize("victims", [("supervisor",), ("keeper",), ("supervisor", "keeper")])
def test_a_stop_still_works_when_they_were_killed(victims: tuple[str, ...], sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        machine.start(PATIENT)
        _running(machine, b"on\n")
        for victim in victims:
            _kill(machine, victim)
        assert machine.state().kind == "running"
        assert machine.stop("cancelled_by_user", 20) is None
        log, state = machine.follow()
        assert log == b"on\ntold\n"
        assert state.exit is not None
        expected = 3 if victims == ("keeper",) else None
        assert (state.exit.code, state.exit.cause) == (expected, "cancelled_by_user")
        _end_the_clock(machine)


@each_shell
@pytest.mark.parametrize("victims", [("supervisor",), ("keeper",), ("supervisor", "keeper")])
def test_the_deadline_still_works_when_they_were_killed(
    victims: tuple[str, ...], sh: str, tmp_path: Path
) -> None:
    with Machine(tmp_path, sh) as machine:
        machine.start(STUBBORN, deadline=2, grace=1)
        _running(machine, b"on\n")
        for victim in victims:
            _kill(machine, victim)
        log, state = machine.follow()
        assert log == b"on\n"
        assert state.exit is not None
        expected = 137 if victims == ("keeper",) else None
        assert (state.exit.code, state.exit.cause) == (expected, "max_runtime")


@each_shell
def test_with_both_killed_a_command_that_ends_by_itself_is_lost(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        gate = tmp_path / "gate"
        machine.start(f"echo one; until [ -e {gate} ]; do sleep 0.05; done; echo two")
        _running(machine, b"one\n")
        for victim in ("keeper", "supervisor"):
            _kill(machine, victim)
        assert machine.state().unattended
        gate.touch()
        assert machine.follow() == (b"one\ntwo\n", MachineState("lost"))
        _end_the_clock(machine)


@each_shell
def test_nothing_secret_is_in_an_argument_or_left_in_a_file(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        machine.start('echo "$SECRET" | wc -c; sleep 300', env={"SECRET": "hush-hush-hush"})
        _running(machine, b"15\n")
        for process in machine.processes():
            assert "hush" not in " ".join(process.cmdline())
        for path in machine.folder.rglob("*"):
            if path.is_file():
                assert b"hush" not in path.read_bytes()
                assert b"aHVzaC" not in path.read_bytes()
        for path in (machine.folder, machine.run_folder, machine.run_folder / "log"):
            assert path.stat().st_mode & 0o077 == 0
        machine.stop("cancelled_by_user", 5)
        machine.ended()


@each_shell
@pytest.mark.parametrize(
    "tools",
    [
        {"setsid": None},
        {"setsid": None, "perl": None, "python3": sys.executable},
        {"openssl": None},
        {"timeout": None, "openssl": None},
    ],
    ids=["perl for setsid", "python for setsid", "sha256sum for openssl", "no timeout"],
)
def test_with_other_tools(tools: dict[str, str | None], sh: str, tmp_path: Path) -> None:
    """What a machine may lack, and macOS does."""
    with Machine(tmp_path, sh, tools=tools) as machine:
        machine.start("kill -INT $$; echo never")
        log, state = machine.follow()
        assert state.exit is not None
        assert (log, state.exit.code) == (b"", 130)


def test_with_other_tools_a_stop_works(tmp_path: Path) -> None:
    with Machine(tmp_path, "dash", tools={"setsid": None}) as machine:
        machine.start(PATIENT)
        _running(machine, b"on\n")
        assert machine.stop("cancelled_by_user", 30) is None
        log, state = machine.follow()
        assert state.exit is not None
        assert (log, state.exit.code) == (b"on\ntold\n", 3)


def _end_the_clock(machine: Machine) -> None:
    """With the keeper killed, its clock runs until the deadline: here it need not."""
    machine.kill_all()
