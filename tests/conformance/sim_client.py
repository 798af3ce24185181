"""A plain client for the tests of the simulated cloud: httpx and paramiko, nothing of ours in between."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import paramiko

from runner.sim import SimConfig, Simulator
from tests.waiting import wait_until


@dataclass(frozen=True)
class Key:
    """A key pair: what paramiko logs in with, and the line for the account."""

    private: paramiko.PKey
    line: str


def new_key() -> Key:
    """A fresh Ed25519 key."""
    import asyncssh

    made = asyncssh.generate_private_key("ssh-ed25519")
    text = made.export_private_key("openssh").decode()
    private = paramiko.Ed25519Key.from_private_key(io.StringIO(text))
    return Key(private, f"ssh-ed25519 {private.get_base64()}")


@dataclass
class Result:
    """What a command came to; *code* is -1 where the server named a signal instead."""

    code: int
    out: bytes
    err: bytes


class Account:
    """One account of a running simulator, with one key on it."""

    def __init__(self, sim: Simulator) -> None:
        self.sim = sim
        self.http = httpx.Client(
            base_url=sim.url, headers={"Authorization": f"Bearer {sim.token}"}, timeout=30, trust_env=False
        )
        self.key = new_key()

    def get(self, path: str) -> Any:
        """The JSON of a GET that has to succeed."""
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: object, status: int = 200) -> Any:
        """The JSON of a POST that has to answer *status*."""
        answer = self.http.post(path, json=body)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json()

    def add_key(self, name: str = "fleet key") -> str:
        """Put our key on the account under *name*."""
        self.post("/ssh-keys", {"name": name, "publicKey": self.key.line})
        return name

    def deploy(self, status: int = 202, **fields: object) -> str:
        """Deploy, by default with our key; the uuid (or the text of the refusal)."""
        body: dict[str, object] = {"imageId": 84, "productName": "gpu_1x_l40", "regionName": "any"} | fields
        if "sshKeys" not in body and "sshKey" not in body and "command" not in body:
            keys = self.get("/ssh-keys")["sshKeys"]
            body["sshKeys"] = [keys[0]["name"] if keys else self.add_key()]
        answer = self.post("/instance/launch", body, status)
        return str(answer["response"] if status == 202 else answer["message"])

    def listed(self) -> dict[str, dict[str, Any]]:
        """The listing by uuid."""
        return {item["uuid"]: item for item in self.get("/instance")["runningInstances"]}

    def ready(self, uuid: str) -> dict[str, Any]:
        """The instance as it is listed once it has booted."""

        def booted() -> dict[str, Any] | None:
            item = self.listed().get(uuid)
            return item if item is not None and item["os_booted"] else None

        return wait_until(booted, what=f"instance {uuid} booted") or {}

    def terminate(self, *uuids: str) -> list[str]:
        """Terminate; the uuids in the answer."""
        answer = self.post("/instance/terminate", {"instanceUuids": list(uuids)}, 202)
        return [item["id"] for item in answer["response"]["data"]["terminated_instances"]]

    def connect(
        self, uuid: str, *, password: str | None = None, key: Key | None = None
    ) -> paramiko.SSHClient:
        """Log in to a machine; raises what paramiko raises."""
        item = self.listed()[uuid]
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(_TakeAny())
        try:
            client.connect(
                item["ip"],
                port=item["ssh_port"],
                username=item["username"],
                password=password,
                pkey=None if password else (key or self.key).private,
                allow_agent=False,
                look_for_keys=False,
                timeout=20,
                banner_timeout=20,
                auth_timeout=20,
            )
        except BaseException:
            client.close()
            raise
        return client

    @contextmanager
    def machine(self, **fields: Any) -> Iterator[tuple[str, paramiko.SSHClient]]:
        """A machine that has booted, with a connection to it."""
        uuid = self.deploy(**fields)
        self.ready(uuid)
        client = wait_until(lambda: self._try(uuid), what="SSH")
        assert client is not None
        try:
            yield uuid, client
        finally:
            client.close()

    def _try(self, uuid: str) -> paramiko.SSHClient | None:
        try:
            return self.connect(uuid)
        except (OSError, paramiko.SSHException, EOFError):
            return None

    def close(self) -> None:
        """Close the HTTP connection."""
        self.http.close()


class _TakeAny(paramiko.MissingHostKeyPolicy):
    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """These tests compare host keys themselves where they matter."""


@contextmanager
def simulated(config: SimConfig | None = None) -> Iterator[Account]:
    """An account on a simulator of its own."""
    with Simulator(config or SimConfig(boot_seconds=0.05)) as sim:
        account = Account(sim)
        try:
            yield account
        finally:
            account.close()


def channel(client: paramiko.SSHClient) -> paramiko.Channel:
    """A new session channel."""
    transport = client.get_transport()
    assert transport is not None
    return transport.open_session(timeout=20)


def run(client: paramiko.SSHClient, command: str, stdin: bytes = b"") -> Result:
    """Run a command to its end with *stdin*; standard output and error are read at the same time."""
    with channel(client) as chan:
        chan.settimeout(60)
        chan.exec_command(command)
        errors = bytearray()
        reader = threading.Thread(target=lambda: errors.extend(read_all(chan.recv_stderr)))
        writer = threading.Thread(target=lambda: _send(chan, stdin))
        reader.start()
        writer.start()
        output = read_all(chan.recv)
        reader.join()
        writer.join()
        return Result(chan.recv_exit_status(), output, bytes(errors))


def read_all(receive: Any) -> bytes:
    """Everything up to the end of file."""
    found = bytearray()
    while data := receive(1 << 18):
        found += data
    return bytes(found)


def _send(chan: paramiko.Channel, data: bytes) -> None:
    try:
        chan.sendall(data)
        chan.shutdown_write()
    except (OSError, EOFError):
        return  # the command ended without reading all of it


def refused(port: int) -> bool:
    """Whether a connection to *port* on loopback is refused."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False
