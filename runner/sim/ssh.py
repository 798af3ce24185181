"""The SSH server before one simulated machine: a port on loopback, its host key, who may log in.

Keys are looked up in the machine's own `~/.ssh/authorized_keys` at each login, as OpenSSH does, so whatever adds
a line there opens the door: the deploy's key names (written at boot), a startup command, a command. The faults
that a new connection can meet (refused, dropped, no banner, no login) are applied where it is accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh

from runner.sim.session import Session

if TYPE_CHECKING:
    from runner.sim.machine import Machine


class Door:
    """The SSH port of one machine. It is bound at once, so that it stays reserved, and listens when opened."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.sessions: set[Session] = set()
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self.frozen = False
        self._sent = 0
        self._sockets: set[socket.socket] = set()
        self._socket = _bound(0)
        self.port: int = self._socket.getsockname()[1]
        self._accepting: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Answer from now on."""
        if self._accepting is None:
            self._socket.listen(128)
            self._accepting = asyncio.get_running_loop().create_task(self._accept())

    def shut(self) -> None:
        """Refuse new connections from now on and cut the others. The port stays ours."""
        if self._accepting is not None:
            self._accepting.cancel()
            self._accepting = None
            self._socket.close()
            with contextlib.suppress(OSError):
                self._socket = _bound(self.port)
        self.drop()

    def close(self) -> None:
        """Like shut, for ever."""
        if self._accepting is not None:
            self._accepting.cancel()
            self._accepting = None
        self._socket.close()
        self.drop()

    def drop(self) -> None:
        """Cut every connection there is, without a goodbye."""
        for connection in list(self.connections):
            connection.abort()
        for raw in list(self._sockets):
            raw.close()
        self._sockets.clear()
        self._sent = 0

    def freeze(self) -> None:
        """Fall silent: connections stay open and nothing passes, new ones get no banner."""
        self.frozen = True
        for connection in self.connections:
            transport = connection._transport
            if isinstance(transport, asyncio.Transport):
                transport.pause_reading()
        for session in list(self.sessions):
            session.freeze()

    def thaw(self) -> None:
        """Pass on again."""
        self.frozen = False
        for connection in self.connections:
            transport = connection._transport
            if isinstance(transport, asyncio.Transport):
                transport.resume_reading()
        for session in list(self.sessions):
            session.resume_writing()

    def count(self, size: int) -> None:
        """Note *size* bytes of output; cut the connections if a fault says so."""
        limit = self.machine.faults.ssh_drop_after_bytes
        if limit is None:
            return
        self._sent += size
        if self._sent > limit and self.machine.faults.take("ssh_drops"):
            self.drop()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        self._socket.setblocking(False)
        while True:
            try:
                raw, _ = await loop.sock_accept(self._socket)
            except OSError:  # too many open files, say: the next one may fare better
                await asyncio.sleep(0.05)
                continue
            mode = self.machine.ssh
            if mode == "drop":
                raw.close()
            elif mode == "hang" or self.frozen:
                self._sockets.add(raw)
            else:
                self.machine.keep(self._serve(raw))

    async def _serve(self, raw: socket.socket) -> None:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError, asyncssh.Error, asyncio.TimeoutError):
            await asyncssh.run_server(
                raw,
                server_factory=lambda: _Login(self),
                server_host_keys=[self.machine.host_key],
                encoding=None,
                line_editor=False,
                agent_forwarding=False,
                x11_forwarding=False,
                gss_host=None,
                kbdint_auth=False,
                password_auth=self.machine.password_login,
                login_timeout=120,
                keepalive_interval=0,
            )


class _Login(asyncssh.SSHServer):
    """Who may come in."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._connection: asyncssh.SSHServerConnection | None = None
        self._user = ""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._door.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._door.connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        self._user = username
        return True

    def auth_completed(self) -> None:
        after = self._door.machine.faults.ssh_drop_after_seconds
        if after is not None:
            self._door.machine.keep(self._drop_after(after))

    async def _drop_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        conn = self._connection
        if (
            conn in self._door.connections
            and conn is not None
            and self._door.machine.faults.take("ssh_drops")
        ):
            conn.abort()

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        if username != self._door.machine.username or self._door.machine.ssh == "login":
            return False
        blob = key.export_public_key("openssh").split()[1]
        return blob in authorized_blobs(self._door.machine.home)

    def password_auth_supported(self) -> bool:
        return self._door.machine.password_login

    def validate_password(self, username: str, password: str) -> bool:
        machine = self._door.machine
        if username != machine.username or machine.ssh == "login" or not machine.password_login:
            return False
        return hmac.compare_digest(password.encode(), machine.password.encode())

    def session_requested(self) -> Session:
        return Session(self._door, self._user)


def authorized_blobs(home: Path) -> set[bytes]:
    """The base64 keys in the home's authorized_keys, none if others may write it, as OpenSSH's StrictModes."""
    file = home / ".ssh" / "authorized_keys"
    try:
        if any(path.stat().st_mode & 0o022 for path in (home, file.parent, file)):
            return set()
        lines = file.read_bytes().splitlines()
    except OSError:
        return set()
    blobs = set()
    for line in lines:
        words = line.split()
        if words and not words[0].startswith(b"#"):
            blobs |= {
                blob
                for kind, blob in zip(words, words[1:], strict=False)
                if kind.startswith((b"ssh-", b"ecdsa-", b"sk-"))
            }
    return blobs


def _bound(port: int) -> socket.socket:
    raw = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        raw.bind(("127.0.0.1", port))
    except OSError:
        raw.close()
        raise
    return raw
