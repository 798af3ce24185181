"""The client of the Massed Compute VM API.

Safe calls are repeated with a growing, jittered pause until their deadline; a pause that the service asks for
is honoured. **A deploy is never sent twice**: not by us, not by the transport, not by following a redirect.
Each request takes its own turn at the gate, which keeps the whole fleet below two requests a second.
The token is sent in one header and stands in no repr, log, error or process argument.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from jobs.backoff import doubling
from jobs.errors import ApiError, BadRequest, NoAnswer, NotFound, RateLimited, Unsettled
from jobs.values import shown
from workers.cloud import errors, shapes
from workers.cloud.gate import Gate, LocalGate, NoGate, Priority
from workers.cloud.wire import Lost, NotSent, Reply, Revealing, Wire

__all__ = ["Cloud", "DeployRequest", "Gate", "LocalGate", "NoGate", "Priority", "Revealing"]

BATCH = 100
"""How many machines one terminate or restart may name."""
KEY_NAME = re.compile(r"[A-Za-z0-9 ]{1,64}")
DEADLINE_SECONDS = 20.0
REQUEST_SECONDS = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0

T = TypeVar("T")


@dataclass(frozen=True)
class DeployRequest:
    """What to rent. ``key_fields``: the spellings under which the names of keys are sent.

    Raises ValueError for what no machine can be rented with, before anything is sent.
    """

    image_id: int
    product: str
    name: str
    command: str = field(repr=False)
    key_names: tuple[str, ...] = ()
    key_fields: tuple[str, ...] = ("sshKey", "sshKeys")
    coupon: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.image_id, bool) or not isinstance(self.image_id, int):
            raise ValueError("the id of an image is a whole number")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,63}", self.name):
            raise ValueError("an instance's name: letters, digits, - and _, 63 at most")
        if not self.product:
            raise ValueError("a deploy names its product")
        if not self.command and not (self.key_names and self.key_fields):
            raise ValueError("a machine with neither key nor command can be entered by nobody")

    def body(self) -> dict[str, Any]:
        """The request as the service wants it."""
        found: dict[str, Any] = {
            "imageId": self.image_id,
            "productName": self.product,
            "regionName": "any",
            "instanceName": self.name,
        }
        if self.command:
            found["command"] = self.command
        if self.key_names:
            found |= {name: list(self.key_names) for name in self.key_fields}
        if self.coupon is not None:
            found["coupon"] = self.coupon
        return found


@dataclass(frozen=True)
class _Answer(Generic[T]):
    value: T
    date: datetime


@dataclass(frozen=True)
class _Failure:
    """``pause``: the seconds that the service asks for. ``passing``: it may go better in a while."""

    error: ApiError
    pause: float | None = None
    passing: bool = False


class Cloud:
    """One account. Threads share it; ``stopping`` ends every wait between two tries.

    ``timeout``: seconds that one request may take. Every operation takes ``deadline_s``, the seconds that it
    may take in all, with waiting for its turn and repeating; RateLimited where no turn comes in time.
    """

    def __init__(
        self,
        url: str,
        token: Revealing,
        *,
        gate: Gate | None = None,
        timeout: float = REQUEST_SECONDS,
        stopping: threading.Event | None = None,
    ) -> None:
        self._wire = Wire(url, token)
        self._gate = gate or NoGate()
        self._timeout = timeout
        self._stopping = stopping or threading.Event()

    def __repr__(self) -> str:
        return f"Cloud({self._wire.url!r})"

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()

    def __enter__(self) -> Cloud:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What there is

    def list_products(self, *, deadline_s: float = DEADLINE_SECONDS) -> tuple[shapes.Product, ...]:
        """What can be rented, and at which price. Raises ApiError."""
        return self._ask("GET", "/gpu-inventory", shapes.products, deadline_s).value

    def list_images(self, *, deadline_s: float = DEADLINE_SECONDS) -> tuple[shapes.Image, ...]:
        """The images of the account. Raises ApiError."""
        return self._ask("GET", "/images", shapes.images, deadline_s).value

    def list_instances(self, *, deadline_s: float = DEADLINE_SECONDS) -> shapes.Listing:
        """Every machine of the account, in one request. Raises ApiError."""
        answer = self._ask("GET", "/instance", shapes.instances, deadline_s, priority=Priority.LIST)
        found, complete = answer.value
        return shapes.Listing(found, answer.date, complete)

    def get_instance(self, uuid: str, *, deadline_s: float = DEADLINE_SECONDS) -> shapes.Instance | None:
        """One machine; None where the service says 404, and nothing else. Raises ApiError."""
        path = f"/instance/{_part(uuid)}"
        try:
            return self._ask(
                "GET", path, lambda body: shapes.one_instance(body, uuid), deadline_s, priority=Priority.LIST
            ).value
        except NotFound:
            return None

    def validate_token(self, *, deadline_s: float = DEADLINE_SECONDS) -> None:
        """Raise InvalidToken unless the service accepts the token, and ApiError where it cannot be asked."""
        self._ask("POST", "/account/token/validation", _anything, deadline_s)

    def billing(self, *, deadline_s: float = DEADLINE_SECONDS) -> shapes.Billing:
        """The recharge settings. Raises ApiError."""
        return self._ask("GET", "/account/billing", shapes.billing, deadline_s).value

    def coupon(self, code: str, *, deadline_s: float = DEADLINE_SECONDS) -> shapes.Coupon | None:
        """A coupon; None where there is none. Raises ApiError."""
        body = {"coupon": code}
        try:
            found = self._ask("POST", "/coupon/information", _coupon, deadline_s, body=body).value
        except NotFound:
            return None
        return found[0]

    def coupon_products(
        self, code: str, *, deadline_s: float = DEADLINE_SECONDS
    ) -> tuple[shapes.Coupon | None, tuple[shapes.CouponProduct, ...]]:
        """A coupon, and the products that it is valid for; (None, ()) without one. Raises ApiError."""
        body, read = {"coupon": code}, shapes.coupon_validation
        try:
            return self._ask("POST", "/coupon/accepted-products", read, deadline_s, body=body).value
        except NotFound:
            return None, ()

    # Machines

    def deploy(self, request: DeployRequest, *, deadline_s: float = DEADLINE_SECONDS) -> str:
        """Rent a machine; returns its uuid. Sent once, whatever happens, and not after *deadline_s*.

        Raises Unsettled (ServerTrouble, NoAnswer) where it may have happened; any other ApiError means that
        nothing was rented. RateLimited with a status of None: the request was never sent.
        """
        end = time.monotonic() + deadline_s
        # The turn may use up what a request does not need; with too little left, the answer would be missed.
        needed = min(self._timeout, deadline_s) / 2
        self._gate.enter(Priority.DEPLOY, max(0.0, deadline_s - needed))
        left = end - time.monotonic()
        if left < needed / 2:
            raise RateLimited("The turn of this deploy came too late; nothing was sent.", status=None)
        outcome = self._once(
            "POST", "/instance/launch", _deployed, left, body=request.body(), writes=True, deploys=True
        )
        if isinstance(outcome, _Failure):
            raise outcome.error
        return outcome.value

    def terminate(self, uuids: Sequence[str], *, deadline_s: float = DEADLINE_SECONDS) -> tuple[str, ...]:
        """End machines and all their data; returns those whose end the service acknowledged.

        Repeated until *deadline_s* is over: it may be done twice. A batch that is refused is halved, so that
        one uuid which the service does not like keeps no other; a uuid that it does not know is gone already.
        Raises ApiError where something failed and nothing at all was acknowledged.
        """
        end = time.monotonic() + deadline_s
        done: set[str] = set()
        failure: ApiError | None = None
        wanted = [uuid for uuid in dict.fromkeys(uuids) if shapes.is_uuid(uuid)]
        if len(wanted) < len(set(uuids)):
            failure = BadRequest("What is no uuid of a machine was not sent.")
        work = deque(tuple(wanted[start : start + BATCH]) for start in range(0, len(wanted), BATCH))
        tries = 0
        while work:
            batch = work.popleft()
            outcome = self._terminate(batch, end)
            if not isinstance(outcome, _Failure):
                done |= outcome
                tries = 0
                continue
            error = failure = outcome.error
            if error.status in (401, 402, 403) or (isinstance(error, RateLimited) and error.status is None):
                break  # the next batch would meet the same
            if outcome.passing and (error.status != 500 or len(wanted) == 1):
                work.appendleft(batch)
                if not self._pause(tries, outcome.pause, end):
                    break
                tries += 1
            elif len(batch) > 1:  # one uuid may be what it stumbles over, and a 500 be its way to say so
                middle = len(batch) // 2
                work.extendleft((batch[middle:], batch[:middle]))
        if failure is not None and not done:
            raise failure
        return tuple(uuid for uuid in uuids if uuid in done)

    def _terminate(self, batch: tuple[str, ...], end: float) -> set[str] | _Failure:
        try:
            left = self._turn(Priority.TERMINATE, end)
        except RateLimited as error:
            return _Failure(error)
        outcome = self._once(
            "POST", "/instance/terminate", _anything, left, body={"instanceUuids": batch}, writes=True
        )
        if isinstance(outcome, _Failure):
            gone = isinstance(outcome.error, NotFound) and len(batch) == 1
            return set(batch) if gone else outcome
        named = shapes.acknowledged(outcome.value[0])
        # A 2xx that names nobody at all acknowledges everybody: that they are gone is proved elsewhere.
        return {uuid for uuid in batch if named is None or uuid.lower() in named}

    def restart(self, uuids: Sequence[str], *, deadline_s: float = DEADLINE_SECONDS) -> tuple[str, ...]:
        """Restart machines, BATCH at most: their disks stay, their processes do not. Sent once.

        Returns those whose restart the service acknowledged. Raises ApiError.
        """
        for uuid in uuids:
            _part(uuid)
        body = {"instanceUuids": list(uuids)}
        named = shapes.restarted(self._write("/instance/restart", body, deadline_s))
        return tuple(uuid for uuid in uuids if named is None or uuid.lower() in named)

    # Keys

    def list_keys(self, *, deadline_s: float = DEADLINE_SECONDS) -> tuple[shapes.SshKey, ...] | None:
        """The account's SSH keys; None where this account has no key API. Raises ApiError."""
        try:
            return self._ask("GET", "/ssh-keys", shapes.ssh_keys, deadline_s).value
        except NotFound:
            return None

    def add_key(self, name: str, public_key: str, *, deadline_s: float = DEADLINE_SECONDS) -> str | None:
        """Add a key; returns its id, where the service tells it. *name*: letters, digits and spaces only.

        Sent once. Raises ApiError, also where the name is taken, and ValueError for what cannot be a name.
        """
        if not KEY_NAME.fullmatch(name):
            raise ValueError("the name of a key: letters, digits and spaces, 64 at most")
        body = {"name": name, "publicKey": public_key}
        return shapes.added_key(self._write("/ssh-keys", body, deadline_s))

    def remove_key(self, key_id: str, *, deadline_s: float = DEADLINE_SECONDS) -> None:
        """Remove a key; one that is not there is no error. Raises ApiError."""
        path = f"/ssh-keys/{_part(key_id)}"
        try:
            self._ask("DELETE", path, _anything, deadline_s, writes=True)
        except NotFound:
            return

    # How

    def _ask(
        self,
        method: str,
        path: str,
        read: Callable[[Any], T | None],
        deadline_s: float,
        *,
        body: Any = None,
        priority: Priority = Priority.REST,
        writes: bool = False,
    ) -> _Answer[T]:
        """A call that may be repeated, until its deadline. *read* answers None for what makes no sense."""
        end = time.monotonic() + deadline_s
        failure: ApiError | None = None
        for tries in itertools.count():
            try:
                left = self._turn(priority, end)
            except RateLimited:
                if failure is None:
                    raise
                break  # what the service said is of more use than that there is no turn left
            outcome = self._once(method, path, read, left, body=body, writes=writes)
            if isinstance(outcome, _Answer):
                return outcome
            failure = outcome.error
            if not outcome.passing or not self._pause(tries, outcome.pause, end):
                break
        if failure is None:
            raise AssertionError("a call ends with an answer or a failure")
        raise failure

    def _write(self, path: str, body: Any, deadline_s: float) -> Any:
        """A POST that is not repeated; returns what the service answers."""
        left = self._turn(Priority.REST, time.monotonic() + deadline_s)
        outcome = self._once("POST", path, _anything, left, body=body, writes=True)
        if isinstance(outcome, _Failure):
            raise outcome.error
        return outcome.value[0]

    def _turn(self, priority: Priority, end: float) -> float:
        """Wait for a turn at the gate; returns the seconds that are left then. Raises RateLimited."""
        self._gate.enter(priority, max(0.0, end - time.monotonic()))
        left = end - time.monotonic()
        if left <= 0:
            raise RateLimited("No turn came in time: the API gets only a few requests a second.", status=None)
        return left

    def _pause(self, tries: int, asked: float | None, end: float) -> bool:
        """Wait before the next try; False where there is none, because time is over or the process stops."""
        pause = doubling(FIRST_PAUSE, LONGEST_PAUSE, tries)
        pause = max(pause, asked or 0.0)
        return time.monotonic() + pause < end and not self._stopping.wait(pause)

    def _once(
        self,
        method: str,
        path: str,
        read: Callable[[Any], T | None],
        left: float,
        *,
        body: Any = None,
        writes: bool = False,
        deploys: bool = False,
    ) -> _Answer[T] | _Failure:
        """One request and what it came to. Raises what :class:`Wire` raises."""
        what = f"{method} /{path.split('/')[1]}"
        reply = self._wire.exchange(method, path, body, min(left, self._timeout), fresh=deploys)
        if isinstance(reply, NotSent):
            said = errors.unreachable(reply, self._wire.url)
            if deploys:
                return _Failure(RateLimited(said, status=None))
            return _Failure(NoAnswer(said), passing=True)
        if isinstance(reply, Lost):
            return _Failure(errors.lost(reply, what), passing=True)
        if not 200 <= reply.status < 300:
            error = errors.refusal(reply, what, writes=writes, deploys=deploys, mask=self._wire.mask)
            if isinstance(error, RateLimited) and reply.pause:
                self._gate.silence(reply.pause)
            passing = isinstance(error, Unsettled | RateLimited) and not 300 <= reply.status < 400
            return _Failure(error, reply.pause, passing)
        value = _parsed(reply, read)
        if value is None:
            return _Failure(errors.nonsense(reply, what), passing=True)
        return _Answer(value, reply.date)


