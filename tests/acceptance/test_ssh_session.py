"""What a session of `runner ssh` finds on the machine, and how it ends."""

from __future__ import annotations

import grp
import os
import pty
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.acceptance.harness import GPU, RUNNER, Installation
from tests.waiting import wait_until

ARRANGEMENTS = ("service", "openssh", "workers")
IN_FULL = ("service", "workers")
WAITS = "until [ -e go-on ]; do sleep 0.05; done"
VALUE = 'it\'s "one" value\nof two lines, $HOME and `id` \\ é '

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="NOT TESTED: ssh is not installed")


@pytest.fixture
def running(shared: Installation) -> Iterator[str]:
    """A job that runs until the end of the test."""
    command = f"export ADDED=later; echo up; touch up; exec sh -c '{WAITS}'"
    job_id = shared.submit(command, env={"A": VALUE, "EMPTY": "", "IFS": "x"}, max_runtime="10m")
    assert shared.until(job_id, "running", "failed")["state"] == "running", shared.tail()
    wait_until(lambda: shared.log(job_id) == b"up\n", what="the command")
    yield job_id
    shared.ok("cancel", job_id)
    shared.final(job_id)
    shared.nothing_left()


def test_a_command_in_its_folder_with_its_environment(shared: Installation, running: str) -> None:
    """A shell line, and words as they are; with their exit codes, and with what comes by standard input."""
    done = shared.run(
        "ssh", running, "--", 'printf "%s|%s|" "$A" "${EMPTY-unset}"; ls; echo "$RUNNER_JOB_ID"'
    )
    assert done.stdout.decode() == f"{VALUE}||up\n{running}\n", done.stderr
    assert (done.returncode, done.stderr) == (0, b"")
    done = shared.run("ssh", running, "--", "printf", "%s-", "$A", "a b", "it's\n", "--json")
    assert done.stdout.decode() == "$A-a b-it's\n---json-"
    assert shared.run("ssh", running, "--", "exit 7").returncode == 7
    assert shared.run("ssh", running, "--", "kill -9 $$").returncode == 137
    assert shared.run("ssh", running, "--", "no-such-program", "x").returncode == 127
    done = shared.run("ssh", running, "--", "tee copy; echo told >&2", stdin=b"\x00\xffbytes")
    assert (done.stdout, done.stderr) == (b"\x00\xffbytes", b"told\n")
    assert shared.run("ssh", running, stdin=b"echo $ADDED; cat copy\n").stdout == b"later\n\x00\xffbytes"


def test_a_shell_on_a_terminal(shared: Installation, arrangement: str, running: str) -> None:
    ours, theirs = pty.openpty()
    if arrangement == "openssh" and os.geteuid() and os.fstat(theirs).st_gid != grp.getgrnam("tty").gr_gid:
        pytest.skip("NOT TESTED: here terminals are not of the group tty, so only root's sshd can give one")
    process = subprocess.Popen(
        [*RUNNER, "ssh", running], env=shared.environ, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    os.write(ours, b"[ -t 0 ] && echo terminal $((40 + 2)) $RUNNER_JOB_NAME$RUNNER_ATTEMPT; exit 5\n")
    said = b""
    while True:
        try:
            more = os.read(ours, 65536)
        except OSError:  # EIO: nobody has it open any more
            break
        if not more:
            break
        said += more
    os.close(ours)
    assert process.wait(30) == 5, said
    assert b"terminal 42 1" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_behind(
    shared: Installation, running: str, tmp_path: Path, number: signal.Signals
) -> None:
    shared.environ["TMPDIR"] = str(tmp_path)
    try:
        assert shared.run("ssh", running, "--", "exit 3").returncode == 3
        assert not list(tmp_path.iterdir()), "nor does an end without one"
        spawned = shared.spawn("ssh", running, "--", "echo here; read -r _", stdin=subprocess.PIPE)
    finally:
        del shared.environ["TMPDIR"]
    assert spawned.stdout is not None
    assert spawned.stdout.readline() == b"here\n"
    (kept,) = tmp_path.iterdir()
    assert kept.stat().st_mode & 0o077 == 0
    (child,) = psutil.Process(spawned.pid).children()
    spawned.send_signal(number)
    _, said = spawned.communicate(timeout=30)
    assert spawned.returncode == 128 + number
    assert b"Traceback" not in said
    assert not child.is_running()
    assert not list(tmp_path.iterdir())


def test_while_the_folder_is_set_up(shared: Installation) -> None:
    job_id = shared.submit("true", setup=f"echo up; {WAITS}", env={"A": VALUE})
    wait_until(lambda: shared.log(job_id) == b"up\n", what="the set-up")
    done = shared.run("ssh", job_id, "--", 'printf %s "$A"; touch go-on')
    assert (done.stdout.decode(), done.stderr) == (VALUE, b"")
    assert shared.final(job_id)["state"] == "succeeded"


def test_an_environment_that_is_not_there(shared: Installation) -> None:
    job_id = shared.submit(f"echo up; exec env -i /bin/sh -c 'PATH=/usr/bin:/bin; {WAITS}'", env={"A": VALUE})
    wait_until(lambda: shared.log(job_id) == b"up\n", what="the command")
    done = shared.run("ssh", job_id, "--", 'touch go-on; echo "${A-none}"')
    assert (done.returncode, done.stdout) == (0, b"none\n")
    assert b"cannot be read; going on without it" in done.stderr
    assert shared.final(job_id)["state"] == "succeeded"


@pytest.mark.arrangements("service")
@pytest.mark.parametrize(
    "forward", ["", "8888", "1:2", "0:localhost:80", "80:localhost:99999", "-v", "1:-o:2"]
)
def test_a_forward_that_makes_no_sense(installation: Installation, forward: str) -> None:
    done = installation.run("ssh", "any", "-L", forward)
    assert done.returncode == 2, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"-L" in done.stderr
    assert GPU[1].encode() not in done.stderr
