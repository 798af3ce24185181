"""Silence is counted in ticks that were lived through, and every foreign error becomes one of ours."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator

import paramiko
import pytest

from workers.ssh.errors import HostKeyMismatch, LoginRefused, SshError, Unreachable, mapped, printable
from workers.ssh.wire import LOG_NAME, Packets, Silent


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_it_asks_and_then_gives_up(pair: tuple[socket.socket, socket.socket]) -> None:
    asked: list[None] = []
    packets = Packets(pair[0])
    packets.watch(0.05, 0.3, lambda: asked.append(None))
    with pytest.raises(Silent):
        packets.read_message()
    assert len(asked) >= 3


def test_a_process_that_was_suspended_has_not_waited(pair: tuple[socket.socket, socket.socket]) -> None:
    packets = Packets(pair[0])
    packets.watch(15, 40, lambda: None)
    packets._ticked -= 3600
    packets._check_keepalive()
    assert packets._silence <= 2


def test_a_peer_that_takes_nothing_is_given_up(pair: tuple[socket.socket, socket.socket]) -> None:
    packets = Packets(pair[0])
    packets.watch(0.05, 0.3, lambda: None)
    with pytest.raises(EOFError):
        packets.write_all(bytes(8 << 20))


def test_a_peer_that_has_left_is_noticed(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].close()
    with pytest.raises(EOFError):
        Packets(pair[0]).write_all(bytes(8 << 20))


def test_its_log_is_silent_until_somebody_asks() -> None:
    assert not logging.getLogger(LOG_NAME).propagate
    assert not logging.getLogger(LOG_NAME).isEnabledFor(logging.ERROR)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (ConnectionRefusedError(111, "Connection refused"), Unreachable, "the connection was refused"),
        (ConnectionResetError(), Unreachable, "the connection was dropped"),
        (EOFError(), Unreachable, "the connection was dropped"),
        (TimeoutError("timed out"), Unreachable, "no answer in time"),
        (OSError(113, "No route to host"), Unreachable, "no route to host"),
        (socket.gaierror(-2, "Name or service not known"), Unreachable, "its name is not known"),
        (paramiko.SSHException("Channel closed."), Unreachable, "Channel closed"),
        (paramiko.ssh_exception.IncompatiblePeer("no acceptable kex"), Unreachable, "no acceptable kex"),
        (paramiko.AuthenticationException("Authentication failed."), LoginRefused, "Authentication failed"),
        (paramiko.BadAuthenticationType("Bad type", ["password"]), LoginRefused, "password"),
        (ValueError("bad\x1b[31m\npacket"), Unreachable, "bad [31m packet"),
        (KeyError(), Unreachable, "KeyError"),
        (HostKeyMismatch("m", "SHA256:a", "SHA256:b"), HostKeyMismatch, "SHA256:b"),
    ],
)
def test_every_foreign_error_becomes_ours(error: Exception, kind: type[SshError], words: str) -> None:
    with pytest.raises(kind) as caught, mapped("ubuntu@192.0.2.1:22"):
        raise error
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


def test_words_of_a_machine_are_shortened() -> None:
    assert printable(b"\xff\x00one\ntwo") == "\ufffd one two"
    assert len(printable("x" * 5000)) < 250
