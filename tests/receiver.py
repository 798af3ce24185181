"""Somebody who receives notifications: a real HTTP server on a thread, told what to answer."""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from tests.waiting import wait_until

SECRET = "s3cret-path"


@dataclass(frozen=True)
class Post:
    """One POST as it arrived."""

    path: str
    headers: dict[str, str]
    body: Any

    @property
    def id(self) -> str:
        return self.headers["Idempotency-Key"]


class Receiver:
    """``answers``: the statuses to come, then 204 for ever. While ``answering`` is not set, it hangs."""

    def __init__(self, port: int = 0) -> None:
        self.received: list[Post] = []
        self.answers: deque[int] = deque()
        self.answering = threading.Event()
        self.answering.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.received.append(Post(self.path, dict(self.headers), body))
                receiver.answering.wait()
                try:
                    self.send_response(receiver.answers.popleft() if receiver.answers else 204)
                    self.send_header("Location", "/elsewhere")
                    self.end_headers()
                except OSError:
                    self.close_connection = True  # who has sent it was killed meanwhile

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="receiver")

    @property
    def url(self) -> str:
        """Its address, with a path that is nobody else's business."""
        return f"http://127.0.0.1:{self._server.server_port}/{SECRET}"

    def wait(self, count: int) -> list[Post]:
        """What has arrived, as soon as there are *count* of it."""
        wait_until(lambda: len(self.received) >= count, timeout=60, what=f"{count} notifications")
        return list(self.received)

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.answering.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port
