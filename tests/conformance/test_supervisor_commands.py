"""Every command known to break log streamers, under every shell: the log byte-exact, the code its own."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from tests.conformance.supervisor_machine import Machine, each_shell

PYTHON = shlex.quote(sys.executable)


LINES = b"".join(b"%d\n" % n for n in range(1, 1_000_001))
BYTES = bytes(range(256)) * 64
BACKGROUND = "echo one; sleep 300 & echo two; exit 4"

# name: command, log, exit code
EXACT: dict[str, tuple[str | list[str], bytes, int]] = {
    "nothing": ("true", b"", 0),
    "exit 255": ("exit 255", b"", 255),
    "both streams": ("echo out; echo err >&2; echo out", b"out\nerr\nout\n", 0),
    "a million lines": ("seq 1000000", LINES, 0),
    "50 MB line": ("head -c 50000000 /dev/zero | tr '\\0' x", b"x" * 50_000_000, 0),
    "carriage returns": ("for i in 1 2 3; do printf 'step %s\\r' $i; done", b"step 1\rstep 2\rstep 3\r", 0),
    "split UTF-8": ("printf '\\342\\202'; sleep 0.3; printf '\\254'", "€".encode(), 0),
    "dev stderr in the middle": ("echo a; echo x > /dev/stderr; echo b", b"a\nx\nb\n", 0),
    "dev stdout in the middle": ("echo a; echo x > /dev/stdout; echo b", b"a\nx\nb\n", 0),
    "a background child holds the output": (BACKGROUND, b"one\ntwo\n", 4),
    "a quiet background child": ("sleep 300 >/dev/null 2>&1 & echo on", b"on\n", 0),
    "a child that ignores TERM": ("(trap '' TERM; sleep 300) & echo on; exit 5", b"on\n", 5),
    "tee in a substitution": ("exec > >(tee copy) 2>&1; seq 50000; echo last", None, 0),  # type: ignore[dict-item]
    "no newline at the end": ("printf abc", b"abc", 0),
    "closes its output early": ("exec >&- 2>&-; sleep 0.3; exit 9", b"", 9),
    "killed by 9": ("echo bye; kill -9 $$", b"bye\n", 137),
    "killed by SEGV": ("echo bye; kill -SEGV $$", b"bye\n", 139),
    "stopped and continued": ("(sleep 0.3; kill -CONT $$) & kill -STOP $$; wait; echo on", b"on\n", 0),
    "bash only": ("a=(1 2 3); [[ ${a[1]} == 2 ]] && echo ${a[*]}", b"1 2 3\n", 0),
    "standard input is empty": ("wc -c; [ -e /dev/stdin ] && echo there", b"0\nthere\n", 0),
    "pipefail": ("set -eo pipefail; false | true; echo no", b"", 1),
    "quotes and dollars": ("echo \"it's\" '$HOME' \"a\"$'\\n'b '😁'", "it's $HOME a\nb 😁\n".encode(), 0),
    "several lines": ("echo a\necho b\n\n# c\n", b"a\nb\n", 0),
    "words": (["printf", "%s|", "a b", "it's", '"', "$HOME", "x\ny", "😁", "", "*", "\\"], None, 0),  # type: ignore[dict-item]
    "words with an equals sign": (["env", "A=1", "sh", "-c", "echo $A"], b"1\n", 0),
    "a script with a NUL in its data": ("printf 'a\\0b'", b"a\0b", 0),
}
EXACT["tee in a substitution"] = (
    EXACT["tee in a substitution"][0],
    LINES[: LINES.index(b"50001\n")] + b"last\n",
    0,
)
EXACT["words"] = (EXACT["words"][0], "a b|it's|\"|$HOME|x\ny|😁||*|\\|".encode(), 0)


@each_shell
@pytest.mark.parametrize("name", EXACT)
def test_log_and_code_are_exact(name: str, sh: str, tmp_path: Path) -> None:
    command, expected, code = EXACT[name]
    with Machine(tmp_path, sh) as machine:
        log, state = machine.finished(command)
        assert state.exit is not None
        assert (state.exit.code, state.exit.cause) == (code, "exit_code")
        assert state.exit.dropped_bytes == 0
        assert len(log) == len(expected)
        assert log == expected


@each_shell
def test_every_byte_value(sh: str, tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(BYTES)
    with Machine(tmp_path, sh) as machine:
        log, _ = machine.finished(["cat", str(tmp_path / "bytes")])
        assert log == BYTES


@each_shell
def test_a_program_that_is_not_there_is_127(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        log, state = machine.finished(["no-such-program", "x"])
        assert state.exit is not None
        assert state.exit.code == 127
        assert b"no-such-program" in log


@each_shell
@pytest.mark.parametrize("size", [100_000, 256 * 1024])
def test_a_command_longer_than_an_argument_may_be(size: int, sh: str, tmp_path: Path) -> None:
    line = "cat <<'END' | wc -c\n"
    line += "x" * (size - len(line) - 5) + "\nEND\n"
    assert len(line) == size
    with Machine(tmp_path, sh) as machine:
        log, _ = machine.finished(line)
        assert int(log) == size - len("cat <<'END' | wc -c\nEND\n")


@each_shell
def test_what_a_command_finds(sh: str, tmp_path: Path) -> None:
    """Signals, session, folder, environment, descriptors, umask."""
    report = """
