"""A machine to log into for the tests of workers.ssh, behind the simulator's server or OpenSSH's own.

It has been started as a deploy starts one: by the startup command. `Proxy` is the network between: it can be
cut, or fall silent so that nobody is told.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from jobs import ids
from tests.conformance.sim_client import Account
from tests.waiting import wait_until
from workers.ssh.connect import Address, Machine, connect
from workers.ssh.errors import SshError
from workers.ssh.keys import KeyPair, ensure_key
from workers.supervisor import go_payload, new_attestation_key, startup_command


class Host:
    """One booted machine, known by what an attendant knows of it."""

    def __init__(
        self, account: Account, folder: Path, *, startup: bool = True, attempt_id: str | None = None
    ) -> None:
        self.account = account
        self._startup = startup
        self.sim = account.sim
        self.key: KeyPair = ensure_key(folder / "keys" / "ssh_key")
        self.attempt_id = attempt_id or ids.new_attempt_id("abc123")
        self.attestation_key = new_attestation_key()
        fields: dict[str, Any] = {}
        if startup:
            fields["command"] = startup_command(self.attempt_id, self.key.public_line, self.attestation_key)
        else:
            name = self.attempt_id
            account.post("/ssh-keys", {"name": name, "publicKey": self.key.public_line})
            fields["sshKeys"] = [name]
        self.uuid = account.deploy(**fields)
        item = account.ready(self.uuid)
        self.address = Address(item["ip"], item["ssh_port"], item["username"])
        self.home = self.sim.machine(self.uuid).home
        wait_until(self._lets_us_in, what="a machine that lets us in")

    def connect(self, **options: Any) -> Machine:
        """Log in, by default without a pinned key."""
        port = options.pop("port", self.address.port)
        where = Address(self.address.host, port, self.address.username)
        return connect(
            where, self.key.private_path, pinned=options.pop("pinned", None), timeout=20, **options
        )

    def payload(self, command: str | Sequence[str], *, grace: int = 5) -> bytes:
        """What `go` takes to run *command*."""
        return go_payload(
            command=command,
            env={"RUNNER_TEST": "1"},
            deadline_seconds=300,
            deadline_cause="max_runtime",
            grace_seconds=grace,
            max_log_bytes=1 << 30,
        )

    @property
    def log(self) -> bytes:
        """The log as it lies on the machine."""
        return (self.home / ".gpu-job-runner" / self.attempt_id / "run" / "log").read_bytes()

    def followers(self) -> list[psutil.Process]:
        """The readers of the log that run on the machine."""
        found = []
        for process in self.sim.processes(self.uuid):
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if "follow" in words or words[:1] == ["tail"]:
                    found.append(process)
        return found

    def no_followers(self) -> None:
        """Wait until none is left."""
        wait_until(lambda: not self.followers(), what="the end of every reader on the machine")

    def _lets_us_in(self) -> bool:
        try:
            with self.connect() as machine:
                return not self._startup or bool(machine.attestations(self.attempt_id))
        except SshError:
            return False


class Proxy:
    """A port on loopback that leads to another one, until it is told to do something worse."""

    def __init__(self, port: int, *, cut_after: int | None = None) -> None:
        """*cut_after*: the first connection breaks after so many bytes from the server."""
        self._target = port
        self._cut_after = cut_after
        self._passing = threading.Event()
        self._passing.set()
        self._closed = False
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._start(self._accept)

    def freeze(self) -> None:
        """Pass nothing on any more, and tell nobody."""
        self._passing.clear()

    def cut(self) -> None:
        """Break what is connected."""
        for sock in list(self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """The end of the proxy and its threads."""
        self._closed = True
        self._passing.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join()
        self._listening.close()
        for sock in self._sockets:
            sock.close()

    def _start(self, work: Any, *args: Any) -> None:
        thread = threading.Thread(target=work, args=args, name="proxy", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._sockets |= {client, server}
            limit, self._cut_after = self._cut_after, None
            self._start(self._pump, client, server, None)
            self._start(self._pump, server, client, limit)

    def _pump(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._passing.wait()
                target.sendall(data)
                passed += len(data)
                if limit is not None and passed > limit:
                    break
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(port: int, **options: Any) -> Iterator[Proxy]:
    """A proxy that is closed at the end."""
    made = Proxy(port, **options)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def listening(talk: Any) -> Iterator[int]:
    """A port where *talk(socket)* answers each connection; the socket is closed at the end of the block."""
    server = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                taken.append(client)
                talk(client)

    thread = threading.Thread(target=serve, name="listening", daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        for client in taken:
            client.close()
        thread.join()
        server.close()
