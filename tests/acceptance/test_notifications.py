"""RUNNER_NOTIFY_URL and RUNNER_RETENTION: the real service, a real receiver, and kill -9 in between."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from jobs import meter
from jobs.models import Instance, Job, Notification
from runner.sim.config import SimConfig
from tests.acceptance.conftest import Make
from tests.acceptance.harness import Installation
from tests.receiver import SECRET, Receiver, free_port
from tests.waiting import wait_until

DOCUMENT = Path(__file__).parents[2] / "docs" / "notifications.md"
DAY = timedelta(days=1)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def _rows(installation: Installation) -> list[Notification]:
    with installation.quick() as client, client.database.read() as session:
        return list(session.execute(select(Notification).order_by(Notification.created_at)).scalars())


def _until(installation: Installation, condition: Callable[[Notification], object]) -> Notification:
    """Wait until the one notification is as *condition* says."""
    wait_until(lambda: any(map(condition, _rows(installation))), timeout=60, what="the notification's row")
    (row,) = _rows(installation)
    return row


def _hurry(installation: Installation) -> None:
    """Let the pause before the next try be over: the service learns of it as of any other news."""
    with installation.quick() as client, client.database.write() as session:
        session.execute(update(Notification).values(next_at=Notification.created_at))


def _cancelled(installation: Installation) -> str:
    """The shortest job: nothing can be rented for it, so that it is queued when it is cancelled."""
    installation.sim.faults.out_of_stock = -1
    job_id = installation.submit("true")
    installation.ok("cancel", job_id)
    installation.sim.faults.out_of_stock = 0
    return job_id


def test_a_job_that_has_ended_is_told(make: Make, receiver: Receiver) -> None:
    served = make(RUNNER_NOTIFY_URL=receiver.url)
    served.up()
    job_id = served.submit("echo hello; exit 3", name="train")
    served.final(job_id)
    (post,) = receiver.wait(1)
    shown = json.loads(served.ok("show", job_id, "--json"))
    about = post.body.pop("notification")
    assert post.body == shown
    assert (shown["state"], shown["exit_code"], about["event"]) == ("failed", 3, "final")
    assert about["id"] == post.id == _until(served, lambda row: row.sent_at).id
    doctor = served.ok("doctor")
    assert re.search(r"^ok +notify +0 notifications waiting$", doctor, re.M), doctor
    served.nothing_left()
    assert served.stop() == 0
    assert len(receiver.received) == 1
    assert SECRET not in served.tail() + doctor


def test_a_receiver_that_fails_and_one_that_is_down_get_it_later(make: Make) -> None:
    port = free_port()
    served = make(RUNNER_NOTIFY_URL=f"http://127.0.0.1:{port}/{SECRET}")
    served.up()
    job_id = _cancelled(served)
    down = _until(served, lambda row: row.error)
    assert (down.error, down.tries) == ("there was no connection", 1)
    assert "last error: there was no connection" in served.ok("doctor")
    with Receiver(port) as receiver:
        receiver.answers.extend((500, 500))
        for tries in (2, 3):
            _hurry(served)
            _until(served, lambda row, tries=tries: row.tries >= tries)
        _hurry(served)
        _until(served, lambda row: row.sent_at)
        assert [(post.id, post.body["id"]) for post in receiver.received] == [(down.id, job_id)] * 3
    assert SECRET not in served.tail()


def test_killed_between_the_post_and_its_settlement(make: Make, receiver: Receiver) -> None:
    served = make(RUNNER_NOTIFY_URL=receiver.url)
    receiver.answering.clear()
    served.up()
    job_id = _cancelled(served)
    receiver.wait(1)
    served.stop(signal.SIGKILL)
    receiver.answering.set()
    _hurry(served)  # else the dead one has it to itself for a minute
    served.up()
    first, second = receiver.wait(2)
    assert (first.id, first.body) == (second.id, second.body)
    assert first.body["id"] == job_id
    assert _until(served, lambda row: row.sent_at).tries == 2


def test_a_receiver_that_hangs_keeps_nothing_waiting(make: Make, receiver: Receiver) -> None:
    served = make(RUNNER_NOTIFY_URL=receiver.url)
    receiver.answering.clear()
    served.up()
    first = _cancelled(served)
    receiver.wait(1)
    second = served.submit("echo hello")
    assert served.final(second)["state"] == "succeeded"
    served.nothing_left()
    receiver.answering.set()
    wait_until(lambda: {first, second} <= {post.body["id"] for post in receiver.received}, timeout=60)


def test_without_a_service_it_waits_for_one(make: Make, receiver: Receiver) -> None:
    installation = make(RUNNER_NOTIFY_URL=receiver.url)
    job_id = _cancelled(installation)
    assert [(row.job_id, row.tries) for row in _rows(installation)] == [(job_id, 0)]
    installation.up()
    assert receiver.wait(1)[0].body["id"] == job_id


def test_an_address_that_is_set_later_gets_no_old_news(make: Make, receiver: Receiver) -> None:
    served = make()
    served.up()
    _cancelled(served)
    assert _until(served, lambda row: row.given_up_at).tries == 0
    served.stop()
    served.environ["RUNNER_NOTIFY_URL"] = receiver.url
    served.up()
    job_id = _cancelled(served)
    assert receiver.wait(1)[0].body["id"] == job_id


def test_a_suspected_leak_is_told_everywhere_until_it_ends(make: Make, receiver: Receiver) -> None:
    served = make(RUNNER_NOTIFY_URL=receiver.url)
    served.sim.faults.add(operation="terminateInstances", kind="status", status=503, times=-1)
    served.up()
    job_id = served.submit("true")
    served.until(job_id, "finishing")
    with served.quick() as client, client.database.write() as session:
        long_ago = client.database.now(session) - 2 * meter.LEAK_AFTER
        session.execute(update(Instance).values(doomed_at=long_ago))
    (post,) = receiver.wait(1)
    about = post.body["notification"]
    assert (post.body["id"], post.body["state"], about["event"]) == (job_id, "finishing", "leak")
    (attempt,) = post.body["attempts"]
    assert (about["instance"], attempt["leak_suspected"]) == (attempt["instance_name"], True)
    assert "leak suspected" in served.ok("ls")
    assert re.search(r"^leak +suspected: the machine should be gone", served.ok("show", job_id), re.M)
    assert "leak suspected" in served.ok("status")
    doctor = served.run("doctor")
    assert (doctor.returncode, b"should be gone and is not: leak suspected" in doctor.stdout) == (1, True)
    assert "a leak is suspected of 1 machines" in served.tail()
    tried = len(served.sim.requests("terminateInstances"))
    wait_until(lambda: len(served.sim.requests("terminateInstances")) > tried, timeout=90, what="another try")
    served.sim.faults.clear()
    job = served.final(job_id)
    assert (job["state"], job["attempts"][0]["leak_suspected"]) == ("succeeded", False)
    assert "leak" not in served.ok("ls")
    served.nothing_left()
    assert receiver.wait(2)[1].body["notification"]["event"] == "final"


def test_the_receiver_of_the_document(make: Make) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text("utf-8"), re.M | re.S)
    port = free_port()
    assert program.count("8099") == 1
    receiver = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program.replace("8099", str(port))],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        wait_until(lambda: _listens(port), what="the receiver")
        served = make(RUNNER_NOTIFY_URL=f"http://127.0.0.1:{port}/")
        served.up()
        job_id = _cancelled(served)
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == f"final {job_id} cancelled\n"
        _until(served, lambda row: row.sent_at)
    finally:
        receiver.kill()
        receiver.communicate()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def test_a_log_that_is_too_old_is_deleted_and_that_is_said(make: Make) -> None:
    served = make(SimConfig(boot_seconds=0.1), RUNNER_RETENTION="30d")
    served.up()
    old, young = served.submit("echo 0123456789"), served.submit("echo young")
    for job_id in (old, young):
        served.final(job_id)
    receipt = served.show(old)
    served.stop()
    with served.quick() as client, client.database.write() as session:
        session.execute(
            update(Job).where(Job.id == old).values(finished_at=client.database.now(session) - 31 * DAY)
        )
    served.up()
    wait_until(lambda: served.show(old)["attempts"][0]["log"] != "sealed", what="the deletion")
    done = served.run("logs", old)
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.decode().splitlines() == [
        "[11 bytes of the log are missing here]",
        "the log of attempt 1 is deleted after 30d (RUNNER_RETENTION)",
    ]
    assert served.log(young) == b"young\n"
    now = served.show(old)
    assert (now["cost_usd"], now["attempts"][0]["log_bytes"]) == (receipt["cost_usd"], 11)
    assert "succeeded" in served.ok("show", old)
