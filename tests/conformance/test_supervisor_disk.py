"""A log beyond its cap, and a disk that is full: the command is never held up, and the gap has a name."""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from pathlib import Path

import pytest

from tests.conformance.supervisor_machine import Machine, each_shell
from tests.disks import fill, small_disk
from tests.waiting import wait_until

# Its own line is in the log before the disk is full.
FILL = "echo before; until [ -s ../log ]; do sleep 0.02; done; cat /dev/zero >filler 2>/dev/null; "


def _numbers(count: int) -> bytes:
    return b"".join(b"%d\n" % n for n in range(1, count + 1))


@each_shell
@pytest.mark.parametrize("cap", [2, 1000, 99_999, 300_000, 588_894, 588_895, 588_896])
def test_beyond_the_cap_head_and_tail_are_kept(cap: int, sh: str, tmp_path: Path) -> None:
    whole = _numbers(100_000)
    assert len(whole) == 588_895
    with Machine(tmp_path, sh) as machine:
        log, state = machine.finished("seq 100000; exit 7", max_log=cap)
        assert state.exit is not None
        assert (state.exit.code, state.exit.cause) == (7, "exit_code")
        assert len(log) == min(cap, len(whole))
        assert state.exit.dropped_bytes == max(0, len(whole) - cap)
        gap = state.exit.gap_offset
        if gap is None:
            assert log == whole
        else:
            assert gap == cap - cap // 2
            assert log == whole[:gap] + whole[len(whole) - cap // 2 :]


@each_shell
def test_many_small_writes_up_to_a_cap(sh: str, tmp_path: Path) -> None:
    """Short reads count as what they are."""
    writes = "import os\nfor n in range(1, 30001): os.write(1, b'%d\\n' % n)"
    with Machine(tmp_path, sh) as machine:
        log, state = machine.finished([sys.executable, "-c", writes], max_log=50_000)
        whole = _numbers(30_000)
        assert log == whole[:25_000] + whole[-25_000:]
        assert state.exit is not None
        assert state.exit.dropped_bytes == len(whole) - 50_000


@each_shell
def test_a_child_that_goes_on_beyond_the_cap_does_not_hold_the_end(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        log, state = machine.finished("setsid -f seq 100000000; sleep 0.3; exit 3", max_log=10_000)
        assert state.exit is not None
        assert state.exit.code == 3
        assert len(log) == 10_000
        assert log.startswith(_numbers(1000))
        assert state.exit.gap_offset == 5000


@each_shell
def test_a_log_that_fills_the_disk(sh: str, tmp_path: Path) -> None:
    home = tmp_path / "a home"
    with small_disk(home, "2M"), Machine(tmp_path, sh) as machine:
        log, state = machine.finished("seq 1000000; exit 7")
        whole = _numbers(1_000_000)
        assert state.exit is not None
        assert (state.exit.code, state.exit.cause) == (7, "exit_code")
        assert 1_000_000 < len(log) < 2 * 1024 * 1024
        assert log == whole[: len(log)]
        assert state.exit.dropped_bytes == len(whole) - len(log)
        assert state.exit.gap_offset == len(log)


@each_shell
@pytest.mark.parametrize("max_log", [1 << 30, 100_000])
def test_a_disk_that_the_command_fills(max_log: int, sh: str, tmp_path: Path) -> None:
    home = tmp_path / "a home"
    with small_disk(home, "2M"), Machine(tmp_path, sh) as machine:
        log, state = machine.finished(
            FILL + "seq 100000; exit 7",
            max_log=max_log,
        )
        whole = b"before\n" + _numbers(100_000)
        assert state.exit is not None
        assert (state.exit.code, state.exit.cause) == (7, "exit_code")
        assert log == whole[: len(log)]
        assert len(log) < 10_000
        assert state.exit.dropped_bytes == len(whole) - len(log)
        assert state.exit.gap_offset == len(log)


@each_shell
def test_a_stop_and_a_killed_supervisor_on_a_full_disk(sh: str, tmp_path: Path) -> None:
    home = tmp_path / "a home"
    with small_disk(home, "2M"), Machine(tmp_path, sh) as machine:
        full = tmp_path / "full"
        machine.start(f"{FILL} touch {shlex.quote(str(full))}; exec sleep 300")
        wait_until(full.exists, what="the full disk")
        os.kill(machine.identity("supervisor"), 9)
        assert machine.stop("cancelled_by_user", 5) is None
        log, state = machine.follow()
        assert log == b"before\n"
        assert state.exit is not None
        assert (state.exit.code, state.exit.cause) == (None, "cancelled_by_user")
        assert state.exit.log_sha256 == hashlib.sha256(log).hexdigest()


@each_shell
def test_go_on_a_full_disk_says_so(sh: str, tmp_path: Path) -> None:
    """It may be refused or be lost, but not be taken for running."""
    home = tmp_path / "a home"
    with small_disk(home, "1M"), Machine(tmp_path, sh) as machine:
        fill(home)
        answer = machine.go(machine.payload("echo never; " + "x" * 10_000))
        assert not answer.accepted
        assert answer.state.kind == "lost"
        assert machine.state().kind == "lost"
