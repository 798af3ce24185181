"""The API's refusals and failures as our tree of errors (``jobs.errors``).

The service documents no body for its errors: text, or JSON under any key. What it says is kept for the
person, short and without control characters; what it means is read from the status and a few words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from jobs.errors import (
    ApiError,
    BadRequest,
    FieldRefused,
    ImageRefused,
    InvalidToken,
    NoAnswer,
    NoCapacity,
    NotFound,
    PaymentRequired,
    QuotaExceeded,
    RateLimited,
    ReadOnlyToken,
    ServerTrouble,
)

LONGEST = 300
KNOWN_FIELDS = (
    "sshKeys",
    "sshKey",
    "instanceName",
    "command",
    "coupon",
    "regionName",
    "productName",
    "imageId",
)

_FIELD_WORDS = re.compile(
    r"unknown|unrecogni[sz]ed|unexpected|not allowed|not permitted|additional|unsupported|invalid field", re.I
)
_CAPACITY = re.compile(r"capacity|out of stock|no stock|not in stock", re.I)
_QUOTA = re.compile(r"quota|limit exceeded|limit reached|maximum number of instances", re.I)
_IMAGE = re.compile(r"\bimage\b", re.I)
_IMAGE_WORDS = re.compile(r"support|compatible|not valid for|not available for", re.I)


def from_response(response: httpx.Response, body: bytes, *, writes: bool, token: str) -> ApiError:
    """The error that an answer other than 2xx stands for. ``writes``: the call would have changed something."""
    status = response.status_code
    said = _said(body, token)
    tail = f": {said}" if said else ""
    match status:
        case 401:
            return InvalidToken(
                "Massed Compute refused the API token; check it, and store it with `runner init`.",
                status=status,
            )
        case 402:
            return PaymentRequired(
                f"The account cannot pay: set up or mend its recharge settings{tail}", status=status
            )
        case 403 if writes:
            return ReadOnlyToken(
                f"The API token may only read; store one that may write with `runner init`{tail}",
                status=status,
            )
        case 403:
            return InvalidToken(f"Massed Compute does not let this API token do that{tail}", status=status)
        case 429:
            return RateLimited(
                f"Massed Compute asks for fewer requests{tail}", retry_after=retry_after(response)
            )
        case _ if status >= 500:
            return ServerTrouble(f"Massed Compute failed ({status}){tail}", status=status)
        case _ if _CAPACITY.search(said):
            return NoCapacity(f"Massed Compute has none left{tail}", status=status)
        case _ if _QUOTA.search(said):
            return QuotaExceeded(f"The account's limit is reached{tail}", status=status)
        case _ if _IMAGE.search(said) and _IMAGE_WORDS.search(said):
            return ImageRefused(f"The image does not fit the product{tail}", status=status)
        case _ if (name := _refused_field(said)) is not None:
            return FieldRefused(
                f"Massed Compute does not take the field {name}{tail}", field=name, status=status
            )
        case 404:
            return NotFound(f"Massed Compute knows no such thing{tail}", status=status)
        case _ if 300 <= status < 400:
            return NoAnswer(
                f"The API's address answers with a redirect ({status}); check RUNNER_API_URL.", status=status
            )
        case _:
            return BadRequest(f"Massed Compute refused the request ({status}){tail}", status=status)


def no_answer(error: Exception, what: str) -> NoAnswer:
    """A request that came to no answer. The library's own text may hold addresses only, so it is left out."""
    kind = "in time" if isinstance(error, httpx.TimeoutException) else "at all"
    return NoAnswer(f"Massed Compute did not answer {kind} ({what}); check the network and RUNNER_API_URL.")


def retry_after(response: httpx.Response) -> float | None:
    """The pause that an answer asks for, in seconds: a number, or a date."""
    value = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", value):
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def _refused_field(said: str) -> str | None:
    if not _FIELD_WORDS.search(said):
        return None
    for name in KNOWN_FIELDS:  # the longer spelling first: one is the beginning of the other
        if re.search(rf"\b{name}\b", said):
            return name
    return None


def _said(body: bytes, token: str) -> str:
    """What the service says, for a person."""
    text = body[:20_000].decode("utf-8", "replace")
    try:
        text = "; ".join(_words(json.loads(text))) or text
    except (ValueError, RecursionError):
        text = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", text, flags=re.S | re.I)
    if token:
        text = text.replace(token, "***")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _words(value: Any, depth: int = 0) -> Iterator[str]:
    """All text in an answer, wherever it stands."""
    if isinstance(value, str):
        yield value
    elif depth < 5 and isinstance(value, dict):
        for item in value.values():
            yield from _words(item, depth + 1)
    elif depth < 5 and isinstance(value, list):
        for item in value:
            yield from _words(item, depth + 1)
