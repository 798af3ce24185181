"""SSH into a simulated machine, the same suite against the built-in server and against OpenSSH's sshd."""

from __future__ import annotations

import hashlib
import io
import os
import pwd
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from runner.sim import SimConfig
from runner.sim.sshd import find_sshd
from tests.conformance.sim_client import Account, channel, new_key, read_all, run, simulated
from tests.waiting import wait_until

OPENSSH = pytest.param(True, id="openssh", marks=pytest.mark.skipif(not find_sshd(), reason="no sshd here"))


@pytest.fixture(scope="module", params=[pytest.param(False, id="builtin"), OPENSSH])
def account(request: pytest.FixtureRequest) -> Iterator[Account]:
    if request.param and Path(pwd.getpwuid(os.geteuid()).pw_shell).name not in ("bash", "zsh"):
        pytest.skip("the login shell of this user stays between sshd and the command, and answers for it")
    with simulated(SimConfig(boot_seconds=0.05, openssh=request.param)) as account:
        yield account


@pytest.fixture(scope="module")
def machine(account: Account) -> Iterator[tuple[str, paramiko.SSHClient]]:
    with account.machine() as machine:
        run(machine[1], "true")  # only then has the server made the process that serves this connection
        yield machine


@pytest.fixture
def terminal(account: Account) -> None:
    """For tests with a terminal: only root's sshd may give one to its user on every system."""
    if account.sim.config.openssh and os.getuid() != 0:
        pytest.skip("sshd without root cannot hand out terminals everywhere")


@pytest.fixture
def ssh(machine: tuple[str, paramiko.SSHClient]) -> paramiko.SSHClient:
    return machine[1]


def test_output_error_and_code_come_apart(ssh: paramiko.SSHClient) -> None:
    result = run(ssh, "echo out; echo err >&2; exit 7")
    assert (result.code, result.out, result.err) == (7, b"out\n", b"err\n")


@pytest.mark.parametrize("code", [0, 1, 7, 127, 254, 255])
def test_exit_codes(ssh: paramiko.SSHClient, code: int) -> None:
    assert run(ssh, f"exit {code}").code == code


@pytest.mark.parametrize("name", ["KILL", "TERM", "SEGV"])
def test_a_signal_is_no_exit_code(ssh: paramiko.SSHClient, name: str) -> None:
    assert run(ssh, f"kill -{name} $$").code == -1


def test_a_command_that_does_not_exist(ssh: paramiko.SSHClient) -> None:
    result = run(ssh, "no-such-command-here")
    assert result.code == 127
    assert b"not found" in result.err


def test_every_byte_value_both_ways(ssh: paramiko.SSHClient) -> None:
    data = bytes(range(256)) * 300
    assert run(ssh, "cat", data).out == data


def test_twenty_megabytes_are_byte_exact(ssh: paramiko.SSHClient, machine: tuple[str, object]) -> None:
    data = random.Random(7).randbytes(20_000_000)
    result = run(ssh, "tee copy | cat; cat copy >&2", data)
    assert hashlib.sha256(result.out).digest() == hashlib.sha256(data).digest()
    assert hashlib.sha256(result.err).digest() == hashlib.sha256(data).digest()


def test_nothing_at_all(ssh: paramiko.SSHClient) -> None:
    result = run(ssh, "true")
    assert (result.code, result.out, result.err) == (0, b"", b"")


def test_end_of_input_is_passed_on_and_the_output_stays_open(ssh: paramiko.SSHClient) -> None:
    assert run(ssh, "cat; echo after the end", b"x").out == b"xafter the end\n"


def test_input_that_nobody_reads_does_not_hang(ssh: paramiko.SSHClient) -> None:
    assert run(ssh, "exec <&-; echo done", b"x" * 5_000_000).out == b"done\n"


def test_output_closed_early_is_not_the_end(ssh: paramiko.SSHClient) -> None:
    with channel(ssh) as chan:
        chan.settimeout(30)
        chan.exec_command("exec >&- 2>&-; read line; exit 9")
        assert chan.recv(10) == b""
        assert not chan.exit_status_ready()
        chan.sendall(b"go\n")
        assert chan.recv_exit_status() == 9


def test_the_code_comes_when_the_command_ends_the_rest_when_its_children_do(ssh: paramiko.SSHClient) -> None:
    with channel(ssh) as chan:
        chan.settimeout(30)
        chan.exec_command("mkfifo hold; { read x < hold; echo late; } & echo early; exit 3")
        assert chan.recv_exit_status() == 3
        assert chan.recv(100) == b"early\n"
        assert not chan.eof_received
        assert run(ssh, "echo > hold").code == 0
        assert read_all(chan.recv) == b"late\n"


