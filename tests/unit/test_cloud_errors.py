"""What a refusal means is read from its status and a few words; what it says is kept for the person."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    Unsettled,
)
from tests.properties import examples
from workers.cloud import errors
from workers.cloud.wire import Reply

TOKEN = "tok-4f9a-never-to-be-seen"


def refused(
    status: int, body: object = "", *, writes: bool = True, deploys: bool = True, pause: float | None = None
) -> ApiError:
    """The error of one answer."""
    raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    reply = Reply(status, raw, datetime.now(UTC), pause)
    return errors.refusal(
        reply, "POST /x", writes=writes, deploys=deploys, mask=lambda text: text.replace(TOKEN, "***")
    )


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, "", InvalidToken),
        (402, "add recharge settings", PaymentRequired),
        (403, "This token is read-only", ReadOnlyToken),
        (404, "Not Found", NotFound),
        (408, "", NoAnswer),
        (409, "", BadRequest),
        (429, "Rate limit exceeded", RateLimited),
        (500, "out of stock", ServerTrouble),
        (502, "<html>", ServerTrouble),
        (503, "", ServerTrouble),
        (101, "", ServerTrouble),
        (301, "", NoAnswer),
        (307, "", NoAnswer),
        (400, "Rate limit exceeded", BadRequest),
        (400, "Product is currently out of stock", NoCapacity),
        (400, "Insufficient CAPACITY in region", NoCapacity),
        (422, "No stock", NoCapacity),
        (403, "Instance limit exceeded for this account", QuotaExceeded),
        (400, "GPU quota reached", QuotaExceeded),
        (400, "Product does not support the VM Image", ImageRefused),
        (400, "image 84 is not compatible with gpu_1x_l40", ImageRefused),
        (400, "VM Image not found: 84", BadRequest),
        (400, "SSH key not found: x", BadRequest),
        (400, "unknown SSH key name in sshKeys: x", BadRequest),
        (400, "Invalid value for sshKeys: expected a list", BadRequest),
        (418, "😀", BadRequest),
    ],
)
def test_a_refused_deploy(status: int, body: str, kind: type[ApiError]) -> None:
    for shape in (body, {"message": body}, {"errors": [{"detail": body}]}, [body]):
        error = refused(status, shape)
        assert type(error) is kind
        assert error.status == status


@pytest.mark.parametrize("status", [*range(400, 408), *range(409, 429)])
def test_a_4xx_never_leaves_open_whether_it_happened(status: int) -> None:
    assert not isinstance(refused(status), Unsettled)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 520, 599, 302, 308])
def test_these_leave_open_whether_it_happened(status: int) -> None:
    assert isinstance(
        refused(status, "out of stock; quota; image not supported; unknown field sshKeys"), Unsettled
    )


def test_the_words_count_for_a_deploy_only() -> None:
    assert type(refused(400, "out of stock", deploys=False)) is BadRequest
    assert type(refused(403, "quota", deploys=False, writes=False)) is InvalidToken
    assert type(refused(404, "unknown field sshKeys", deploys=False)) is NotFound


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('Unknown field: "sshKeys"', "sshKeys"),
        ("Unknown field sshKey, did you mean sshKeys?", "sshKey"),
        ("Unknown field sshKeys, did you mean sshKey?", "sshKeys"),
        ('"sshKeys" is not allowed', "sshKeys"),
        ("property sshKey should not exist", "sshKey"),
        ("Unrecognized key(s) in object: 'sshKey'", "sshKey"),
        ("Additional properties are not allowed ('coupon' was unexpected)", "coupon"),
        ("unexpected 'command'", "command"),
        ({"errors": {"sshKeys": ["unknown field"]}}, "sshKeys"),
        ({"detail": [{"loc": ["body", "sshKey"], "msg": "Extra inputs are not permitted"}]}, "sshKey"),
    ],
)
def test_a_field_that_is_refused_by_name(body: object, field: str) -> None:
    error = refused(400, body)
    assert isinstance(error, FieldRefused)
    assert error.field == field


def test_retry_after_is_passed_on() -> None:
    error = refused(429, pause=7.5)
    assert isinstance(error, RateLimited)
    assert error.retry_after == 7.5


def test_what_the_service_says_is_kept_short_and_clean() -> None:
    said = str(refused(400, {"message": "a\x1b[31mb\x00c\u202ed\r\ne", "code": 7, "more": {"x": ["why"]}}))
    assert said == "Massed Compute refused the request (POST /x: 400): a [31mb c d e; why"
    page = "<html><style>p{}</style><script>var x</script><h1>502</h1>&lt;nginx&gt; &amp; co</html>"
    assert str(refused(400, page)).endswith(": 502 <nginx> & co")
    assert len(str(refused(400, "x" * 10_000_000))) < 400
    assert len(str(refused(400, ["x" * 100] * 10_000))) < 400
    assert str(refused(400, b"\xff\xfe")).isprintable()
    assert str(refused(404)) == "Massed Compute knows no such thing (POST /x)."


@pytest.mark.parametrize(
    "body", ["<script" * 100_000, "<" * 1_000_000, "[" * 1_000_000, '{"a":' * 100_000, "9" * 9999]
)
def test_no_body_takes_long(body: str) -> None:
    assert isinstance(refused(400, body), BadRequest)


@pytest.mark.parametrize("status", [302, 400, 401, 402, 403, 404, 408, 418, 429, 500, 503])
@pytest.mark.parametrize(
    "around", ["{}", '{{"you sent": "Bearer {}"}}', "<p>{}</p>", "x" * 5990 + "{}", " " * 9000 + "{}"]
)
def test_the_token_is_never_repeated(status: int, around: str) -> None:
    error = refused(status, around.format(TOKEN))
    for shown in (str(error), repr(error), repr(error.args), repr(vars(error))):
        assert TOKEN[:8] not in shown


@examples
@given(
    st.integers(100, 599).filter(lambda status: not 200 <= status < 300),
    st.binary(max_size=300),
    st.booleans(),
)
def test_every_refusal_is_an_error_of_ours(status: int, body: bytes, writes: bool) -> None:
    error = refused(status, body, writes=writes, deploys=writes)
    assert str(error).isprintable()
