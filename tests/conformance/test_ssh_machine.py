"""Logging into a machine and asking its supervisor, against the simulator's SSH server and OpenSSH's own."""

from __future__ import annotations

import os
import shlex
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from paramiko.common import MSG_CHANNEL_DATA
from paramiko.message import Message

from runner.sim import SimConfig
from runner.sim.sshd import find_sshd
from tests.conformance.sim_client import Account, new_key, simulated
from tests.conformance.ssh_host import Host, listening, proxy
from tests.waiting import wait_until
from workers.ssh.channel import Channel, run
from workers.ssh.connect import Address, connect
from workers.ssh.errors import BadAnswer, HostKeyMismatch, LoginRefused, Unreachable, fingerprint
from workers.ssh.keys import ensure_key
from workers.supervisor import attested, bootstrap_script

NO_SSHD = pytest.mark.skipif(not find_sshd(), reason="NOT TESTED AGAINST OpenSSH: sshd is not installed")


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=NO_SSHD)], ids=["sim", "openssh"])
def account(request: pytest.FixtureRequest) -> Iterator[Account]:
    with simulated(SimConfig(boot_seconds=0.01, openssh=request.param)) as account:
        yield account


@pytest.fixture
def host(account: Account, tmp_path: Path) -> Iterator[Host]:
    host = Host(account, tmp_path)
    yield host
    account.terminate(host.uuid)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    wait_until(
        lambda: {t for t in threading.enumerate() if "asyncio" not in t.name} <= before, what="no thread left"
    )


def test_the_host_key_is_shown_attested_and_pinned(host: Host) -> None:
    with host.connect() as machine:
        attestations = machine.attestations(host.attempt_id)
        assert attestations is not None
        assert attested(host.attestation_key, host.attempt_id, machine.host_key, attestations)
        pinned = machine.host_key
    with host.connect(pinned=pinned) as machine:
        assert machine.host_key == pinned


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"])
def test_another_host_key_than_the_pinned_one_is_named_and_refused(host: Host, kind: str) -> None:
    pinned = f"{kind} {new_key().line.split()[1]}"
    with host.connect() as machine:
        shown = machine.host_key
    with pytest.raises(HostKeyMismatch) as caught:
        host.connect(pinned=pinned)
    assert fingerprint(pinned) in str(caught.value)
    assert fingerprint(shown) in str(caught.value)


def test_a_key_that_the_machine_does_not_know_is_refused(host: Host, tmp_path: Path) -> None:
    other = ensure_key(tmp_path / "other")
    with pytest.raises(LoginRefused, match="does not accept our key"):
        connect(host.address, other.private_path, pinned=None, timeout=20)


def test_a_command_starts_once(host: Host) -> None:
    with host.connect() as machine:
        assert machine.state(host.attempt_id).kind == "none"
        first = machine.go(host.attempt_id, host.payload("sleep 300"))
        assert first.accepted
        second = machine.go(host.attempt_id, host.payload("echo never"))
        assert not second.accepted
        assert second.state.kind in ("starting", "running")
        assert machine.stop(host.attempt_id, "cancelled_by_user", 5).kind == "running"
        state = wait_until(lambda: (now := machine.state(host.attempt_id)).over and now, what="the end")
        assert state
        assert state.exit is not None
        assert state.exit.cause == "cancelled_by_user"
        assert machine.stop(host.attempt_id, "max_runtime", 5) == state


def test_a_command_of_megabytes_arrives_whole(host: Host) -> None:
    with host.connect() as machine:
        line = f"printf %s {'x' * 5_000_000} | wc -c"
        assert machine.go(host.attempt_id, host.payload(line)).accepted
        wait_until(lambda: machine.state(host.attempt_id).over, what="the end")
        assert host.log.split() == [b"5000000"]


def test_a_machine_without_our_files_gets_them(account: Account, tmp_path: Path) -> None:
    host = Host(account, tmp_path, startup=False)
    with host.connect() as machine:
        assert machine.attestations(host.attempt_id) is None
        with pytest.raises(BadAnswer, match="state could not be read"):
            machine.state(host.attempt_id)
        with pytest.raises(BadAnswer, match="could not be started"):
            machine.go(host.attempt_id, host.payload("x" * 4_000_000))
        for _ in range(2):
            machine.bootstrap(bootstrap_script(host.attempt_id, host.key.public_line, host.attestation_key))
        attestations = machine.attestations(host.attempt_id)
        assert attestations
        assert attested(host.attestation_key, host.attempt_id, machine.host_key, attestations)
        assert machine.state(host.attempt_id).kind == "none"
        with pytest.raises(BadAnswer, match="refused"):
            machine.go(host.attempt_id, host.payload("true")[:-5])


def test_a_script_that_fails_says_why(host: Host) -> None:
    with host.connect() as machine, pytest.raises(BadAnswer, match="status 3: no room"):
        machine.bootstrap("echo no room >&2; exit 3")


def test_an_answer_without_end_is_cut_off(host: Host) -> None:
    with host.connect() as machine:
        with pytest.raises(BadAnswer, match="more than"):
            machine.bootstrap("exec cat /dev/zero")
        assert machine.state(host.attempt_id).kind == "none"