def test_what_was_written_is_there_before_the_code(ssh: paramiko.SSHClient) -> None:
    with channel(ssh) as chan:
        chan.exec_command("head -c 60000 /dev/zero")
        chan.recv_exit_status()
        assert len(read_all(chan.recv)) == 60000


def test_a_slow_reader_holds_the_command_up(ssh: paramiko.SSHClient) -> None:
    with channel(ssh) as chan:
        chan.settimeout(60)
        chan.exec_command("head -c 30000000 /dev/zero; echo written >> progress")
        assert chan.recv(1) == b"\0"
        wait_until(lambda: len(chan.in_buffer) > 1_000_000, what="a full window")
        assert run(ssh, "cat progress").out == b""
        assert len(read_all(chan.recv)) == 30_000_000 - 1
        assert chan.recv_exit_status() == 0
    assert run(ssh, "cat progress").out == b"written\n"


def test_many_channels_on_one_connection(ssh: paramiko.SSHClient) -> None:
    channels = [channel(ssh) for _ in range(8)]
    for number, chan in enumerate(channels):
        chan.exec_command(f"cat; exit {number}")
    for number, chan in enumerate(channels):
        chan.sendall(b"%d" % number)
        chan.shutdown_write()
    for number, chan in enumerate(channels):
        assert read_all(chan.recv) == b"%d" % number
        assert chan.recv_exit_status() == number
        chan.close()


def test_the_environment_is_a_login_users(account: Account, machine: tuple[str, paramiko.SSHClient]) -> None:
    uuid, ssh = machine
    lines = run(ssh, "env; echo PWD=$(pwd)").out.decode().splitlines()
    env = dict(line.split("=", 1) for line in lines if "=" in line)
    real = account.sim.machine(uuid)
    assert env["HOME"] == env["PWD"] == str(real.home)
    assert env["USER"] == env["LOGNAME"] == account.listed()[uuid]["username"]
    assert env["RN_HOST_KEYS"] == str(real.host_key_folder)
    assert "/usr/bin" in env["PATH"].split(":")
    assert "PYTEST_CURRENT_TEST" not in env
    assert env["SSH_CONNECTION"].endswith(f" 127.0.0.1 {real.port}")


def test_signals_start_at_their_defaults(ssh: paramiko.SSHClient) -> None:
    python = "import signal; print(signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGPIPE))"
    shown = run(ssh, f"python3 -I -c '{python}'").out
    assert b"default_int_handler" in shown
    assert run(ssh, "yes | head -1; kill -PIPE $$").code == -1


def test_a_client_that_leaves_does_not_kill_the_command(account: Account, ssh: paramiko.SSHClient) -> None:
    chan = channel(ssh)
    chan.exec_command("trap '' PIPE; echo here; cat; echo survived > survivor")
    assert chan.recv(10) == b"here\n"
    chan.close()
    wait_until(lambda: run(ssh, "cat survivor").out == b"survived\n", what="the command going on")


@pytest.mark.usefixtures("terminal")
def test_a_pty(ssh: paramiko.SSHClient) -> None:
    with channel(ssh) as chan:
        chan.settimeout(30)
        chan.get_pty("vt220", 91, 31)
        chan.exec_command("test -t 0 && test -t 1 && tty; stty size; echo $TERM; read line; echo got $line")
        shown = b""
        while b"vt220" not in shown:
            shown += chan.recv(100)
        chan.sendall(b"hello\n")
        shown += read_all(chan.recv)
        assert chan.recv_exit_status() == 0
    lines = shown.decode().replace("\r\n", "\n").split("\n")
    assert lines[0].startswith("/dev/")
    assert lines[1:3] == ["31 91", "vt220"]
    assert "got hello" in lines


@pytest.mark.usefixtures("terminal")
def test_ctrl_c_on_a_pty_and_a_new_size(ssh: paramiko.SSHClient) -> None:
    with channel(ssh) as chan:
        chan.settimeout(30)
        chan.get_pty(width=80, height=24)
        chan.exec_command("trap 'stty size; exit 5' INT; echo ready; while :; do sleep 0.05; done")
        assert chan.recv(100) == b"ready\r\n"
        chan.resize_pty(100, 50)
        chan.sendall(b"\x03")
        assert b"50 100" in read_all(chan.recv)
        assert chan.recv_exit_status() == 5


@pytest.mark.usefixtures("terminal")
def test_leaving_a_pty_hangs_up(account: Account, machine: tuple[str, paramiko.SSHClient]) -> None:
    _, ssh = machine
    chan = channel(ssh)
    chan.get_pty()
    chan.exec_command("trap 'echo hup > hung-up; exit' HUP; echo ready; while :; do sleep 0.05; done")
    assert chan.recv(100) == b"ready\r\n"
    chan.close()
    wait_until(lambda: run(ssh, "cat hung-up").out == b"hup\n", what="the hang-up")


