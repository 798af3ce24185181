"""Who may log in to a simulated machine.

Keys are looked up in the machine's own `~/.ssh/authorized_keys` at each login, as OpenSSH does, so whatever
adds a line there opens the door: the deploy's key names (written before boot), a startup command, a command.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh

from runner.sim.session import Session

if TYPE_CHECKING:
    from runner.sim.machine import Machine
    from runner.sim.ssh import Door


class Login(asyncssh.SSHServer):
    """The login of one connection, by key or password; the user's name counts letter by letter."""

    def __init__(self, machine: Machine, door: Door, session: Callable[[str], Session]) -> None:
        self._machine = machine
        self._door = door
        self._session = session
        self._connection: asyncssh.SSHServerConnection | None = None
        self._user = ""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Note the connection, so that it can be cut."""
        self._connection = conn
        self._door.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._connection is not None:
            self._door.connections.discard(self._connection)

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        """Forward a port to the machine itself, that is this computer; nothing here goes any further."""
        return dest_host in ("127.0.0.1", "localhost", "::1")

    def begin_auth(self, username: str) -> bool:
        """Everybody has to show something."""
        self._user = username
        return True

    def public_key_auth_supported(self) -> bool:
        """Always offered."""
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Whether the home's authorized_keys, as it is now, holds *key*."""
        if not self._may_try(username):
            return False
        return key.export_public_key("openssh").split()[1] in authorized_blobs(self._machine.home)

    def password_auth_supported(self) -> bool:
        """Offered if the configuration says so."""
        return self._machine.password_login

    def validate_password(self, username: str, password: str) -> bool:
        """Whether it is the password of the listing."""
        if not self._may_try(username) or not self._machine.password_login:
            return False
        return hmac.compare_digest(password.encode(), self._machine.password.encode())

    def _may_try(self, username: str) -> bool:
        return username == self._machine.username and self._machine.ssh != "login"

    def session_requested(self) -> Session:
        """A channel for a command, a shell or SFTP."""
        return self._session(self._user)


def authorized_blobs(home: Path) -> set[bytes]:
    """The base64 keys in the home's authorized_keys; none if others may write it (OpenSSH's StrictModes)."""
    file = home / ".ssh" / "authorized_keys"
    try:
        if any(path.stat().st_mode & 0o022 for path in (home, file.parent, file)):
            return set()
        lines = file.read_bytes().splitlines()
    except OSError:
        return set()
    return {
        blob
        for line in lines
        if not line.lstrip().startswith(b"#")
        for kind, blob in pairwise(line.split())
        if kind.startswith((b"ssh-", b"ecdsa-", b"sk-"))
    }
