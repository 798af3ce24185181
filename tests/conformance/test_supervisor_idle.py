"""The watchdog on the machine: a command ends once its GPUs did nothing and its log did not grow for long."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.supervisor_machine import ATTEMPT, Machine, each_shell, settle
from tests.waiting import wait_until
from workers.supervisor import shell

IDLE = 3
"""Seconds; a sample each second."""
SLEEPS = "echo on; sleep 600"


class _Gpus:
    """An `nvidia-smi` whose answer a test writes."""

    def __init__(self, root: Path, says: str) -> None:
        self._says = root / "says"
        self.say(says)
        program = root / "programs" / "nvidia-smi"
        program.write_text(f"#!/bin/sh\ncat '{self._says}'\n")
        program.chmod(0o700)

    def say(self, text: str) -> None:
        self._says.write_text(text)


def _still_runs(machine: Machine) -> None:
    """For twice as long as it may be idle."""
    settle(2 * IDLE + 1)
    assert machine.state().kind == "running"


def _ends(machine: Machine) -> None:
    state = machine.ended()
    assert state.exit is not None
    assert (state.exit.cause, state.exit.code) == ("idle", 143)


@each_shell
def test_idle_gpus_and_a_silent_log_end_it(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        _Gpus(tmp_path, "0\n4\n")
        assert machine.verb("gpus") == b"0,4\n"
        machine.start(SLEEPS, idle=IDLE)
        _ends(machine)
        assert machine.log() == b"on\n"
        samples = machine.verb("idle").split()
        assert set(samples) == {b"0,4"}
        assert len(samples) >= IDLE


@each_shell
def test_a_gpu_that_works_keeps_it(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        gpus = _Gpus(tmp_path, "0\n5\n")
        machine.start(SLEEPS, idle=IDLE, setup="echo set up")
        _still_runs(machine)
        gpus.say("0\n0\n")
        _ends(machine)
        assert machine.log() == b"set up\non\n"


@each_shell
def test_a_log_that_grows_keeps_it_also_beyond_its_cap(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        _Gpus(tmp_path, "0\n")
        machine.start("while [ ! -e ../stop ]; do echo on; sleep 0.3; done; sleep 600", idle=IDLE, max_log=30)
        _still_runs(machine)
        (machine.run_folder / "stop").touch()
        _ends(machine)


@each_shell
def test_what_nobody_can_tell_counts_as_work(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        gpus = _Gpus(tmp_path, "[N/A]\n")
        done = machine.exec(shell(ATTEMPT, "gpus"))
        assert (done.returncode, done.stdout) == (4, b"")
        machine.start(SLEEPS, idle=IDLE)
        _still_runs(machine)
        assert machine.verb("idle").split()[0] == b"-"
        gpus.say("0\n")
        _ends(machine)


@each_shell
def test_a_command_that_ends_by_itself_leaves_no_watch_behind(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        _Gpus(tmp_path, "0\n")
        _, state = machine.finished("echo on; exit 4", idle=3600)
        assert state.exit is not None
        assert (state.exit.cause, state.exit.code) == ("exit_code", 4)
        wait_until(lambda: not machine.processes(), what="the end of the watch")


@each_shell
def test_without_nvidia_smi_nobody_can_tell(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh, tools={"nvidia-smi": None}) as machine:
        done = machine.exec(shell(ATTEMPT, "gpus"))
        assert (done.returncode, done.stdout) == (3, b"")
        assert machine.verb("idle") == b"\n"


@pytest.mark.parametrize("idle", [None, 60])
def test_the_number_of_the_protocol_is_no_higher_than_needed(idle: int | None) -> None:
    header = Machine.payload("true", idle=idle).splitlines()[0].split()
    assert header[2] == (b"1" if idle is None else b"3")
    assert (header[-1] == b"60") is (idle is not None)
