"""The simulated API over HTTP: tokens, validation, faults and a log of requests around the operations.

What an answer is goes through one place, `Api.answer`, in the order in which a service would look: the token,
the limit of requests, a fault that answers by itself, rights, the body, the effect, a fault that spoils the
answer. An answer that is lost is a connection that is cut, so uvicorn's protocol is taught to cut it.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from runner.sim.cloud import Cloud, Refusal
from runner.sim.faults import Rule
from runner.sim.operations import Operation, operations
from runner.sim.shapes import Body, Deploy, Empty, checked, read_json

PREFIX = "/api/v1"
MAX_BODY = 1024 * 1024


@dataclass(frozen=True)
class Logged:
    """One request that came in. *status* is None where no answer was given; *at* is monotonic seconds."""

    at: float
    time: datetime
    method: str
    path: str
    operation: str
    body: Any
    status: int | None


class Connection(H11Protocol):
    """uvicorn's protocol, known by its peer's address, so that a connection can be cut without an answer."""

    known: dict[tuple[str, int], Connection]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note the connection."""
        super().connection_made(transport)
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each answer waits 40 ms for an ACK
        if self.client is not None:
            self.known[self.client] = self

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        if self.client is not None:
            self.known.pop(self.client, None)


class Api:
    """The ASGI application of one simulated cloud."""

    def __init__(self, cloud: Cloud, control: list[Route]) -> None:
        self.cloud = cloud
        self.log: deque[Logged] = deque(maxlen=5_000)
        self.connections: dict[tuple[str, int], Connection] = {}
        self.protocol = type("SimConnection", (Connection,), {"known": self.connections})
        self._tokens = math.inf
        self._refilled = time.monotonic()
        routes = [
            Route(PREFIX + operation.path, self._endpoint(operation), methods=[operation.method])
            for operation in operations(cloud)
        ]
        self.app = _on_loopback(
            Starlette(routes=[*routes, *control], exception_handlers={404: _unknown, 405: _unknown})
        )

    def _endpoint(self, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            at, moment = time.monotonic(), self.cloud.clock.now()
            raw = await _body(request)
            response = await self._answer(operation, request, raw)
            if response is None:
                await self._cut(request)
            status = None if response is None else response.status_code
            shown = None if raw is None else _readable(raw)
            self.log.append(
                Logged(at, moment, request.method, request.url.path, operation.name, shown, status)
            )
            return Response() if response is None else self._dated(response)

        return endpoint

    def _dated(self, response: Response) -> Response:
        now = self.cloud.clock.now() + timedelta(seconds=self.cloud.faults.date_offset_seconds)
        response.headers["date"] = format_datetime(now, usegmt=True)
        return response

    async def _answer(self, operation: Operation, request: Request, raw: bytes | None) -> Response | None:
        """The answer, or None for a connection that is to be cut without one."""
        may_write = self._rights(request)
        if may_write is None:
            return self.refuse(Refusal(401, "Invalid token"))
        if not self._within_limit():
            return self.refuse(Refusal(429, "Too many requests"), {"retry-after": "1"})
        if self.cloud.faults.no_key_api and "SshKey" in operation.name:
            return self.refuse(Refusal(404, "Not Found"))
        rule = self.cloud.faults.rule_for(operation.name)
        if rule is not None and rule.kind in ("status", "garbage", "refused"):
            return self._spoilt(rule)
        if rule is not None and rule.late_effect:
            await asyncio.sleep(rule.seconds)
        response = self._perform(operation, request, raw, may_write)
        if rule is None or rule.late_effect:
            return response
        if rule.kind == "slow":
            await asyncio.sleep(rule.seconds)
            return response
        if rule.kind == "hang":
            await _left(request)
        return None

    def _perform(
        self, operation: Operation, request: Request, raw: bytes | None, may_write: bool
    ) -> Response:
        try:
            if operation.write and not may_write:
                raise Refusal(403, "This token is read-only")
            body = None if operation.body is None else self._checked(operation.body, request, raw)
            answer = operation.work(body, str(next(iter(request.path_params.values()), "")))
        except Refusal as refusal:
            return self.refuse(refusal)
        return JSONResponse(answer, operation.status)

    def _checked(self, shape: type[Body], request: Request, raw: bytes | None) -> Body:
        if raw is None:
            raise Refusal(413, "Body too large")
        if shape is Empty and not raw:
            return Empty()
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refusal(415, "Content-Type must be application/json")
        try:
            value = read_json(raw)
        except ValueError:
            raise Refusal(400, "Body is not JSON") from None
        try:
            body = checked(shape, value)
        except ValueError as error:
            raise Refusal(400, str(error)) from None
        for name in self.cloud.faults.refuse_fields:
            if shape is Deploy and isinstance(value, dict) and name in value:
                raise Refusal(400, f'Unknown field: "{name}"')
        return body

    def _rights(self, request: Request) -> bool | None:
        """True for a token that may do everything, False for the read-only one, None for neither."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            return None
        config = self.cloud.config
        full = (config.token, *config.more_tokens)
        if any(hmac.compare_digest(token.encode(), one.encode()) for one in full):
            return True
        return False if hmac.compare_digest(token.encode(), config.read_only_token.encode()) else None

    def _within_limit(self) -> bool:
        limit = self.cloud.faults.rate_limit
        if limit is None:
            self._tokens = math.inf  # a limit that is set begins with all that it allows
            return True
        now = time.monotonic()
        self._tokens = min(max(limit, 1.0), self._tokens + (now - self._refilled) * limit)
        self._refilled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def refuse(self, refusal: Refusal, headers: dict[str, str] | None = None) -> Response:
        """An error in one of the forms in which errors come."""
        style = self.cloud.faults.error_style
        if style == "text":
            return PlainTextResponse(refusal.text, refusal.status, headers)
        content = {"errors": [{"detail": refusal.text}]} if style == "nested" else {"message": refusal.text}
        return JSONResponse(content, refusal.status, headers)

    def _spoilt(self, rule: Rule) -> Response | None:
        if rule.kind == "refused":
            return None
        if rule.kind == "garbage":
            return PlainTextResponse("<html>502 behind a proxy</html>", media_type="text/html")
        headers = None if rule.retry_after is None else {"retry-after": rule.retry_after}
        if rule.body is None:
            return self.refuse(Refusal(rule.status, f"Simulated error {rule.status}"), headers)
        if isinstance(rule.body, str):
            return PlainTextResponse(rule.body, rule.status, headers)
        return JSONResponse(rule.body, rule.status, headers)

    async def _cut(self, request: Request) -> None:
        connection = self.connections.get(tuple(request.scope["client"]))
        if connection is not None:
            connection.transport.abort()
        await _left(request)

    def cut_all(self) -> None:
        """Cut every connection."""
        for connection in list(self.connections.values()):
            connection.transport.abort()

    def may_control(self, request: Request) -> bool:
        """Whether the request carries the full token."""
        return self._rights(request) is True


def _on_loopback(app: ASGIApp) -> ASGIApp:
    """*app*, for those who call it by a loopback name only.

    A web page may have its own name point here; what its reader's browser sends then bears that name.
    """

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if _is_loopback(Request(scope).headers.get("host", "")):
            await app(scope, receive, send)
        else:
            refusal = JSONResponse({"message": "This cloud is called by a loopback address only"}, 421)
            await refusal(scope, receive, send)

    return guarded


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


async def _body(request: Request) -> bytes | None:
    """The body, None if it is larger than any that makes sense."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            return None
    return bytes(body)


async def _left(request: Request) -> None:
    """Wait until the client has gone, or its connection was cut."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _readable(raw: bytes) -> object:
    if not raw:
        return None
    try:
        return read_json(raw)
    except ValueError:
        return raw.decode("utf-8", "replace")


async def _unknown(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    return JSONResponse({"message": "Not Found" if status == 404 else "Method Not Allowed"}, status)
