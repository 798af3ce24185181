"""The same over TLS, as with the real service: deadlines hold, and only who is trusted gets the token."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import NoAnswer, RateLimited
from tests.certificates import make_certificate
from tests.unit.cloud_server import Turns, answer, cloud_for, cut, drip_body, drip_head, hang, serving
from workers.cloud.client import DeployRequest

LISTED = answer(200, {"runningInstances": [{"uuid": "a"}]})


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's certificate for 127.0.0.1, which the client is told to trust."""
    made = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.certificate))
    return made.server()


def test_a_trusted_server_is_answered_over_one_connection(tls: ssl.SSLContext) -> None:
    with serving(default=LISTED, tls=tls) as server, cloud_for(server) as cloud:
        for _ in range(3):
            assert cloud.list_instances().complete
    assert {request.connection for request in server.requests} == {0}


@pytest.mark.parametrize("step", [hang, drip_head, drip_body, cut], ids=["hang", "head", "body", "cut"])
def test_the_deadline_holds(step: Any, tls: ssl.SSLContext) -> None:
    request = DeployRequest(1, "p", "n", "true")
    with serving(step, LISTED, tls=tls) as server, cloud_for(server) as cloud:
        with pytest.raises(NoAnswer):
            cloud.deploy(request, deadline_s=2)
        assert len(server.requests) == 1
        assert cloud.list_instances().complete


def test_a_server_that_is_not_trusted_gets_nothing(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with serving(default=LISTED, tls=tls) as server, cloud_for(server, gate=Turns(most=2)) as cloud:
        with pytest.raises(RateLimited, match=r"(?i)nothing was sent"):
            cloud.deploy(DeployRequest(1, "p", "n", "true"))
        with pytest.raises(NoAnswer):
            cloud.list_instances(deadline_s=0.4)
        assert not server.requests