def test_a_shell(ssh: paramiko.SSHClient) -> None:
    with channel(ssh) as chan:
        chan.settimeout(30)
        chan.invoke_shell()
        chan.sendall(b"echo in $HOME\nexit 4\n")
        chan.shutdown_write()
        assert b"in /" in read_all(chan.recv)
        assert chan.recv_exit_status() == 4


def test_sftp(account: Account, machine: tuple[str, paramiko.SSHClient]) -> None:
    uuid, ssh = machine
    data = random.Random(3).randbytes(3_000_000)
    with ssh.open_sftp() as sftp:
        sftp.mkdir("up loads")
        sftp.putfo(io.BytesIO(data), "up loads/file")
        sftp.chmod("up loads/file", 0o640)
        assert sftp.stat("up loads/file").st_mode == 0o100640
        back = io.BytesIO()
        sftp.getfo("up loads/file", back)
        assert back.getvalue() == data
        assert sftp.listdir("up loads") == ["file"]
        if account.sim.machine(uuid).sshd is None:  # a real login user's home is that of the system
            assert sftp.normalize(".") == str(account.sim.machine(uuid).home)
        with pytest.raises(FileNotFoundError):
            sftp.stat("nowhere")
    assert run(ssh, "sha256sum < 'up loads/file'").out.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_a_wrong_key_is_refused(account: Account, machine: tuple[str, object]) -> None:
    with pytest.raises(paramiko.AuthenticationException):
        account.connect(machine[0], key=new_key())


def test_a_line_in_authorized_keys_lets_in(account: Account, machine: tuple[str, paramiko.SSHClient]) -> None:
    uuid, ssh = machine
    other = new_key()
    run(ssh, "cat >> .ssh/authorized_keys", f"# a comment\n{other.line} with a comment\n".encode())
    account.connect(uuid, key=other).close()


def test_a_startup_command_can_let_in(account: Account) -> None:
    line = account.key.line
    with account.machine(command=f"mkdir -p ~/.ssh && echo '{line}' >> ~/.ssh/authorized_keys") as (_, ssh):
        assert run(ssh, "cat .ssh/authorized_keys").out.decode() == f"{line}\n"


def test_the_host_key_is_the_machines_own(account: Account, machine: tuple[str, paramiko.SSHClient]) -> None:
    _, ssh = machine
    transport = ssh.get_transport()
    assert transport is not None
    shown = transport.get_remote_server_key()
    kind, blob = run(ssh, 'cat "$RN_HOST_KEYS/ssh_host_ed25519_key.pub"').out.decode().split()[:2]
    assert (kind, blob) == (shown.get_name(), shown.get_base64())
    with account.machine() as (_, other):
        second = other.get_transport()
        assert second is not None
        assert second.get_remote_server_key().get_base64() != blob


def test_connections_that_are_cut(account: Account) -> None:
    with account.machine() as (uuid, client):
        chan = channel(client)
        chan.settimeout(30)
        chan.exec_command("echo started; sleep 1000")
        assert chan.recv(100) == b"started\n"
        account.sim.drop_ssh(uuid)
        assert chan.recv(100) == b""
        transport = client.get_transport()
        assert transport is not None
        wait_until(lambda: not transport.is_active(), what="the cut noticed")
        with account.connect(uuid) as again:
            assert run(again, "echo again").out == b"again\n"


def test_connections_that_fall_silent(account: Account) -> None:
    with account.machine() as (uuid, client), channel(client) as chan:
        chan.exec_command("cat")
        chan.sendall(b"one")
        chan.settimeout(30)
        assert chan.recv(10) == b"one"
        account.sim.freeze_ssh(uuid)
        chan.sendall(b"two")
        chan.settimeout(0.3)
        with pytest.raises(socket.timeout):
            chan.recv(10)
        account.sim.thaw_ssh(uuid)
        chan.settimeout(30)
        assert chan.recv(10) == b"two"


def test_two_hundred_megabytes_stay_out_of_memory(account: Account, ssh: paramiko.SSHClient) -> None:
    """Through a client that takes nothing for a while, then everything; the simulator shares this process."""
    import psutil

    own = psutil.Process()
    with channel(ssh) as chan:
        chan.settimeout(60)
        chan.exec_command("head -c 200000000 /dev/zero")
        wait_until(lambda: len(chan.in_buffer) > 1_000_000, what="a full window")
        before = own.memory_info().rss
        peak, left, last = before, 200_000_000, time.monotonic()
        while data := chan.recv(1 << 18):
            left -= len(data)
            if time.monotonic() - last > 0.02:
                peak, last = max(peak, own.memory_info().rss), time.monotonic()
        assert left == 0
        assert chan.recv_exit_status() == 0
    assert peak - before < 40_000_000
