"""What can go wrong with a machine; the one place where errors of paramiko and the system become ours.

SshError (RunnerError)
├── Unreachable        refused, dropped, silent, or no answer in time: another connection may do better
├── LoginRefused       the machine does not take our key, or not yet
├── HostKeyMismatch    it showed another host key than the one that was pinned: never log in
└── BadAnswer          a command over SSH failed, or said what is not of the protocol
"""

from __future__ import annotations

import base64
import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import paramiko

from jobs.errors import RunnerError

SHOWN_CHARACTERS = 200


class SshError(RunnerError):
    """The root: nothing else comes out of workers.ssh where a machine or the network misbehaves."""


class Unreachable(SshError):
    """No connection, or it broke, or nothing was heard in time. Whether a command ran is not known."""


class LoginRefused(SshError):
    """The machine answers but does not let our key in; while it boots it may do so a little later."""


class HostKeyMismatch(SshError):
    """Another host key than the pinned one. ``expected`` and ``shown`` are SHA256 fingerprints."""

    def __init__(self, where: str, expected: str, shown: str) -> None:
        super().__init__(
            f"{where} shows the host key {shown}, but {expected} was pinned for this machine: "
            "it is not the same machine, or somebody is in between."
        )
        self.expected = expected
        self.shown = shown


class BadAnswer(SshError):
    """A command on the machine failed, or its answer makes no sense."""


def fingerprint(public_line: str) -> str:
    """The SHA256 fingerprint of ``type base64``, as OpenSSH writes it."""
    digest = hashlib.sha256(base64.b64decode(public_line.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def printable(raw: bytes | str) -> str:
    """Words of a machine for a sentence of ours: one line, no control characters, not too many."""
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    text = "".join(c if c.isprintable() else " " for c in text).strip()
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


@contextmanager
def mapped(where: str) -> Iterator[None]:
    """Turn what paramiko raises inside into an SshError about *where*. Only its calls belong inside."""
    try:
        yield
    except SshError:
        raise
    except paramiko.AuthenticationException as error:
        raise LoginRefused(f"{where} does not accept our key: {_said(error)}") from error
    except Exception as error:
        # paramiko raises in our thread whatever ended its own: SSHException, EOFError, OSError, and, where a
        # peer talks nonsense, anything that parsing may raise.
        raise Unreachable(f"{where}: {_said(error)}") from error


def _said(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, EOFError | ConnectionResetError | BrokenPipeError):
        return "the connection was dropped"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return printable(str(error)).rstrip(".") or type(error).__name__