import os, sys
print(os.getpid() == os.getpgid(0) == os.getsid(0))
fields = dict(line.split(":\\t") for line in open("/proc/self/status") if line.startswith("Sig"))
print(int(fields["SigIgn"], 16) & ~(1 << 31 | 1 << 24 | 1 << 12), int(fields["SigBlk"], 16))
print(os.listdir("."), os.access(".", os.W_OK))
print(os.environ["PYTHONUNBUFFERED"], repr(os.environ["ODD"]), os.environ.get("UID", ""))
print(sorted(int(n) for n in os.listdir("/proc/self/fd"))[:-1], sys.stdin.buffer.read())
os.umask(0o77) == 0o22 or print("umask")
"""
    odd = 'it\'s "odd"\n$(no) `no` \\ 😁\n'
    mask = "umask 022; "
    with Machine(tmp_path, sh) as machine:
        answer = machine.exec(
            mask + 'sh "$HOME/' + str(machine.folder.relative_to(machine.home)) + '/supervisor.sh" go',
            machine.payload([sys.executable, "-c", report], env={"ODD": odd, "EMPTY": "", "UID": "77"}),
        )
        assert answer.stdout == b"accepted\n"
        log, state = machine.follow()
        assert state.exit is not None
        text = log.decode().splitlines()
        assert text[0] == "True"
        # Python itself ignores PIPE and XFSZ, which the mask above leaves out.
        assert text[1] == "0 0"
        assert text[2] == "[] True"
        assert text[3].startswith(f"1 {odd!r}")
        assert text[4] == "[0, 1, 2] b''"
        assert text[5:] == []


@each_shell
def test_the_command_sees_the_path_of_a_login_shell(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        (machine.home / ".bash_profile").write_text(
            'echo noise; echo noise >&2; printf "\\033[0m"; read -r x; PATH=/from/profile:/usr/bin:/bin\n'
        )
        log, _ = machine.finished('echo "$PATH"')
        assert log == b"/from/profile:/usr/bin:/bin\n"


@each_shell
@pytest.mark.parametrize(
    "profile", ["exit 3", "exec true", "syntax ( error", "set -eu; false; echo $unset", ""]
)
def test_a_broken_profile_does_not_cost_the_command(profile: str, sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        (machine.home / ".bash_profile").write_text(profile)
        log, state = machine.finished("type ls >/dev/null && echo on")
        assert log == b"on\n"
        assert state.exit is not None
        assert state.exit.code == 0


@each_shell
def test_a_profile_that_hangs_is_given_up(sh: str, tmp_path: Path) -> None:
    """After ten seconds; here the machine's `timeout` makes one of them."""
    hasty = tmp_path / "hasty"
    hasty.write_text('#!/bin/sh\nshift 3\nexec /usr/bin/timeout -k 1 1 "$@"\n')
    hasty.chmod(0o755)
    with Machine(tmp_path, sh, tools={"timeout": str(hasty)}) as machine:
        (machine.home / ".bash_profile").write_text("sleep 300\n")
        log, _ = machine.finished("echo on")
        assert log == b"on\n"


@each_shell
def test_the_users_variables_win_and_cannot_disturb_ours(sh: str, tmp_path: Path) -> None:
    names = ["run", "home", "self", "shell", "IFS", "kind_words", "environment", "login", "PYTHONUNBUFFERED"]
    with Machine(tmp_path, sh) as machine:
        log, _ = machine.finished(
            ["env"], env=dict.fromkeys(names, "/") | {"PATH": "/users/bin:/usr/bin:/bin", "PWD": "/x"}
        )
        lines = log.decode().splitlines()
        assert all(f"{name}=/" in lines for name in names)
        assert "PATH=/users/bin:/usr/bin:/bin" in lines


@each_shell
def test_a_daemon_in_a_session_of_its_own_does_not_hold_the_end(sh: str, tmp_path: Path) -> None:
    """What survivors write later does not belong; that they survive is the machine's end to mend."""
    with Machine(tmp_path, sh) as machine:
        log, state = machine.finished(
            "setsid -f sh -c 'while :; do echo from the daemon; sleep 0.01; done'; sleep 0.2; exit 3"
        )
        assert state.exit is not None
        assert state.exit.code == 3
        assert log
        # It writes into a pipe that nobody reads any more, and is ended by that.


@each_shell
def test_what_is_left_of_the_group_is_ended(sh: str, tmp_path: Path) -> None:
    """The leaver is told by TERM; the one who ignores it is killed. Leaving nothing is checked at the end."""
    leaver = "(trap 'echo told > ../told; exit' TERM; while :; do sleep 0.05; done) >/dev/null 2>&1 &"
    with Machine(tmp_path, sh) as machine:
        machine.finished(f"{leaver} (trap '' TERM; exec sleep 300) >/dev/null 2>&1 & sleep 0.2; echo on")
        assert (machine.run_folder / "told").read_text() == "told\n"


@each_shell
def test_processes_of_the_log_are_alive_whatever_becomes_of_the_commands_output(
    sh: str, tmp_path: Path
) -> None:
    """Opening and closing the output many times over is not its end."""
    with Machine(tmp_path, sh) as machine:
        log, _ = machine.finished("exec 3>&1 >&-; for i in 1 2 3; do sleep 0.05; echo $i >&3; done")
        assert log == b"1\n2\n3\n"


def test_200_mb(tmp_path: Path) -> None:
    with Machine(tmp_path, "dash") as machine:
        log, state = machine.finished("head -c 200000000 /dev/urandom")
        assert state.exit is not None
        assert state.exit.log_bytes == len(log) == 200_000_000
