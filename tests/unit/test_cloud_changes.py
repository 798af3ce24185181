"""What the client does to the account besides deploying: ending machines, adding the key."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.errors import ApiError, BadRequest, ServerTrouble
from tests.unit.cloud_server import (
    Pauses,
    Request,
    Turns,
    answer,
    cloud_for,
    cut,
    serving,
)
from workers.cloud import keys
from workers.cloud.client import Priority

UUID = "8b52a46b-a892-4fde-925c-6d13226908f7"


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


# Terminating


def acknowledge(uuids: Any) -> bytes:
    """The answer to a terminate."""
    listed = [{"id": uuid} for uuid in uuids]
    return answer(202, {"response": {"data": {"terminated_instances": listed}}})


@pytest.mark.parametrize("status", [400, 404, 422, 500])
@pytest.mark.parametrize("place", [0, 57, 99])
def test_one_bad_uuid_keeps_no_other(status: int, place: int, pauses: Pauses) -> None:
    wanted = [f"m-{number}" for number in range(250)]
    bad = wanted[place]

    def step(request: Request) -> bytes:
        uuids = request.body["instanceUuids"]
        assert 1 <= len(uuids) <= 100
        return answer(status) if bad in uuids else acknowledge(uuid.upper() for uuid in uuids)

    turns = Turns()
    with serving(default=step) as server, cloud_for(server, pauses, gate=turns) as cloud:
        done = cloud.terminate(wanted)
    # What the service does not know is gone already.
    assert set(wanted) - set(done) == (set() if status == 404 else {bad})
    assert len(server.requests) <= 3 + 2 * 7
    assert turns.priorities == [Priority.TERMINATE] * len(server.requests)


def test_one_bad_uuid_alone_is_told() -> None:
    with serving(answer(400, "no such uuid"), answer(404)) as server, cloud_for(server) as cloud:
        with pytest.raises(BadRequest, match="no such uuid"):
            cloud.terminate([UUID])
        assert cloud.terminate([UUID]) == (UUID,)
        assert cloud.terminate([]) == ()
    assert len(server.requests) == 2


def test_who_is_missing_from_the_answer_is_not_acknowledged() -> None:
    steps = acknowledge(["a"]), answer(202, {"response": "ok"}), acknowledge([])
    with serving(*steps) as server, cloud_for(server) as cloud:
        assert cloud.terminate(["a", "b"]) == ("a",)
        assert cloud.terminate(["a", "b"]) == ("a", "b")
        assert cloud.terminate(["a", "b"]) == ()


@pytest.mark.parametrize("step", [cut, answer(500), answer(503), answer(429), answer(200, "<html>")])
def test_a_terminate_is_repeated(step: Any, pauses: Pauses) -> None:
    with serving(step, step, acknowledge([UUID])) as server, cloud_for(server, pauses) as cloud:
        assert cloud.terminate([UUID]) == (UUID,)
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_batch_that_may_not_is_not_halved(status: int) -> None:
    with serving(default=answer(status)) as server, cloud_for(server) as cloud:
        with pytest.raises(ApiError) as failed:
            cloud.terminate([f"m-{number}" for number in range(250)])
        assert failed.value.status == status
        assert len(server.requests) == 1


def test_what_was_ended_before_the_trouble_is_told(pauses: Pauses) -> None:
    wanted = [f"m-{number}" for number in range(150)]
    trouble = answer(503, "", Retry_After="60")
    with serving(acknowledge(wanted[:100]), default=trouble) as server, cloud_for(server, pauses) as cloud:
        assert list(cloud.terminate(wanted)) == wanted[:100]
        with pytest.raises(ServerTrouble):
            cloud.terminate(wanted)


# Keys


class Account:
    """A key API that lists what was added, or fails as told."""

    def __init__(self, **more: Any) -> None:
        self.keys: list[dict[str, Any]] = []
        self.more = more

    def __call__(self, request: Request) -> bytes:
        if request.method == "GET":
            return self.more.get("listed") or answer(200, {"sshKeys": self.keys})
        if "kept" not in self.more:
            self.keys.append(
                {"id": "1", "name": request.body["name"], "public_key": request.body["publicKey"] + " c"}
            )
        return self.more.get("added") or answer(200, {"sshKey": {}})


LINE = "ssh-ed25519 AAAAC3Nz me@laptop"


def test_a_key_is_added_once_and_known_by_its_text() -> None:
    account = Account()
    with serving(default=account) as server, cloud_for(server) as cloud:
        (name,) = keys.ensure_account_key(cloud, LINE, "gpu-job_runner!")
        assert keys.ensure_account_key(cloud, "ssh-ed25519  AAAAC3Nz", "other") == (name,)
        account.keys[0]["name"] = "by hand"
        assert keys.ensure_account_key(cloud, LINE, "gpu job runner") == ("by hand",)
    assert name.startswith("gpu job runner ")
    assert name.replace(" ", "").isalnum()
    assert [request.method for request in server.requests].count("POST") == 1


def test_a_key_whose_text_is_not_shown_is_known_by_its_name() -> None:
    account = Account()
    with serving(default=account) as server, cloud_for(server) as cloud:
        names = keys.ensure_account_key(cloud, LINE, "x")
        account.keys[0]["public_key"] = None
        assert keys.ensure_account_key(cloud, LINE, "x") == names


@pytest.mark.parametrize(
    "added", [answer(400, "name taken"), answer(409), answer(500), answer(200, "<html>")]
)
def test_a_key_that_was_added_meanwhile_is_found(added: bytes) -> None:
    with serving(default=Account(added=added)) as server, cloud_for(server) as cloud:
        assert len(keys.ensure_account_key(cloud, LINE, "x")) == 1


def test_without_a_key_api_there_is_no_name(pauses: Pauses) -> None:
    with serving(default=answer(404)) as server, cloud_for(server) as cloud:
        assert cloud.list_keys() is None
        assert keys.ensure_account_key(cloud, LINE, "x") == ()
        cloud.remove_key("1")
        server.default = Account(added=answer(404), kept=False)
        assert keys.ensure_account_key(cloud, LINE, "x") == ()
        server.default = Account(added=answer(400, "taken"), kept=False)
        with pytest.raises(BadRequest):
            keys.ensure_account_key(cloud, LINE, "x")
