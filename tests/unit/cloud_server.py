"""A real HTTP server that answers what a test tells it to, byte for byte: also what no good server says."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from jobs.errors import RateLimited
from jobs.values import Secret
from workers.cloud.client import Cloud, Priority

TOKEN = "tok-4f9a-never-to-be-seen"


@dataclass(frozen=True)
class Request:
    """One request as it came in. ``connection``: the number of the connection that it came over."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    connection: int

    @property
    def body(self) -> Any:
        """The JSON of the body."""
        return json.loads(self.raw)


class Peer:
    """The other side of one request, for answers that are no plain bytes."""

    def __init__(self, connection: socket.socket, stopping: threading.Event) -> None:
        self._connection = connection
        self.stopping = stopping

    def send(self, data: bytes) -> bool:
        """False once nobody listens any more."""
        try:
            self._connection.sendall(data)
        except OSError:
            return False
        return not self.stopping.is_set()

    def left(self) -> None:
        """Wait until the client has gone."""
        with suppress(OSError):
            while self._connection.recv(4096):
                pass


Step = bytes | Callable[[Request], bytes] | Callable[[Request, Peer], None]
"""Bytes, a function that makes them, or (marked by `@by_hand`) one that talks itself, then cuts the line."""


def by_hand(talk: Callable[[Request, Peer], None]) -> Callable[[Request, Peer], None]:
    """Mark an answer that talks to the peer itself."""
    talk.by_hand = True  # type: ignore[attr-defined]
    return talk


def answer(status: int, body: object = None, **headers: str) -> bytes:
    """A well-formed answer: bytes and text as they are, anything else as JSON."""
    raw = (
        body
        if isinstance(body, bytes)
        else body.encode()
        if isinstance(body, str)
        else json.dumps(body).encode()
    )
    lines = {"Content-Length": str(len(raw)), "Date": "Mon, 23 Nov 2026 20:00:00 GMT"}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + raw


@by_hand
def cut(_request: Request, _peer: Peer) -> None:
    """Close without an answer."""


@by_hand
def hang(_request: Request, peer: Peer) -> None:
    """Never answer."""
    peer.left()


@by_hand
def drip_head(_request: Request, peer: Peer) -> None:
    """A head that never comes to its end, though something always comes."""
    peer.send(b"HTTP/1.1 202 Accepted\r\nX: ")
    while peer.send(b"x") and not peer.stopping.wait(0.01):
        pass


@by_hand
def drip_body(_request: Request, peer: Peer) -> None:
    """A body that never comes to its end."""
    peer.send(b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n")
    while peer.send(b"1\r\n \r\n") and not peer.stopping.wait(0.01):
        pass


@dataclass
class Server:
    """The scripted server: ``steps`` are taken one by one, then ``default`` for ever."""

    url: str
    default: Any
    steps: list[Any] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)


@contextmanager
def serving(*steps: Any, default: Any = None, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Serve until the end of the block; nothing is left then."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = Server(
        f"http{'s' if tls else ''}://127.0.0.1:{listening.getsockname()[1]}/api/v1",
        default or answer(500),
        list(steps),
    )
    stopping, lock = threading.Event(), threading.Lock()
    threads: list[threading.Thread] = []
    connections: list[socket.socket] = []

    def accept() -> None:
        while True:
            connection, _ = listening.accept()
            if stopping.is_set():
                connection.close()
                return
            number = len(connections)
            connections.append(connection)
            thread = threading.Thread(target=serve, args=(connection, number))
            threads.append(thread)
            thread.start()

    def serve(raw: socket.socket, number: int) -> None:
        with raw, suppress(OSError):
            connection = raw if tls is None else tls.wrap_socket(raw, server_side=True)
            connections[number] = connection
            with connection:
                talk(connection, number)

    def talk(connection: socket.socket, number: int) -> None:
        while (request := _read(connection, number)) is not None:
            with lock:
                server.requests.append(request)
                step = server.steps.pop(0) if server.steps else server.default
            if getattr(step, "by_hand", False):
                step(request, Peer(connection, stopping))
                return
            connection.sendall(step(request) if callable(step) else step)

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield server
    finally:
        stopping.set()
        socket.create_connection(listening.getsockname()).close()  # wakes who waits for one
        accepting.join()
        listening.close()
        for connection in connections:
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def _read(connection: socket.socket, number: int) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    head, _, raw = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(raw) < int(headers.get("content-length", "0")):
        raw += connection.recv(65536)
    method, path, _ = first.split(" ")
    return Request(method, path.removeprefix("/api/v1"), headers, raw, number)


class Pauses(threading.Event):
    """Never set; notes how long the client would have waited, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout or 0.0)
        return False


class Turns:
    """A gate that notes who came."""

    def __init__(self, most: int = 1000) -> None:
        self.priorities: list[Priority] = []
        self.silences: list[float] = []
        self.most = most

    def enter(self, priority: Priority, deadline_s: float) -> None:
        if len(self.priorities) >= self.most:
            raise RateLimited("no turn", status=None)
        self.priorities.append(priority)

    def silence(self, seconds: float) -> None:
        self.silences.append(seconds)


def cloud_for(server: Server, pauses: threading.Event | None = None, **more: Any) -> Cloud:
    """A client of the server."""
    return Cloud(server.url, Secret(TOKEN), stopping=pauses, **more)
