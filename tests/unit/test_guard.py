"""The guard's patience: how long it waits between two calls, whatever the API says."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from workers.supervisor import guard


class Enough(Exception):
    """So many pauses were looked at."""


@pytest.fixture
def api() -> Iterator[tuple[str, list[int]]]:
    """The address of an API, and the statuses that it answers with, the last one for ever."""
    statuses: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="api", daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api/v1", statuses
    server.shutdown()
    thread.join()
    server.server_close()


def _pauses(url: str, count: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it waits after each of so many calls."""
    found: list[float] = []

    def sleep(seconds: float) -> None:
        found.append(seconds)
        if len(found) == count:
            raise Enough

    order: dict[str, Any] = {"url": url, "token": "t", "uuid": "u"}
    with monkeypatch.context() as patch:
        patch.setattr(guard.time, "sleep", sleep)
        with pytest.raises(Enough):
            guard.keep(order, guard.clock())
    return found


def test_longer_and_longer_and_never_in_step(
    api: tuple[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, statuses = api
    statuses.append(503)
    pauses = _pauses(url, 12, monkeypatch)
    for pause, about in zip(pauses, [2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60, 60], strict=True):
        assert 0.75 * about <= pause <= 1.25 * about
    assert len(set(pauses[5:])) > 1


def test_a_refused_token_is_shown_rarely_and_for_ever(
    api: tuple[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, statuses = api
    statuses += [401, 403, 202]
    first, second, third = _pauses(url, 3, monkeypatch)
    assert first > 200
    assert second > 200
    assert third < 15


def test_where_nobody_listens_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(_pauses("http://127.0.0.1:1/api/v1", 4, monkeypatch)) == 4


def test_one_that_cannot_say_who_it_is_guards_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The earlier one is gone by then, and its number may be somebody else's."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(guard, "FOLDER", str(tmp_path))
    record = tmp_path / "attempt"
    record.write_text("17 9.5\n")
    hear, tell = os.pipe()
    with monkeypatch.context() as patch:
        patch.setattr(guard.os, "pwrite", full)
        assert guard.claim("attempt", 12.5, tell) == 9.5
    with os.fdopen(hear, "rb") as answer:
        assert answer.read() == b"armed\n"
    assert record.read_bytes() == b""


def test_what_an_earlier_guard_left_is_read_whole_or_not_at_all() -> None:
    assert guard.recorded(b"17 12.5\n") == (17, 12.5)
    for torn in (b"", b"17", b"17 12.5", b"17 \n", b"a b\n", b"\xff\xff \xff\n"):
        assert guard.recorded(torn)[1] == guard.NEVER, torn
