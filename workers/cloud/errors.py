"""The API's refusals and failures as our tree of errors (``jobs.errors``).

The service documents no body for its errors: text, or JSON under any key. What it says is kept for the
person, short, without control characters and without the token; what it means is read from the status and,
for a deploy, from a few words.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

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
from workers.cloud.wire import LARGEST_BODY, Lost, NotSent, Reply

LONGEST = 300
DEPLOY_FIELDS = (
    "imageId",
    "productName",
    "regionName",
    "instanceName",
    "command",
    "coupon",
    "sshKey",
    "sshKeys",
)

_CAPACITY = re.compile(r"capacity|out of stock|no stock|not in stock", re.I)
_QUOTA = re.compile(r"quota|(?<!rate )limit (exceeded|reached)|maximum number of instances", re.I)
_IMAGE = re.compile(r"\bimage\b", re.I)
_IMAGE_WORDS = re.compile(r"support|compatible|not valid for|not available for", re.I)
_FIELD = re.compile(rf"\b({'|'.join(DEPLOY_FIELDS)})\b")
_FIELD_WORDS = re.compile(
    r"\b(unknown|unrecogni[sz]ed|unexpected|unsupported|invalid|extra|additional) "
    r"(request |body |json )?(fields?|propert(y|ies)|parameters?|attributes?|arguments?|inputs?|keys? in)\b"
    r"|unrecogni[sz]ed key|additionalProperties"
    rf"|\b(unknown|unrecogni[sz]ed|unexpected|unsupported)[^A-Za-z]{{1,4}}({'|'.join(DEPLOY_FIELDS)})\b"
    r"|\bnot (allowed|permitted|recogni[sz]ed)\b|\b(should|must) not (exist|be present)\b",
    re.I,
)


def refusal(reply: Reply, what: str, *, writes: bool, deploys: bool, mask: Callable[[str], str]) -> ApiError:
    """The error that an answer other than 2xx stands for.

    *what*: the call, for the person. *writes*: it would have changed something. *deploys*: the words of a
    refused deploy are looked for. *mask* takes the token out of a text.
    """
    status = reply.status
    said = _said(reply.content, mask)
    tail = f": {said}" if said else "."
    if 300 <= status < 400:
        return NoAnswer(
            f"The API's address answers with a redirect ({status}); check RUNNER_API_URL.", status=status
        )
    if status == 401:
        return InvalidToken(
            "Massed Compute refused the API token; check it, and store it with `runner init`.", status=status
        )
    if status == 402:
        return PaymentRequired(
            f"The account cannot pay: set up or mend its recharge settings{tail}", status=status
        )
    if status == 429:
        return RateLimited(f"Massed Compute asks for fewer requests{tail}", retry_after=reply.pause)
    if status >= 500 or status < 200:
        return ServerTrouble(f"Massed Compute failed ({what}: {status}){tail}", status=status)
    if status == 408:  # what had arrived by then, nobody knows
        return NoAnswer(f"Massed Compute gave up waiting ({what}: {status}){tail}", status=status)
    if deploys and (error := _refused_deploy(status, said, tail)) is not None:
        return error
    if status == 403 and writes:
        return ReadOnlyToken(
            f"The API token may only read; store one that may write with `runner init`{tail}", status=status
        )
    if status == 403:
        return InvalidToken(
            f"Massed Compute does not let this API token do that ({what}){tail}", status=status
        )
    if status == 404:
        return NotFound(f"Massed Compute knows no such thing ({what}){tail}", status=status)
    return BadRequest(f"Massed Compute refused the request ({what}: {status}){tail}", status=status)


def lost(outcome: Lost, what: str) -> NoAnswer:
    """No answer was heard. The library's own words are left out: they may hold what was sent."""
    how = "in time" if outcome.late else "what was asked, and the connection broke"
    return NoAnswer(f"Massed Compute did not answer {how} ({what}); check the network and RUNNER_API_URL.")


def unreachable(outcome: NotSent, url: str) -> str:
    """Nothing was sent, for a person."""
    if outcome.late:
        return f"There was no time left to send the request to {url}; nothing was sent."
    return (
        f"Massed Compute cannot be reached at {url}; check the network and RUNNER_API_URL. Nothing was sent."
    )


def nonsense(reply: Reply, what: str) -> NoAnswer:
    """An answer that says it is one and is not."""
    problem = f"is larger than {LARGEST_BODY >> 20} MiB" if reply.large else "makes no sense"
    return NoAnswer(f"Massed Compute's answer {problem} ({what}); check RUNNER_API_URL.", status=reply.status)


def _refused_deploy(status: int, said: str, tail: str) -> ApiError | None:
    if _CAPACITY.search(said):
        return NoCapacity(f"Massed Compute has none left{tail}", status=status)
    if _QUOTA.search(said):
        return QuotaExceeded(f"The account's limit is reached{tail}", status=status)
    if _IMAGE.search(said) and _IMAGE_WORDS.search(said):
        return ImageRefused(f"The image does not fit the product{tail}", status=status)
    words = _FIELD_WORDS.search(said)
    if words is not None:
        # "Unknown field sshKey, did you mean sshKeys?": the name that stands nearest to the word is meant.
        named = [(_distance(words, field), field[1]) for field in _FIELD.finditer(said)]
        if named:
            field = min(named)[1]
            return FieldRefused(
                f"Massed Compute does not take the field {field}{tail}", field=field, status=status
            )
    return None


def _distance(words: re.Match[str], field: re.Match[str]) -> int:
    return max(0, field.start() - words.end(), words.start() - field.end())


def _said(body: bytes, mask: Callable[[str], str]) -> str:
    """What the service says, for a person."""
    text = body.decode("utf-8", "replace")
    try:
        text = "; ".join(_words(json.loads(text))) or text
    except (ValueError, RecursionError):
        text = re.sub(r"(?is)<(script|style)\b.*?</\1>|<[^>]*>", " ", mask(text)[: LONGEST * 20])
        text = html.unescape(text)
    text = mask(text)[: LONGEST * 20]
    text = mask(" ".join("".join(c if c.isprintable() else " " for c in text).split()))
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _words(value: Any, name: str = "", depth: int = 0) -> Iterator[str]:
    """All text in an answer, wherever it stands; with the field's name where it is about one of ours."""
    if isinstance(value, str):
        yield f"{name}: {value}" if name in DEPLOY_FIELDS else value
    elif depth < 8 and isinstance(value, dict):
        for key, item in value.items():
            yield from _words(item, key, depth + 1)
    elif depth < 8 and isinstance(value, list):
        for item in value:
            yield from _words(item, name, depth + 1)
