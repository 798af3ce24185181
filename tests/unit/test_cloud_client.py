"""The client against a server that does what no good server does."""

from __future__ import annotations

import gzip
import socket
import threading
from typing import Any

import psutil
import pytest

from jobs.errors import (
    ApiError,
    BadRequest,
    InvalidSettings,
    NoAnswer,
    NoCapacity,
    NotFound,
    PaymentRequired,
    RateLimited,
    ServerTrouble,
    Unsettled,
)
from jobs.values import Secret
from tests.unit.cloud_server import (
    TOKEN,
    Pauses,
    Peer,
    Request,
    Turns,
    answer,
    by_hand,
    cloud_for,
    cut,
    drip_body,
    drip_head,
    hang,
    serving,
)
from workers.cloud.client import Cloud, DeployRequest, NoGate, Priority
from workers.cloud.wire import MOST_IDLE

UUID = "8b52a46b-a892-4fde-925c-6d13226908f7"
WANTED = DeployRequest(84, "gpu_1x_l40", "rn-x", "true", key_names=("k",))
LISTED = answer(200, {"runningInstances": [{"uuid": UUID}]})


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


# What is sent


def test_a_deploy_is_sent_as_the_service_wants_it() -> None:
    with serving(answer(202, {"response": f" {UUID} "})) as server, cloud_for(server) as cloud:
        assert cloud.deploy(WANTED) == UUID
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/instance/launch")
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["content-type"] == "application/json"
    assert request.body == {
        "imageId": 84,
        "productName": "gpu_1x_l40",
        "regionName": "any",
        "instanceName": "rn-x",
        "command": "true",
        "sshKey": ["k"],
        "sshKeys": ["k"],
    }


