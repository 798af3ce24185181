"""The port before one simulated machine: who listens there, and what a new connection meets.

Connections are accepted here in every mode, so that the faults (refused, dropped, no banner, cut after a
while) are the same whether a connection is then served by asyncssh in this process or by OpenSSH's own sshd.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING

import asyncssh
import psutil

from runner.sim.login import Login
from runner.sim.processes import Child
from runner.sim.session import Session

if TYPE_CHECKING:
    from runner.sim.machine import Machine


class Door:
    """The SSH port of one machine, bound at once, so that it stays reserved; it listens when opened."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.sessions: set[Session] = set()
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self.servers: set[Child] = set()  # OpenSSH: one sshd for each connection
        self.frozen = False
        self._sent = 0
        self._waiting: set[socket.socket] = set()  # connections that are not served (yet)
        self._socket = _bound(0)
        self.port: int = self._socket.getsockname()[1]
        self._open = False

    def open(self) -> None:
        """Answer from now on."""
        if not self._open:
            self._open = True
            self._socket.listen(128)
            self._socket.setblocking(False)
            asyncio.get_running_loop().add_reader(self._socket, self._accept)

    def refuse(self) -> None:
        """Refuse new connections from now on. The port stays ours."""
        if self._close_socket():
            self._socket = _bound(self.port)

    def close(self) -> None:
        """Refuse new connections for ever, and cut the others."""
        self._close_socket()
        self._socket.close()
        self.drop()

    def _close_socket(self) -> bool:
        if not self._open:
            return False
        self._open = False
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        return True

    def drop(self) -> None:
        """Cut every connection there is, without a goodbye."""
        for connection in list(self.connections):
            connection.abort()
        for process in self._sshd():
            with contextlib.suppress(psutil.Error):
                process.kill()
        for raw in self._waiting:
            raw.close()
        self._waiting.clear()
        self._sent = 0

    def freeze(self, frozen: bool) -> None:
        """Fall silent, or talk again: connections stay open and nothing passes, new ones get no banner."""
        self.frozen = frozen
        for connection in self.connections:
            transport = connection._transport
            if isinstance(transport, asyncio.Transport):
                if frozen:
                    transport.pause_reading()
                else:
                    transport.resume_reading()
        for session in list(self.sessions):
            session.freeze()
        for process in self._sshd():
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def _sshd(self) -> list[psutil.Process]:
        """The sshd processes of all connections (each may have split itself), without their commands."""
        found = []
        for child in self.servers:
            with contextlib.suppress(psutil.Error):
                top = psutil.Process(child.pid)
                found += [
                    process
                    for process in (top, *top.children(recursive=True))
                    if process.name().startswith("sshd")
                ]
        return found

    def count(self, size: int) -> None:
        """Note *size* bytes of output; cut the connections if a fault says so."""
        limit = self.machine.faults.ssh_drop_after_bytes
        if limit is None:
            return
        self._sent += size
        if self._sent > limit and self.machine.faults.take("ssh_drops"):
            self.drop()

    def _accept(self) -> None:
        try:
            raw, _ = self._socket.accept()
        except OSError:  # the client has left already, or there are too many open files: it may ask again
            return
        mode = self.machine.ssh
        if mode == "drop":
            raw.close()
            return
        self._waiting.add(raw)
        if mode == "hang" or self.frozen:
            return
        if self.machine.sshd is not None:
            self._hand_over(raw)
        else:
            self.machine.keep(self._serve(raw))

    async def _serve(self, raw: socket.socket) -> None:
        self._waiting.discard(raw)
        raw.setblocking(False)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        logins: list[Login] = []

        def login() -> Login:
            logins.append(Login(self.machine, self, lambda user: Session(self, user)))
            return logins[0]

        try:
            connection = await asyncssh.run_server(
                raw,
                server_factory=login,
                server_host_keys=[self.machine.host_key],
                encoding=None,
                line_editor=False,
                agent_forwarding=False,
                x11_forwarding=False,
                gss_host=None,
                kbdint_auth=False,  # as Ubuntu has it
                password_auth=self.machine.password_login,
                login_timeout=120,
            )
        except (TimeoutError, OSError, asyncssh.Error):
            return
        finally:
            if not logins:  # it came to no connection that would close it
                raw.close()
        await self._cut_later(connection.abort)

    async def _cut_later(self, cut: object) -> None:
        after = self.machine.faults.ssh_drop_after_seconds
        if after is not None and callable(cut):
            await asyncio.sleep(after)
            if self.machine.faults.take("ssh_drops"):
                cut()

    def _hand_over(self, raw: socket.socket) -> None:
        """Let OpenSSH's sshd serve this connection."""
        self._waiting.discard(raw)
        raw.setblocking(True)
        try:
            child = self.machine.start_sshd(raw.fileno())
        except OSError:
            return
        finally:
            raw.close()
        self.servers.add(child)
        child.when_ended(lambda: self.servers.discard(child))
        self.machine.keep(self._cut_later(lambda: _kill(child)))


def _kill(child: Child) -> None:
    with contextlib.suppress(OSError):
        os.kill(child.pid, signal.SIGKILL)


def _bound(port: int) -> socket.socket:
    raw = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        raw.bind(("127.0.0.1", port))
    except OSError:
        raw.close()
        raise
    return raw
