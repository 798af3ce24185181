"""The client of the Massed Compute VM API.

Safe calls are repeated with a growing, jittered pause until their deadline; a pause that the service asks for
is honoured. **A deploy is never sent twice**: not by us, not by the transport, not by following a redirect.
Each request takes its own turn at the gate, which keeps the whole fleet below two requests a second.
The token is sent in one header and stands in no repr, log, error or process argument.
"""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import IntEnum
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import quote

import httpx

from jobs.errors import ApiError, NoAnswer, NotFound, RateLimited, ServerTrouble, Unsettled
from workers.cloud import errors, shapes

LARGEST_BODY = 32 << 20
BATCH = 100
DEADLINE_SECONDS = 20.0
REQUEST_SECONDS = 10.0
CONNECT_SECONDS = 5.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0


class Priority(IntEnum):
    """Who goes first where several wait for their turn."""

    TERMINATE = 0
    LIST = 1
    DEPLOY = 2
    REST = 3


class Gate(Protocol):
    """Where a request waits for its turn. Raises RateLimited where that would come after *deadline_s* seconds."""

    def enter(self, priority: Priority, deadline_s: float) -> None: ...


class NoGate:
    """Every request goes at once."""

    def enter(self, priority: Priority, deadline_s: float) -> None:
        """Do not wait."""


class LocalGate:
    """Two requests a second for this process: for commands that have no database."""

    def __init__(self, interval: float = 0.5) -> None:
        self._interval = interval
        self._lock = threading.Lock()
        self._next = time.monotonic()

    def enter(self, priority: Priority, deadline_s: float) -> None:
        """Wait for this request's turn."""
        with self._lock:
            now = time.monotonic()
            turn = max(self._next, now - self._interval)
            if turn - now > deadline_s:
                raise RateLimited("too many requests wait for their turn", status=None)
            self._next = turn + self._interval
        time.sleep(max(0.0, turn - now))


class Revealing(Protocol):
    """Something that holds the token and shows it only when asked to."""

    def reveal(self) -> str: ...


@dataclass(frozen=True)
class DeployRequest:
    """What to rent. ``key_fields``: the spellings under which the names of keys are sent."""

    image_id: int
    product: str
    name: str
    command: str = field(repr=False)
    key_names: tuple[str, ...] = ()
    key_fields: tuple[str, ...] = ("sshKey", "sshKeys")
    coupon: str | None = None

    def body(self) -> dict[str, Any]:
        """The request as the service wants it."""
        found: dict[str, Any] = {
            "imageId": self.image_id,
            "productName": self.product,
            "regionName": "any",
            "instanceName": self.name,
            "command": self.command,
        }
        if self.key_names:
            found |= {name: list(self.key_names) for name in self.key_fields}
        if self.coupon is not None:
            found["coupon"] = self.coupon
        return found


@dataclass(frozen=True)
class _Answer:
    body: Any
    date: datetime