def _parsed(reply: Reply, read: Callable[[Any], T | None]) -> T | None:
    """What the reader makes of an answer; None where it is no JSON, or not what was asked for."""
    if reply.large:
        return None
    try:
        body = json.loads(
            reply.content.strip() or b"null", parse_constant=_no_number, parse_int=_whole_number
        )
    except (ValueError, RecursionError):
        return None
    return read(body)


def _no_number(_name: str) -> None:
    """NaN and infinities are no numbers: what stands beside them can still be read."""


def _whole_number(text: str) -> int | None:
    """A number; None for one of thousands of digits, for which Python would refuse the whole answer."""
    return int(text) if len(text) <= 30 else None


def _anything(body: Any) -> tuple[Any]:
    return (body,)


def _coupon(body: Any) -> tuple[shapes.Coupon | None] | None:
    return (shapes.coupon(body.get("coupon")),) if isinstance(body, dict) else None


def _deployed(body: Any) -> str | None:
    uuid = body.get("response") if isinstance(body, dict) else None
    found = uuid.strip() if isinstance(uuid, str) else ""
    return found if shapes.is_uuid(found) else None


def _part(text: str) -> str:
    """A uuid or an id as a part of an address. Raises BadRequest for what is none."""
    if not shapes.is_uuid(text):
        raise BadRequest(f"{shown(text)} is no uuid of a machine and no id of a key.")
    return quote(text, safe="")
