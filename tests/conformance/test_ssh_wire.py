"""An exchange of keys, and a peer that had already ended a channel when it learned of it."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from paramiko.message import Message

from tests.conformance.ssh_host import listening
from workers.ssh import channel
from workers.ssh.connect import Address, connect
from workers.ssh.keys import ensure_key
from workers.ssh.wire import Packets, Wire

PIECE = b"x" * 16_384
PIECES = 40


class Everybody(paramiko.ServerInterface):
    """Lets in whoever comes, and lets anything be run."""

    def __init__(self) -> None:
        self.asked: queue.SimpleQueue[paramiko.Channel | None] = queue.SimpleQueue()

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.common.AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.asked.put(channel)
        return True


class Server(paramiko.Transport):
    """Ends what runs when it hears that keys are to be exchanged, before it has said anything to that."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.add_server_key(paramiko.ECDSAKey.generate())
        self.running: paramiko.Channel | None = None
        self.ended = threading.Event()
        self.exchanges = 0
        self._guests = Everybody()
        self._serving = threading.Thread(target=self._serve, name="serving", daemon=True)

    def begin(self) -> None:
        """Let somebody in."""
        self.start_server(server=self._guests)
        self._serving.start()

    def end(self) -> None:
        """No thread of it is left."""
        self.close()
        self._guests.asked.put(None)
        self._serving.join()

    def _negotiate_keys(self, m: Message) -> None:
        self.exchanges += 1
        if self.running is not None:
            ours, self.running = self.running, None
            status = Message()
            status.add_byte(paramiko.common.cMSG_CHANNEL_REQUEST)
            status.add_int(ours.remote_chanid)  # type: ignore[attr-defined]
            status.add_string("exit-status")
            status.add_boolean(False)
            status.add_int(7)
            self._send_message(status)  # type: ignore[attr-defined]
            for word in (paramiko.common.cMSG_CHANNEL_EOF, paramiko.common.cMSG_CHANNEL_CLOSE):
                message = Message()
                message.add_byte(word)
                message.add_int(ours.remote_chanid)  # type: ignore[attr-defined]
                self._send_message(message)  # type: ignore[attr-defined]
            self.ended.set()
        super()._negotiate_keys(m)  # type: ignore[misc]

    def _serve(self) -> None:
        while (asked := self._guests.asked.get()) is not None:
            self.ended.clear()
            self.running = asked
            for _ in range(PIECES):
                asked.sendall(PIECE)
            self.ended.wait(60)


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    started: list[Server] = []
    yield started
    for server in started:
        server.end()


def test_a_channel_that_is_closed_before_the_peer_learns_of_new_keys(
    servers: list[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Packets, "REKEY_BYTES", len(PIECE) * PIECES)

    def talk(client: Any) -> None:
        server = Server(client)
        servers.append(server)
        server.begin()

    key = ensure_key(tmp_path / "keys" / "ssh_key")
    with (
        listening(talk) as port,
        connect(Address("127.0.0.1", port, "any"), key.private_path, pinned=None, timeout=20) as machine,
    ):
        wire = machine.wire
        assert isinstance(wire, Wire)
        for exchanges in (2, 3):
            answer = channel.run(wire, "there", "anything", seconds=20)
            assert (answer.status, len(answer.stdout)) == (7, len(PIECE) * PIECES)
            assert servers[0].exchanges == exchanges