class Cloud:
    """One account. Threads share it; ``stopping`` ends every wait between two tries."""

    def __init__(
        self,
        url: str,
        token: Revealing,
        *,
        gate: Gate | None = None,
        timeout: float = REQUEST_SECONDS,
        stopping: threading.Event | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._gate = gate or NoGate()
        self._timeout = timeout
        self._stopping = stopping or threading.Event()
        self._http = httpx.Client(
            headers={"Accept": "application/json", "User-Agent": "gpu-job-runner"},
            follow_redirects=False,
            trust_env=not _loopback(self._url),  # a proxy is for the way out, never for this computer
        )

    def __repr__(self) -> str:
        return f"Cloud({self._url!r})"

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Cloud:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def list_products(self, *, deadline_s: float = DEADLINE_SECONDS) -> tuple[shapes.Product, ...]:
        """What can be rented, and at which price. Raises ApiError."""
        return shapes.products(self._read("GET", "/gpu-inventory", deadline_s).body)

    def list_images(self, *, deadline_s: float = DEADLINE_SECONDS) -> tuple[shapes.Image, ...]:
        """The images of the account. Raises ApiError."""
        return shapes.images(self._read("GET", "/images", deadline_s).body)

    def list_instances(self, *, deadline_s: float = DEADLINE_SECONDS) -> shapes.Listing:
        """Every machine of the account, in one request. Raises ApiError."""
        answer = self._read("GET", "/instance", deadline_s, priority=Priority.LIST)
        found, complete = shapes.instances(answer.body)
        return shapes.Listing(found, answer.date, complete)

    def get_instance(self, uuid: str, *, deadline_s: float = DEADLINE_SECONDS) -> shapes.Instance | None:
        """One machine; None where the service says 404. Raises ApiError."""
        try:
            answer = self._read("GET", f"/instance/{_path(uuid)}", deadline_s, priority=Priority.LIST)
        except NotFound:
            return None
        found = shapes.one_instance(answer.body)
        if found is None:
            raise NoAnswer(
                f"Massed Compute described machine {uuid!r} in a way that makes no sense.", status=200
            )
        return found

    def deploy(self, request: DeployRequest, *, deadline_s: float = DEADLINE_SECONDS) -> str:
        """Rent a machine; returns its uuid. Sent once, whatever happens.

        Raises Unsettled (ServerTrouble, NoAnswer) where it may have happened; any other ApiError means that
        nothing was rented. RateLimited with a status of None: the request was never sent.
        """
        end = time.monotonic() + deadline_s
        self._gate.enter(Priority.DEPLOY, max(0.0, deadline_s - self._timeout / 2))
        left = end - time.monotonic()
        if left <= 0:
            raise RateLimited("the turn of this deploy came too late", status=None)
        try:
            answer = self._send(
                "POST", "/instance/launch", request.body(), min(left, self._timeout), writes=True
            )
        except _NotSent as error:
            raise RateLimited(f"{error} Nothing was sent.", status=None) from None
        uuid = answer.body.get("response") if isinstance(answer.body, dict) else None
        if not isinstance(uuid, str) or not uuid.strip():
            raise NoAnswer("Massed Compute accepted the deploy and named no machine.", status=202)
        return uuid.strip()

    def restart(self, uuids: Sequence[str], *, deadline_s: float = DEADLINE_SECONDS) -> None:
        """Restart machines: their disks stay, their processes do not. Raises ApiError."""
        self._gate.enter(Priority.REST, deadline_s)
        try:
            self._send(
                "POST", "/instance/restart", {"instanceUuids": list(uuids)}, self._timeout, writes=True
            )
        except _NotSent as error:
            raise NoAnswer(str(error)) from None

    def terminate(self, uuids: Sequence[str], *, deadline_s: float = DEADLINE_SECONDS) -> tuple[str, ...]:
        """End machines and all their data; returns those whose end the service acknowledged.

        Repeated until *deadline_s* is over: it may be done twice. A batch that is refused is halved, so that
        one uuid which the service does not like keeps no other; a uuid that it does not know is gone already.
        Raises ApiError where nothing at all could be ended.
        """
        end = time.monotonic() + deadline_s
        done: list[str] = []
        failure: ApiError | None = None
        for batch in _batches(uuids):
            try:
                done += self._terminate(batch, end)
            except ApiError as error:
                failure = error
        if failure is not None and not done:
            raise failure
        return tuple(done)

    def _terminate(self, uuids: tuple[str, ...], end: float) -> list[str]:
        body = {"instanceUuids": list(uuids)}
        left = max(0.1, end - time.monotonic())
        try:
            answer = self._read(
                "POST", "/instance/terminate", left, body=body, priority=Priority.TERMINATE, writes=True
            )
        except NotFound:
            if len(uuids) == 1:
                return list(uuids)
            return self._halves(uuids, end)
        except (Unsettled, RateLimited):
            raise
        except ApiError as error:
            if len(uuids) == 1 or error.status in (401, 402, 403):
                raise
            return self._halves(uuids, end)
        named = _acknowledged(answer.body)
        # A 2xx that names nobody is an acknowledgement of all.
        return list(uuids) if named is None else [uuid for uuid in uuids if uuid in named]

    def _halves(self, uuids: tuple[str, ...], end: float) -> list[str]:
        done: list[str] = []
        failure: ApiError | None = None
        middle = len(uuids) // 2
        for half in (uuids[:middle], uuids[middle:]):
            try:
                done += self._terminate(half, end)
            except ApiError as error:
                failure = error
        if failure is not None and not done:
            raise failure
        return done

    def validate_token(self, *, deadline_s: float = DEADLINE_SECONDS) -> None:
        """Raise InvalidToken unless the service accepts the token, and ApiError where it cannot be asked."""
        self._read("POST", "/account/token/validation", deadline_s, body={})

    def billing(self, *, deadline_s: float = DEADLINE_SECONDS) -> shapes.Billing:
        """The recharge settings. Raises ApiError."""
        return shapes.billing(self._read("GET", "/account/billing", deadline_s).body)

    def coupon(self, code: str, *, deadline_s: float = DEADLINE_SECONDS) -> shapes.Coupon | None:
        """A coupon; None where there is none. Raises ApiError."""
        try:
            body = self._read("POST", "/coupon/information", deadline_s, body={"coupon": code}).body
        except NotFound:
            return None
        return shapes.coupon(body.get("coupon") if isinstance(body, dict) else None)

    def coupon_products(
        self, code: str, *, deadline_s: float = DEADLINE_SECONDS
    ) -> tuple[shapes.Coupon | None, tuple[shapes.CouponProduct, ...]]:
        """A coupon, and the products that it is valid for at their prices with it. Raises ApiError."""
        try:
            body = self._read("POST", "/coupon/accepted-products", deadline_s, body={"coupon": code}).body
        except NotFound:
            return None, ()
        found = body.get("couponValidation") if isinstance(body, dict) else None
        if not isinstance(found, dict):
            return None, ()
        return shapes.coupon(found.get("coupon")), shapes.coupon_products(found.get("productDetails"))

    def list_keys(self, *, deadline_s: float = DEADLINE_SECONDS) -> tuple[shapes.SshKey, ...] | None:
        """The account's SSH keys; None where this account has no key API. Raises ApiError."""
        try:
            return shapes.ssh_keys(self._read("GET", "/ssh-keys", deadline_s).body)
        except NotFound:
            return None

    def add_key(self, name: str, public_key: str, *, deadline_s: float = DEADLINE_SECONDS) -> None:
        """Add a key. *name*: letters, digits and spaces only. Raises ApiError, also where the name is taken."""
        self._gate.enter(Priority.REST, deadline_s)
        body = {"name": name, "publicKey": public_key}
        try:
            self._send("POST", "/ssh-keys", body, min(self._timeout, deadline_s), writes=True)
        except _NotSent as error:
            raise NoAnswer(str(error)) from None

    def remove_key(self, key_id: str, *, deadline_s: float = DEADLINE_SECONDS) -> None:
        """Remove a key; one that is not there is no error. Raises ApiError."""
        try:
            self._read("DELETE", f"/ssh-keys/{_path(key_id)}", deadline_s, writes=True)
        except NotFound:
            return

    def _read(
        self,
        method: str,
        path: str,
        deadline_s: float,
        *,
        body: Any = None,
        priority: Priority = Priority.REST,
        writes: bool = False,
    ) -> _Answer:
        """A call that may be repeated, until its deadline."""
        end = time.monotonic() + deadline_s
        for tries in itertools.count():
            left = end - time.monotonic()
            self._gate.enter(priority, max(0.0, left))
            left = max(0.05, end - time.monotonic())
            try:
                return self._send(method, path, body, min(left, self._timeout), writes=writes)
            except _NotSent as error:
                failure: ApiError = NoAnswer(str(error))
            except (ServerTrouble, NoAnswer, RateLimited) as error:
                failure = error
            asked = failure.retry_after if isinstance(failure, RateLimited) else None
            pause = max(asked or 0.0, _backoff(tries))
            if time.monotonic() + pause >= end or self._stopping.wait(pause):
                raise failure
        raise AssertionError("unreachable")

    def _send(self, method: str, path: str, body: Any, timeout: float, *, writes: bool = False) -> _Answer:
        """One request, one answer. Raises _NotSent where provably nothing left this computer."""
        token = self._token.reveal()
        what = f"{method} {path.split('/')[1]}"
        end = time.monotonic() + timeout
        try:
            with self._http.stream(
                method,
                self._url + path,
                json=body,
                headers={"Authorization": f"Bearer {token}"},
                timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
            ) as response:
                content = _content(response, end)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol):
            raise _NotSent(
                f"Massed Compute cannot be reached at {self._url}; check the network and RUNNER_API_URL."
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise errors.no_answer(error, what) from None
        if not response.is_success:
            raise errors.from_response(response, content, writes=writes, token=token)
        return _Answer(_json(content, what) if content.strip() else None, _date(response))


class _NotSent(Exception):
    """No connection was made: the request had no effect."""


def _content(response: httpx.Response, end: float) -> bytes:
    """The answer's body, bounded in size and in time: one that drips must not hold a thread for ever."""
    pieces, size = [], 0
    for piece in response.iter_bytes():
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST_BODY:
            raise NoAnswer(
                f"Massed Compute answered with more than {LARGEST_BODY >> 20} MiB; that makes no sense."
            )
        if time.monotonic() > end:
            raise httpx.ReadTimeout("the answer took too long")
    return b"".join(pieces)


def _json(content: bytes, what: str) -> Any:
    try:
        return json.loads(content, parse_constant=lambda _name: None)
    except (ValueError, RecursionError):
        raise NoAnswer(
            f"Massed Compute's answer to {what} is not JSON; check RUNNER_API_URL.", status=200
        ) from None


def _date(response: httpx.Response) -> datetime:
    """The service's own time; ours where it names none."""
    try:
        found = parsedate_to_datetime(response.headers.get("Date", ""))
    except (TypeError, ValueError):
        return datetime.now(UTC)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _acknowledged(body: Any) -> set[str] | None:
    """The uuids in the answer to a terminate; None where it names nobody at all."""
    found = body
    for name in ("response", "data", "terminated_instances"):
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, list):
        return None
    return {str(item.get("id")) for item in found if isinstance(item, dict)}


def _batches(uuids: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for start in range(0, len(uuids), BATCH):
        yield tuple(uuids[start : start + BATCH])


def _loopback(url: str) -> bool:
    host = httpx.URL(url).host
    return host in ("localhost", "::1") or host.startswith("127.")


def _path(part: str) -> str:
    return quote(part, safe="")


def _backoff(tries: int) -> float:
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(tries, 8)) * random.uniform(0.75, 1.25)
