"""The step that tells RUNNER_NOTIFY_URL what has happened, against a real receiver."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import select

from jobs import meter, pictures
from jobs.models import Notification
from jobs.settings import Secret
from jobs.store import outbox, submissions
from jobs.store.database import Database
from tests.conformance.store_kit import World, submit
from tests.receiver import SECRET, Receiver, free_port
from workers.steps import notify as step
from workers.steps.context import Context
from workers.steps.notify import notify


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def _ctx(db: Database, url: str | None) -> Context:
    settings = SimpleNamespace(notify_url=None if url is None else Secret(url))
    return cast("Any", SimpleNamespace(db=db, settings=settings, stopping=threading.Event()))


def _cancelled(world: World, **changes: Any) -> str:
    job_id = submit(world.db, **changes)
    submissions.request_cancel(world.db, job_id)
    return job_id


def _rows(world: World) -> list[Notification]:
    with world.db.read() as session:
        return list(session.execute(select(Notification).order_by(Notification.next_at)).scalars())


def test_the_show_object_is_sent(world: World, receiver: Receiver) -> None:
    job_id = _cancelled(world, name="train", command="\udcff ü")
    notify(_ctx(world.db, receiver.url))
    (row,) = _rows(world)
    (post,) = receiver.received
    about = {"id": row.id, "event": "final", "instance": None}
    assert post.body == {**pictures.job_json(world.show(job_id)), "notification": about}
    assert (post.path, post.id, post.headers["Content-Type"]) == (f"/{SECRET}", row.id, "application/json")
    assert post.headers["User-Agent"] == f"gpu-job-runner/{version('gpu-job-runner')}"
    assert (row.sent_at, row.tries, row.error) == (world.clock.now, 1, None)
    notify(_ctx(world.db, receiver.url))
    assert len(receiver.received) == 1


def test_a_suspected_leak_is_sent(world: World, receiver: Receiver) -> None:
    job_id, attempt_id, lease = world.run()
    world.finish(attempt_id, lease)
    world.appear(world.stranger())
    world.list()
    world.clock.advance(91)
    world.list()
    world.clock.advance(meter.LEAK_AFTER.total_seconds() + 1)
    assert outbox.leaks(world.db, world.lead) == 2
    notify(_ctx(world.db, receiver.url))
    sent = {post.body["notification"]["instance"]: post.body for post in receiver.received}
    ours, nobodys = (machine.name for machine in world.machines())
    assert (sent[ours]["id"], sent[ours]["state"]) == (job_id, "finishing")
    assert sent[ours]["attempts"][0]["leak_suspected"]
    about = sent[nobodys].pop("notification")
    assert sent[nobodys] == {"id": None, "name": None, "state": None, "attempts": []}
    assert (about["event"], about["instance"]) == ("leak", nobodys)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_what_is_answered_with_2xx_is_done(world: World, receiver: Receiver, status: int) -> None:
    _cancelled(world)
    receiver.answers.append(status)
    notify(_ctx(world.db, receiver.url))
    assert _rows(world)[0].sent_at is not None


@pytest.mark.parametrize("status", [302, 307, 400, 401, 404, 408, 429, 500, 503])
def test_what_is_not_is_sent_again_under_the_same_id(world: World, receiver: Receiver, status: int) -> None:
    _cancelled(world)
    receiver.answers.append(status)
    notify(_ctx(world.db, receiver.url))
    (row,) = _rows(world)
    assert (row.sent_at, row.given_up_at, row.error) == (None, None, f"it was answered with HTTP {status}")
    notify(_ctx(world.db, receiver.url))
    assert len(receiver.received) == 1, "not at once, and to no other address"
    world.clock.advance(7)
    notify(_ctx(world.db, receiver.url))
    first, second = receiver.received
    assert (first.id, first.body) == (second.id, second.body)
    assert _rows(world)[0].sent_at is not None


def test_410_is_given_up_at_once(world: World, receiver: Receiver) -> None:
    _cancelled(world)
    receiver.answers.append(410)
    notify(_ctx(world.db, receiver.url))
    assert _rows(world)[0].given_up_at == world.clock.now


def test_after_a_failure_the_receiver_gets_a_pause(world: World, receiver: Receiver) -> None:
    for _ in range(3):
        _cancelled(world)
    receiver.answers.append(500)
    notify(_ctx(world.db, receiver.url))
    assert len(receiver.received) == 1
    notify(_ctx(world.db, receiver.url))
    assert len(receiver.received) == 3, "the others are not held up by the one"


def test_who_is_to_stop_sends_no_more_than_one(world: World, receiver: Receiver) -> None:
    for _ in range(3):
        _cancelled(world)
    ctx = _ctx(world.db, receiver.url)
    ctx.stopping.set()
    notify(ctx)
    assert len(receiver.received) == 1


def test_without_an_address_nothing_is_taken(world: World) -> None:
    _cancelled(world)
    notify(_ctx(world.db, None))
    assert _rows(world)[0].tries == 0


def test_a_receiver_that_drips_is_cut_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time for itself; all of them together never would."""
    monkeypatch.setattr(step, "SECONDS", 0.5)
    over = threading.Event()

    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not over.wait(0.02):
                    connection.sendall(b"x")
            except OSError:
                over.set()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=(server,))
        thread.start()
        _cancelled(world)
        notify(_ctx(world.db, f"http://127.0.0.1:{server.getsockname()[1]}/"))
        over.set()
        thread.join()
    (row,) = _rows(world)
    assert (row.sent_at, row.error) == (None, "there was no answer within 0.5 s")


@pytest.mark.parametrize(
    ("address", "error"),
    [
        (f"http://user:{SECRET}@127.0.0.1:{{port}}/{SECRET}?{SECRET}", "there was no connection"),
        (f"http://user:{SECRET}@127.0.0.1:{{served}}/{SECRET}?{SECRET}", "it was answered with HTTP 500"),
        (f"https://127.0.0.1:{{served}}/{SECRET}", "there was no connection"),
        (f"http://xn--{{port}}-/{SECRET}", "it could not be sent (IDNAError)"),
    ],
)
def test_the_address_is_in_no_log_and_no_error(
    world: World, receiver: Receiver, caplog: pytest.LogCaptureFixture, address: str, error: str
) -> None:
    caplog.set_level(logging.DEBUG)
    served = int(receiver.url.split(":")[2].split("/")[0])
    receiver.answers.append(500)
    _cancelled(world)
    notify(_ctx(world.db, address.format(port=free_port(), served=served)))
    (row,) = _rows(world)
    assert (row.sent_at, row.error) == (None, error)
    assert "will be sent again" in caplog.text
    assert SECRET not in caplog.text