def test_an_answer_that_is_there_before_anybody_looks_is_read(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = Channel.feed

    def feed_and_dawdle(channel: Channel, data: bytes) -> None:
        feed(channel, data)
        wait_until(lambda: channel._channel.closed, what="the end of the command")

    monkeypatch.setattr(Channel, "feed", feed_and_dawdle)
    with host.connect() as machine:
        assert machine.state(host.attempt_id).kind == "none"


def test_an_answer_that_does_not_come_in_time_ends_the_connection(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.ssh.machine.START_SECONDS", 0.5)
    with host.connect() as machine:
        with pytest.raises(Unreachable, match="no answer within"):
            machine.bootstrap("sleep 30")
        with pytest.raises(Unreachable):
            machine.state(host.attempt_id)


def test_a_dead_peer_is_noticed_though_nobody_says_so(host: Host, capfd: pytest.CaptureFixture[str]) -> None:
    with (
        proxy(host.address.port) as network,
        host.connect(port=network.port, keepalive=0.2, patience=0.8) as machine,
    ):
        assert machine.state(host.attempt_id).kind == "none"
        network.freeze()
        with pytest.raises(Unreachable, match="nothing was heard"):
            machine.state(host.attempt_id)
        with pytest.raises(Unreachable):
            machine.go(host.attempt_id, host.payload("x" * 5_000_000))
    assert capfd.readouterr().err == ""


def test_a_peer_that_stops_taking_bytes_is_noticed(host: Host) -> None:
    with (
        proxy(host.address.port) as network,
        host.connect(port=network.port, keepalive=0.2, patience=0.8) as machine,
    ):
        caught: list[Unreachable] = []

        def go() -> None:
            try:
                machine.bootstrap("sleep 30; :\n" + "#" * 30_000_000)
            except Unreachable as error:
                caught.append(error)

        thread = threading.Thread(target=go)
        thread.start()
        network.freeze()
        thread.join(30)
        assert not thread.is_alive()
        assert caught


def test_a_connection_that_breaks_fails_what_waits_for_it(
    host: Host, capfd: pytest.CaptureFixture[str]
) -> None:
    with proxy(host.address.port) as network, host.connect(port=network.port) as machine:
        network.cut()
        with pytest.raises(Unreachable):
            machine.state(host.attempt_id)
    assert capfd.readouterr().err == ""


def test_close_ends_those_that_wait(host: Host) -> None:
    machine = host.connect()
    caught: list[Unreachable] = []

    def wait() -> None:
        try:
            machine.bootstrap("sleep 60")
        except Unreachable as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: len(host.sim.processes(host.uuid)) > 1, what="the command on the machine")
    machine.close()
    machine.close()
    thread.join(10)
    assert not thread.is_alive()
    assert caught


def test_many_threads_share_a_connection(host: Host) -> None:
    found: list[str] = []
    with host.connect() as machine:
        threads = [
            threading.Thread(target=lambda: found.append(machine.state(host.attempt_id).kind))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == ["none"] * 6


# Machines that are none


def _reach(port: int, folder: Path, *, host: str = "127.0.0.1", timeout: float = 0.5) -> None:
    key = ensure_key(folder / "key")
    connect(Address(host, port, "nobody"), key.private_path, pinned=None, timeout=timeout).close()


def test_a_port_where_nobody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Unreachable, match="the connection was refused"):
        _reach(port, tmp_path)


def test_a_machine_without_an_address_is_not_this_computer(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="no address yet"):
        _reach(22, tmp_path, host="")


@pytest.mark.parametrize(
    "words",
    [b"", b"SSH-2.0-slow\r\n", b"HTTP/1.1 400\r\n" * 200, b"SSH-2.0-x\r\n" + bytes(range(256)) * 9],
    ids=["no banner", "no handshake", "not SSH", "nonsense"],
)
def test_a_server_that_is_no_machine(words: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with listening(lambda client: client.sendall(words)) as port, pytest.raises(Unreachable):
        _reach(port, tmp_path)
    assert capfd.readouterr().err == ""


def test_a_server_that_hangs_up(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with listening(lambda client: client.close()) as port, pytest.raises(Unreachable):
        _reach(port, tmp_path, timeout=20)
    assert capfd.readouterr().err == ""


def test_the_deadline_of_a_connection_covers_the_login(host: Host, tmp_path: Path) -> None:
    with proxy(host.address.port, cut_after=None) as network:
        network.freeze()
        with pytest.raises(Unreachable, match="in time"):
            _reach(network.port, tmp_path)


def test_what_is_sent_to_a_command_that_has_just_ended_does_not_end_the_connection(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sent: list[int] = []
    os.mkfifo(word := tmp_path / "word")
    ends_when_told = f"cat {shlex.quote(str(word))}; exit 3"
    with host.connect() as machine, Channel(machine.wire, machine.where, ends_when_told) as channel:
        send = machine.wire._send_user_message

        def late(message: Message) -> None:
            if threading.current_thread() is not machine.wire and message.asbytes()[0] == MSG_CHANNEL_DATA:
                # Between paramiko's look at the channel and its word, both sides close it.
                word.write_text("now\n")
                wait_until(lambda: not machine.wire._channels.values(), what="a closed channel")
                sent.append(channel.status())
            send(message)

        with monkeypatch.context() as patch:
            patch.setattr(machine.wire, "_send_user_message", late)
            channel.send(b"too late", 5)
        assert sent == [3]
        with pytest.raises(Unreachable, match="Socket is closed"):
            channel.send(b"later still", 5)
        for number in range(3):  # its number is used again
            answer = run(
                machine.wire, machine.where, f"read -r word; echo $word {number}", stdin=b"on\n", seconds=20
            )
            assert answer.stdout == f"on {number}\n".encode()