def test_without_key_names_no_key_field_is_sent() -> None:
    body = DeployRequest(84, "p", "n", "true", coupon="C").body()
    assert body.keys() == {"imageId", "productName", "regionName", "instanceName", "command", "coupon"}
    assert DeployRequest(84, "p", "n", "true", ("k",), ("sshKeys",)).body()["sshKeys"] == ["k"]
    assert "sshKey" not in DeployRequest(84, "p", "n", "true", ("k",), ("sshKeys",)).body()


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_id": "84"},
        {"image_id": True},
        {"product": ""},
        {"name": "x" * 64},
        {"name": "a b"},
        {"name": ""},
        {"command": ""},
    ],
)
def test_what_cannot_be_deployed_is_not_sent(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        DeployRequest(**({"image_id": 84, "product": "p", "name": "n", "command": "true"} | wrong))


def test_odd_text_can_be_sent() -> None:
    with serving(default=answer(404)) as server, cloud_for(server) as cloud:
        assert cloud.coupon("\ud800 \x00 'é\u2028") is None
    assert server.requests[0].body == {"coupon": "\ud800 \x00 'é\u2028"}


@pytest.mark.parametrize(
    "uuid", ["", ".", "..", "a/b", "a b", "é", "\n", "\ud800", "a?b", "a%2fb", "x" * 101]
)
def test_what_is_no_uuid_is_not_sent(uuid: str) -> None:
    with serving(default=answer(202)) as server, cloud_for(server) as cloud:
        for call in (cloud.get_instance, cloud.remove_key, lambda bad: cloud.restart([bad])):
            with pytest.raises(BadRequest):
                call(uuid)
        with pytest.raises(BadRequest):
            cloud.terminate([uuid])
        assert cloud.terminate([uuid, UUID]) == (UUID,)
    assert [request.path for request in server.requests] == ["/instance/terminate"]


# A deploy is never sent twice


@by_hand
def half_a_body(_request: Request, peer: Peer) -> None:
    """The connection breaks in the middle of the answer."""
    peer.send(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n{")


NO_ANSWERS = {
    "cut": cut,
    "hang": hang,
    "head that drips": drip_head,
    "body that drips": drip_body,
    "garbage": b"\x00\xff garbage\r\n\r\n",
    "half a body": half_a_body,
    "wrong encoding": answer(202, b"not gzip", Content_Encoding="gzip"),
    "html": answer(202, "<html>behind a proxy</html>"),
    "empty": answer(202, b""),
    "list": answer(202, []),
    "number": answer(202, {"response": 7}),
    "no uuid": answer(202, {"response": "../x"}),
    "null": answer(202, {"response": None}),
    "deep": answer(202, "[" * 100_000),
    "408": answer(408),
    "500": answer(500),
    "503": answer(503, "out of stock", Retry_After="0"),
    "301": answer(301, "", Location="/api/v1/instance/launch"),
    "307": answer(307, "", Location="/api/v1/instance/launch"),
    "308": answer(308, "", Location="https://elsewhere.example/"),
}


@pytest.mark.parametrize("how", NO_ANSWERS)
def test_a_deploy_without_an_answer_may_have_happened_and_is_not_repeated(how: str, pauses: Pauses) -> None:
    step = NO_ANSWERS[how]
    with serving(step, default=answer(202, {"response": UUID})) as server, cloud_for(server, pauses) as cloud:
        with pytest.raises(Unsettled) as failed:
            cloud.deploy(WANTED, deadline_s=2 if step in (hang, drip_head, drip_body) else 20)
        assert len(server.requests) == 1
        assert not pauses.seconds
        assert failed.value.__cause__ is None
        assert failed.value.__context__ is None
        assert cloud.deploy(WANTED) == UUID  # the client is as good as before


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (answer(400, "out of stock"), NoCapacity),
        (answer(402), PaymentRequired),
        (answer(429, "", Retry_After="5"), RateLimited),
        (answer(404), NotFound),
        (answer(418), BadRequest),
    ],
)
def test_a_deploy_that_was_refused_is_not_repeated_either(
    step: bytes, kind: type[ApiError], pauses: Pauses
) -> None:
    with serving(default=step) as server, cloud_for(server, pauses) as cloud:
        with pytest.raises(kind):
            cloud.deploy(WANTED)
        assert len(server.requests) == 1
        assert not pauses.seconds


def test_the_connections_of_many_deploys_are_not_kept() -> None:
    ours = psutil.Process()
    with serving(default=answer(202, {"response": UUID})) as server, cloud_for(server) as cloud:
        for _ in range(12):
            cloud.deploy(WANTED)
        port = int(server.url.split(":")[2].split("/")[0])
        kept = [item for item in ours.net_connections("tcp") if item.raddr and item.raddr.port == port]
        assert len([item for item in kept if item.status == psutil.CONN_ESTABLISHED]) <= MOST_IDLE


def test_a_pause_that_the_service_asks_for_is_one_for_all() -> None:
    gate = Turns()
    refusal = answer(429, {"error": "slow down"}, Retry_After="7")
    with serving(refusal) as server, cloud_for(server, gate=gate) as cloud, pytest.raises(RateLimited):
        cloud.deploy(WANTED)
    assert gate.silences == [7.0]


def test_a_deploy_goes_over_a_connection_of_its_own() -> None:
    """A connection that is kept may be closed by the other side at the moment at which it is used again."""
    with serving(LISTED, answer(202, {"response": UUID}), LISTED) as server, cloud_for(server) as cloud:
        cloud.list_instances()
        cloud.deploy(WANTED)
        cloud.list_instances()
    first, deploy, last = (request.connection for request in server.requests)
    assert deploy != first
    assert last in (first, deploy)


def test_where_nothing_listens_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Cloud(f"http://127.0.0.1:{port}", Secret(TOKEN)) as cloud:
        with pytest.raises(RateLimited, match=r"(?i)nothing was sent") as failed:
            cloud.deploy(WANTED)
        assert failed.value.status is None
        assert not isinstance(failed.value, Unsettled)
        with pytest.raises(NoAnswer):
            cloud.list_instances(deadline_s=0.1)


def test_a_deploy_whose_turn_comes_too_late_is_not_sent() -> None:
    class Late(NoGate):
        def enter(self, priority: Priority, deadline_s: float) -> None:
            assert priority is Priority.DEPLOY
            waited.set()
            threading.Event().wait(deadline_s * 2)

    waited = threading.Event()
    with serving(default=answer(202, {"response": UUID})) as server, cloud_for(server, gate=Late()) as cloud:
        with pytest.raises(RateLimited) as failed:
            cloud.deploy(WANTED, deadline_s=0.2)
        assert failed.value.status is None
        assert waited.is_set()
        assert not server.requests


def test_nothing_begins_to_be_sent_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server or a handshake that takes longer than there is time."""
    connect = socket.create_connection

    def slow(*args: Any, **kwargs: Any) -> socket.socket:
        found = connect(*args, **kwargs)
        threading.Event().wait(0.4)
        return found

    monkeypatch.setattr(socket, "create_connection", slow)
    with serving(default=answer(202, {"response": UUID})) as server, cloud_for(server) as cloud:
        with pytest.raises(RateLimited, match=r"(?i)nothing was sent"):
            cloud.deploy(WANTED, deadline_s=0.2)
        assert not server.requests


# Safe calls are repeated


@pytest.mark.parametrize(
    "step",
    [
        cut,
        answer(500),
        answer(503),
        answer(429),
        answer(200, "<html>"),
        answer(200, {"message": "try again"}),
        answer(200, b""),
        b"\x00garbage\r\n\r\n",
        answer(408),
    ],
)
def test_a_listing_is_repeated(step: Any, pauses: Pauses) -> None:
    turns = Turns()
    with serving(step, step, LISTED) as server, cloud_for(server, pauses, gate=turns) as cloud:
        assert [found.uuid for found in cloud.list_instances().instances] == [UUID]
    assert len(server.requests) == 3
    assert turns.priorities == [Priority.LIST] * 3  # each try takes its own turn
    first, second = pauses.seconds
    assert 0 < first <= 0.5 * 1.25
    assert first < second <= 1.25


@pytest.mark.parametrize("status", [301, 307, 400, 401, 402, 403, 404, 418])
def test_what_repeating_does_not_mend_is_not_repeated(status: int, pauses: Pauses) -> None:
    with serving(default=answer(status)) as server, cloud_for(server, pauses) as cloud:
        with pytest.raises(ApiError) as failed:
            cloud.list_instances()
        assert failed.value.status == status
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("asked", "least"),
    [
        ("7", 7.0),
        ("1.5", 1.5),
        ("Mon, 23 Nov 2026 20:00:09 GMT", 9.0),  # by the service's own clock
        ("Mon, 23 Nov 2026 19:00:00 GMT", 0.0),
        ("-5", 0.0),
        ("soon", 0.0),
        ("9" * 400, 0.0),
        ("Mon, 99 Nov 2026 20:00:09 GMT", 0.0),
    ],
)
def test_a_pause_that_is_asked_for_is_made(status: int, asked: str, least: float, pauses: Pauses) -> None:
    with serving(answer(status, "", Retry_After=asked), LISTED) as server, cloud_for(server, pauses) as cloud:
        cloud.list_instances()
    (pause,) = pauses.seconds
    assert least or 0.375 <= pause <= 0.625
    assert not least or pause == least


def test_a_pause_beyond_the_deadline_is_not_begun(pauses: Pauses) -> None:
    with serving(default=answer(429, "", Retry_After="3600")) as server, cloud_for(server, pauses) as cloud:
        with pytest.raises(RateLimited) as failed:
            cloud.list_instances(deadline_s=20)
        assert failed.value.retry_after == 3600
        assert len(server.requests) == 1
        assert not pauses.seconds


def test_who_stops_is_not_kept_waiting() -> None:
    stopping = threading.Event()
    stopping.set()
    with serving(default=answer(503)) as server, cloud_for(server, stopping) as cloud:
        with pytest.raises(ServerTrouble):
            cloud.list_instances()
        assert len(server.requests) == 1


def test_without_another_turn_the_first_failure_is_told(pauses: Pauses) -> None:
    with serving(default=answer(503)) as server, cloud_for(server, pauses, gate=Turns(most=1)) as cloud:
        with pytest.raises(ServerTrouble):
            cloud.list_instances()
        with pytest.raises(RateLimited) as failed:
            cloud.list_instances()
        assert failed.value.status is None
        assert len(server.requests) == 1


@pytest.mark.parametrize("step", [hang, drip_head, drip_body])
def test_no_answer_holds_a_call_beyond_its_deadline(step: Any) -> None:
    with serving(default=step) as server, cloud_for(server) as cloud:
        with pytest.raises(NoAnswer):
            cloud.list_instances(deadline_s=1.5)
        assert len(server.requests) == 1


def test_a_restart_and_a_new_key_are_sent_once(pauses: Pauses) -> None:
    with serving(default=answer(503)) as server, cloud_for(server, pauses) as cloud:
        with pytest.raises(ServerTrouble):
            cloud.restart([UUID])
        with pytest.raises(ServerTrouble):
            cloud.add_key("a key", "ssh-ed25519 A")
        with pytest.raises(ValueError, match="letters"):
            cloud.add_key("a-key", "ssh-ed25519 A")
        assert len(server.requests) == 2


# Answers of all kinds


def test_odd_numbers_in_a_listing_hide_nothing() -> None:
    body = (
        '{"runningInstances": [{"uuid": "a", "ssh_port": %s, "x": [NaN, -Infinity, 1e999]}, {"uuid": "b"}]}'
    )
    with serving(answer(200, body % ("9" * 10_000))) as server, cloud_for(server) as cloud:
        listing = cloud.list_instances()
    assert [found.uuid for found in listing.instances] == ["a", "b"]
    assert listing.complete
    assert listing.date.isoformat() == "2026-11-23T20:00:00+00:00"


@pytest.mark.parametrize(
    "date", ["", "x", "Mon, 01 Jan 0001 00:00:00 +2300", "Mon, 99 Nov 2026 20:00:09 GMT"]
)
def test_a_date_that_is_none_is_replaced_by_ours(date: str) -> None:
    with serving(answer(200, {"runningInstances": []}, Date=date)) as server, cloud_for(server) as cloud:
        assert cloud.list_instances().date.tzinfo is not None


@by_hand
def large(_request: Request, peer: Peer) -> None:
    """100 MiB, if anybody listens for so long."""
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")
    for _ in range(100):
        if not peer.send(b" " * (1 << 20)):
            return


PACKED = answer(200, gzip.compress(b" " * (100 << 20), 1), Content_Encoding="gzip")


@pytest.mark.parametrize("step", [large, PACKED], ids=["plain", "packed"])
def test_an_answer_that_is_too_large_is_none(step: Any, pauses: Pauses) -> None:
    with serving(step, LISTED, default=step) as server:
        with cloud_for(server, pauses, timeout=60) as cloud:
            assert len(cloud.list_instances(deadline_s=120).instances) == 1
        once = cloud_for(server, pauses, gate=Turns(most=1), timeout=60)
        with once as cloud, pytest.raises(NoAnswer, match="larger"):
            cloud.list_instances(deadline_s=60)


def test_a_packed_answer_is_read() -> None:
    body = gzip.compress(b'{"runningInstances": [{"uuid": "a"}]}')
    with serving(answer(200, body, Content_Encoding="gzip")) as server, cloud_for(server) as cloud:
        assert len(cloud.list_instances().instances) == 1


def test_only_a_404_says_that_a_machine_is_gone(pauses: Pauses) -> None:
    with serving(answer(404)) as server, cloud_for(server, pauses) as cloud:
        assert cloud.get_instance(UUID) is None
        for step in ({"runningInstances": []}, {"runningInstances": [{"uuid": "other"}]}, {}, "gone"):
            server.default = answer(200, step)
            with pytest.raises(NoAnswer):
                cloud.get_instance(UUID, deadline_s=0.2)


def test_calls_of_many_threads_share_the_client() -> None:
    with serving(default=LISTED) as server, cloud_for(server) as cloud:
        threads = [threading.Thread(target=cloud.list_instances) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.requests) == 20


def test_a_connection_is_used_again() -> None:
    with serving(default=LISTED) as server, cloud_for(server) as cloud:
        for _ in range(3):
            cloud.list_instances()
    assert {request.connection for request in server.requests} == {0}


# Where to


@pytest.mark.parametrize(
    "url",
    [
        "http://vm.massedcompute.com",
        "http://127.evil.example/",
        "http://localhost.evil.example/",
        "ftp://localhost/",
        "https://user:secret@host/",
        "https://",
        "",
        "http://[",
        "http://0.0.0.0/",
    ],
)
def test_the_token_goes_nowhere_in_clear(url: str) -> None:
    with pytest.raises(InvalidSettings):
        Cloud(url, Secret(TOKEN))


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "nonsense://x"])
def test_a_proxy_that_cannot_be_used_is_one_sentence(
    variable: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, proxy)
    with Cloud("https://vm.massedcompute.example/", Secret(TOKEN)) as cloud, pytest.raises(InvalidSettings):
        cloud.list_instances(deadline_s=1)


def test_no_proxy_for_this_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serving(LISTED) as server, cloud_for(server) as cloud:
        assert cloud.list_instances().complete


def test_certificates_that_cannot_be_read_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file")
    with pytest.raises(InvalidSettings):
        Cloud("https://vm.massedcompute.example/", Secret(TOKEN))
