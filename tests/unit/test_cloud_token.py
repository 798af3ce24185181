"""The token is in no repr, log, error or traceback, whatever goes wrong and whatever the service repeats."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from jobs.errors import ApiError, InvalidToken
from jobs.values import Secret
from tests.unit.cloud_server import (
    TOKEN,
    Pauses,
    answer,
    cloud_for,
    cut,
    drip_body,
    drip_head,
    hang,
    serving,
)
from workers.cloud.client import Cloud, DeployRequest

ECHOES = (f"you sent Bearer {TOKEN}", {"headers": {"authorization": f"Bearer {TOKEN}"}}, f"<p>{TOKEN}</p>")
CALLS: list[Callable[[Cloud], object]] = [
    lambda cloud: cloud.deploy(DeployRequest(1, "p", "n", "true"), deadline_s=2),
    lambda cloud: cloud.list_instances(deadline_s=1),
    lambda cloud: cloud.terminate(["a", "b"], deadline_s=1),
    lambda cloud: cloud.validate_token(deadline_s=1),
    lambda cloud: cloud.add_key("k", "ssh-ed25519 A", deadline_s=1),
    lambda cloud: cloud.remove_key("1", deadline_s=1),
]

NAMES = ["deploy", "list", "terminate", "validate", "add key", "remove key"]
STEPS: dict[str, Any] = {
    f"{status} {number}": answer(status, echo)
    for status in (200, 302, 400, 401, 402, 403, 404, 429, 500)
    for number, echo in enumerate(ECHOES)
} | {
    "cut": cut,
    "header": answer(400, "", X_You_Sent=TOKEN),
    "garbage": b"garbage Bearer " + TOKEN.encode() + b"\r\n\r\n",
    "no gzip": answer(200, b"no gzip", Content_Encoding="gzip"),
}


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and all that it hangs on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def shown(error: BaseException) -> Iterator[str]:
    """Whatever a log, a debugger or a crash reporter could show of an error."""
    for one in chain(error):
        yield from (str(one), repr(one), repr(one.args), repr(vars(one)))
        ours = one.__traceback__
        while ours is not None and ours.tb_frame.f_code.co_filename == __file__:
            ours = ours.tb_next  # the tests themselves know the token
        frames = traceback.TracebackException(type(one), one, ours, capture_locals=True)
        frames.__cause__ = frames.__context__ = None
        assert len(frames.stack) > 0
        yield "".join(frames.format())


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    for name in (None, "httpx", "httpcore", "httpcore.http11", "httpcore.connection"):
        caplog.set_level(logging.DEBUG, name)
    return caplog


def said(caplog: pytest.LogCaptureFixture) -> str:
    """All that was logged, with the arguments and their reprs."""
    return caplog.text + "".join(repr(vars(record)) for record in caplog.records)


@pytest.mark.parametrize("call", CALLS, ids=NAMES)
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_no_failure_shows_the_token(
    call: Callable[[Cloud], object], step: Any, everything_logged: pytest.LogCaptureFixture
) -> None:
    look(call, step, everything_logged)


@pytest.mark.parametrize("step", [hang, drip_head, drip_body], ids=["hang", "head", "body"])
def test_no_answer_that_does_not_come_shows_the_token(
    step: Any, everything_logged: pytest.LogCaptureFixture
) -> None:
    look(CALLS[0], step, everything_logged)


def look(call: Callable[[Cloud], object], step: Any, everything_logged: pytest.LogCaptureFixture) -> None:
    """Make the call against a server that answers so, and look everywhere."""
    with serving(default=step) as server, cloud_for(server, Pauses()) as cloud:
        try:
            call(cloud)
        except ApiError as error:
            for text in shown(error):
                assert TOKEN not in text
        assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
        assert TOKEN not in repr(cloud) + str(cloud) + repr(vars(cloud)) + repr(vars(cloud._wire))
    assert TOKEN not in said(everything_logged)


BAD = {
    "end": f"{TOKEN}\n",
    "space": f" {TOKEN}",
    "é": f"{TOKEN}é",
    "NUL": f"{TOKEN}\0",
    "none": "",
    "odd": f"\ud800{TOKEN}",
}


@pytest.mark.parametrize("call", CALLS, ids=NAMES)
@pytest.mark.parametrize("token", BAD.values(), ids=BAD)
def test_what_cannot_be_sent_is_not_shown_either(
    call: Callable[[Cloud], object], token: str, everything_logged: pytest.LogCaptureFixture
) -> None:
    with serving(default=answer(200)) as server:
        with Cloud(server.url, Secret(token)) as cloud, pytest.raises(InvalidToken) as failed:
            call(cloud)
        assert not server.requests
    for text in shown(failed.value):
        assert TOKEN not in text
    assert TOKEN not in said(everything_logged)


def test_where_nothing_listens_nothing_is_shown(everything_logged: pytest.LogCaptureFixture) -> None:
    with serving() as server:
        gone = server.url
    with Cloud(gone, Secret(TOKEN)) as cloud:
        for call in CALLS:
            with pytest.raises(ApiError) as failed:
                call(cloud)
            for text in shown(failed.value):
                assert TOKEN not in text
    assert TOKEN not in said(everything_logged)


def test_the_startup_command_is_in_no_repr() -> None:
    """It carries the one-time key with which a machine proves its host keys."""
    assert "one-time" not in repr(DeployRequest(1, "p", "n", "echo one-time"))


def test_what_others_do_with_the_library_is_logged(everything_logged: pytest.LogCaptureFixture) -> None:
    with serving(default=answer(200)) as server, cloud_for(server) as cloud:
        cloud.validate_token()
        assert not said(everything_logged)
        with httpx.Client(trust_env=False) as others:
            others.get(server.url)
        assert "HTTP Request: GET" in said(everything_logged)
