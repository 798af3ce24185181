"""Logging into a machine: reach it, compare its host key with the pinned one, then show our key.

The key comes from our file; no agent, no key of the user's, no known_hosts. The host key that was shown is
compared before we authenticate, on every connection; the first one has none to compare with, and its caller
checks what the machine attests.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import paramiko

from workers.ssh.channel import deadline
from workers.ssh.errors import HostKeyMismatch, Unreachable, fingerprint, mapped
from workers.ssh.keys import load_key
from workers.ssh.machine import Machine
from workers.ssh.wire import Wire

__all__ = ["KEYLESS", "Address", "Machine", "connect", "offered_logins"]

KEEPALIVE_SECONDS = 15.0
PATIENCE_SECONDS = 40.0
"""After so much silence, though asked every KEEPALIVE_SECONDS, a peer counts as gone."""


AT_ONCE = 4
"""How many log in at once: a handshake is arithmetic, and who takes over hundreds of jobs must still get to
take the next ones and renew what it has."""
TURN_SECONDS = 5.0
"""How long one waits for that: machines that do not answer must not hold up the others."""

KEYLESS = frozenset({"password", "keyboard-interactive", "none"})
"""Logins for which nobody needs a key of ours."""

_turns = threading.BoundedSemaphore(AT_ONCE)


@dataclass(frozen=True)
class Address:
    """Where a machine answers, and as whom."""

    host: str
    port: int
    username: str

    def __str__(self) -> str:
        return f"{self.username}@{self.host}:{self.port}"


def connect(
    address: Address,
    key_path: Path,
    *,
    pinned: str | None,
    timeout: float,
    keepalive: float = KEEPALIVE_SECONDS,
    patience: float = PATIENCE_SECONDS,
    discreet: bool = False,
) -> Machine:
    """Log in. *timeout* in seconds is for all of it, but for the wait until few others do; *keepalive* and
    *patience* are for later silence. *discreet*: no error may repeat what the machine says.

    *pinned* is the machine's host key as "type base64", or None on the first connection. Raises Unreachable,
    LoginRefused, HostKeyMismatch, and InvalidSettings for our key.
    """
    key = load_key(key_path)
    where = str(address)
    with _shaken(address, pinned, timeout) as (wire, host_key, end):
        _log_in(wire, where, address.username, key, end)
        wire.keep_alive(keepalive, patience)
    return Machine(wire, where, host_key, discreet=discreet)


def offered_logins(address: Address, *, pinned: str, timeout: float) -> tuple[str, ...]:
    """Which kinds of login the server offers to somebody who shows nothing, by their names in the protocol.

    It is asked over a connection of its own, before any login. ``none``: it lets in everybody. *timeout* in
    seconds. Raises Unreachable, and HostKeyMismatch.
    """
    where = str(address)
    with _shaken(address, pinned, timeout) as (wire, _, end):
        try:
            with deadline(wire, where, max(0.1, end - time.monotonic())), mapped(where):
                try:
                    wire.auth_none(address.username)
                except paramiko.BadAuthenticationType as error:
                    return tuple(error.allowed_types)
                except paramiko.AuthenticationException as error:
                    raise Unreachable(f"{where}: it did not say which logins it offers") from error
                return ("none",)
        finally:
            wire.close()


@contextmanager
def _shaken(address: Address, pinned: str | None, timeout: float) -> Iterator[tuple[Wire, str, float]]:
    """A connection before its login, the host key that it showed, the end of its time; closed on errors."""
    where = str(address)
    end = time.monotonic() + timeout
    if not address.host:
        raise Unreachable(f"{where}: it has no address yet")
    with mapped(where):
        sock = socket.create_connection((address.host, address.port), timeout)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = Wire(sock)
    except BaseException:
        sock.close()
        raise
    try:
        with _turn() as waited:
            host_key = _shake_hands(wire, where, pinned, end + waited)
            yield wire, host_key, end + waited
    except BaseException:
        wire.close()
        raise


@contextmanager
def _turn() -> Iterator[float]:
    """Wait until few others log in; yields for how many seconds that was."""
    began = time.monotonic()
    ours = _turns.acquire(timeout=TURN_SECONDS)
    try:
        yield time.monotonic() - began
    finally:
        if ours:
            _turns.release()


def _shake_hands(wire: Wire, where: str, pinned: str | None, end: float) -> str:
    wire.banner_timeout = end - time.monotonic() + 60  # the deadline below comes first
    if pinned is not None:
        _prefer(wire, pinned.split()[0])
    done = threading.Event()
    with mapped(where):
        wire.start_client(event=done)
        _wait(wire, done, end, "no SSH handshake in time")
        if not wire.is_active():
            raise wire.get_exception() or EOFError()
        shown_key = wire.get_remote_server_key()
    shown = f"{shown_key.get_name()} {shown_key.get_base64()}"
    if pinned is not None and shown.split() != pinned.split()[:2]:
        raise HostKeyMismatch(where, fingerprint(pinned), fingerprint(shown))
    return shown


def _log_in(wire: Wire, where: str, username: str, key: paramiko.PKey, end: float) -> None:
    done = threading.Event()
    with mapped(where):
        wire.auth_publickey(username, key, done)
        _wait(wire, done, end, "no answer to our login in time")
        if not wire.is_active():
            raise wire.get_exception() or EOFError()
        if not wire.is_authenticated():
            raise wire.get_exception() or paramiko.AuthenticationException("login refused")


def _wait(wire: Wire, done: threading.Event, end: float, otherwise: str) -> None:
    while not done.wait(min(0.5, max(0.0, end - time.monotonic()))):
        if not wire.is_active():
            return
        if time.monotonic() >= end:
            raise TimeoutError(otherwise)


def _prefer(wire: Wire, key_type: str) -> None:
    """Ask for the pinned kind of host key first: a server that has several must show the same one again."""
    wanted = ["rsa-sha2-512", "rsa-sha2-256"] if key_type == "ssh-rsa" else [key_type]
    options = wire.get_security_options()
    offered = list(options.key_types)
    first = [name for name in wanted if name in offered]
    options.key_types = [*first, *(name for name in offered if name not in first)]
