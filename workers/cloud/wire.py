"""One request and its one answer, over httpx: the only place where the token is sent.

Three things are certain here, and the rest of the client builds on them. A request is over when its time is
over, however slowly the other side drips. Nothing begins to be sent after that time. And ``NotSent`` is said
only where the request provably had no effect.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any, Protocol

import httpx

from jobs.errors import InvalidSettings, InvalidToken
from workers.cloud.deadline import Deadline, TooLate, silence

LARGEST_BODY = 64 << 20
"""Bytes. An account with thousands of machines stays below it, though each is listed with its command."""
IDLE_SECONDS = 3.0
"""How long a connection is kept for the next request: less than servers wait before they close one."""
MOST_IDLE = 4
"""How many connections are kept for later; each deploy brings one of its own."""


class Revealing(Protocol):
    """Something that holds the token and shows it only when asked to."""

    def reveal(self) -> str: ...


@dataclass(frozen=True)
class Reply:
    """An answer. ``date``: the service's own time, ours without one. ``pause``: Retry-After in seconds."""

    status: int
    content: bytes
    date: datetime
    pause: float | None
    large: bool = False


@dataclass(frozen=True)
class NotSent:
    """The request had no effect: no connection, or no time left to send it."""

    late: bool


@dataclass(frozen=True)
class Lost:
    """The request may have had its effect; nobody heard the answer."""

    late: bool


class Wire:
    """The connections to one address, with one token. Threads share it; each request has one to itself."""

    def __init__(self, url: str, token: Revealing) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._local = _checked(self.url)
        self._tls = _tls(self.url)
        self._lock = threading.Lock()
        self._idle: list[_Line] = []
        self._closed = False

    def __repr__(self) -> str:
        return f"Wire({self.url!r})"

    def close(self) -> None:
        """Close the connections; those in use follow when their request is over."""
        with self._lock:
            self._closed = True
            lines, self._idle = self._idle, []
        for line in lines:
            line.close()

    def mask(self, text: str) -> str:
        """*text* without the token, should the service have repeated it."""
        token = self._token.reveal()
        return text.replace(token, "***") if token else text

    def exchange(
        self, method: str, path: str, body: Any, seconds: float, *, fresh: bool = False
    ) -> Reply | NotSent | Lost:
        """Send one request, once, and wait *seconds* at most for the whole answer; follow no redirect.

        *fresh*: over a new connection, so that the request cannot fall into one that is just being closed.
        Raises InvalidToken for a token that cannot be sent, InvalidSettings for a proxy that cannot be used.
        """
        line = self._take(fresh)
        whole = False
        try:
            outcome = line.exchange(method, self.url + path, body, seconds)
            whole = isinstance(outcome, Reply) and not outcome.large
        finally:
            self._give(line, reusable=whole)
        return outcome

    def _take(self, fresh: bool) -> _Line:
        if not re.fullmatch(r"[!-~]+", self._token.reveal()):
            # Before the library sees it: its own complaint would quote the header.
            raise InvalidToken("The API token is not one: it may hold no spaces and only ASCII characters.")
        with self._lock:
            if self._idle and not fresh:
                return self._idle.pop()
        return _Line(self._token, self._tls, local=self._local)

    def _give(self, line: _Line, *, reusable: bool) -> None:
        with self._lock:
            if reusable and not self._closed and len(self._idle) < MOST_IDLE:
                self._idle.append(line)
                return
        line.close()


class _Bearer(httpx.Auth):
    """Puts the token into the header when the request is made, so that no object keeps it."""

    def __init__(self, token: Revealing) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._token.reveal()}"
        yield request


class _Line:
    """One connection at most, used by one request at a time; so its socket is known to the deadline."""

    def __init__(self, token: Revealing, tls: ssl.SSLContext, *, local: bool) -> None:
        self.socket: socket.socket | None = None
        try:
            self._http = httpx.Client(
                auth=_Bearer(token),
                headers={
                    "Accept": "application/json",
                    "Cache-Control": "no-store",
                    "User-Agent": "gpu-job-runner",
                },
                verify=tls,
                follow_redirects=False,
                trust_env=not local,  # a proxy is for the way out, never for this computer
                limits=httpx.Limits(
                    max_connections=1, max_keepalive_connections=1, keepalive_expiry=IDLE_SECONDS
                ),
            )
        except (ImportError, ValueError, httpx.InvalidURL):
            problem = "The proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names cannot be used."
        else:
            return
        raise InvalidSettings(problem)

    def close(self) -> None:
        self._http.close()

    def exchange(self, method: str, url: str, body: Any, seconds: float) -> Reply | NotSent | Lost:
        """One request, one outcome; no exception of the library leaves this method."""
        watch = Deadline(self, seconds)
        content = None if body is None else json.dumps(body, allow_nan=False).encode()
        headers = {} if content is None else {"Content-Type": "application/json"}
        reply: Reply | None = None
        unsent = False
        try:
            with (
                silence(),
                self._http.stream(
                    method, url, content=content, headers=headers, extensions=watch.extensions
                ) as response,
            ):
                reply = _read(response, watch)
        except (TooLate, httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            unsent = True
        except Exception:  # noqa: BLE001 - whatever the library stumbled over, the answer is lost
            reply = None
        finally:
            watch.over()
        if unsent:
            return NotSent(watch.expired)
        # A connection that the deadline cut can look like an answer that came to its end.
        return Lost(watch.expired) if reply is None or watch.cut else reply


def _read(response: httpx.Response, watch: Deadline) -> Reply | None:
    pieces: list[bytes] = []
    size = 0
    for piece in response.iter_bytes():
        size += len(piece)
        if size > LARGEST_BODY:
            return Reply(response.status_code, b"", datetime.now(UTC), None, large=True)
        if watch.passed():
            return None
        pieces.append(piece)
    date = _date(response.headers.get("Date", ""))
    pause = _pause(response.headers.get("Retry-After", ""), date)
    return Reply(response.status_code, b"".join(pieces), date or datetime.now(UTC), pause)


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text.strip())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (TypeError, ValueError, OverflowError, IndexError):
        return None


def _pause(text: str, now: datetime | None) -> float | None:
    """Retry-After in seconds: a number, or a date by the service's own clock."""
    text = text.strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        return float(text)
    at = _date(text)
    return None if at is None else max(0.0, (at - (now or datetime.now(UTC))).total_seconds())


def _checked(url: str) -> bool:
    """Whether *url* is on this computer. Raises InvalidSettings where the token would travel in clear."""
    try:
        found = httpx.URL(url)
    except httpx.InvalidURL:
        found = httpx.URL("")
    try:
        local = ip_address(found.host).is_loopback
    except ValueError:
        local = found.host == "localhost"
    fits = found.scheme == "https" or (found.scheme == "http" and local)
    if not fits or not found.host or found.userinfo:
        raise InvalidSettings("RUNNER_API_URL must begin with https://, or name a loopback address.")
    return local


def _tls(url: str) -> ssl.SSLContext:
    """The certificates that are trusted, read once; none where nothing is encrypted."""
    if url.startswith("http://"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        return httpx.create_ssl_context()
    except OSError:
        problem = "The certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read."
    raise InvalidSettings(problem)
