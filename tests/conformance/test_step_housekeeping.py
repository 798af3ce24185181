"""What the observer that leads does besides its business, a little at each tick."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import update

from jobs import meter
from jobs.files.store import Artifacts
from jobs.models import Attempt
from jobs.settings import Secret
from jobs.store import ending, logs, outbox, retention, submissions
from jobs.store.logs import Append
from jobs.views import Chunk
from tests.conformance.store_kit import ROOM, World, submit
from tests.waiting import wait_until
from workers.steps import housekeeping
from workers.steps.housekeeping import Housekeeping

AGE = 3600


def _house(
    world: World, *, url: bool = False, age: int | None = None, store: Artifacts | None = None
) -> Housekeeping:
    settings = SimpleNamespace(notify_url=Secret("http://127.0.0.1/") if url else None, retention=age)
    stopping = threading.Event()
    return Housekeeping(
        cast("Any", SimpleNamespace(db=world.db, settings=settings, artifacts=store, stopping=stopping))
    )


def _tick(world: World, house: Housekeeping) -> None:
    house.tick(world.lead, ending.wanted(world.db, ROOM))


def _old_log(world: World, data: bytes = b"0123456789") -> str:
    """The attempt of a job that has been final for long."""
    _, attempt_id, lease = world.run()
    for n in range(len(data)):
        assert logs.append(
            world.db, [Append(attempt_id, lease.owner, lease.fence, n, data[n : n + 1], 1)]
        ) == [True]
    world.finish(attempt_id, lease)
    for _ in range(2):
        world.settle()
    world.clock.advance(AGE + 1)
    return attempt_id


def _missing(world: World, attempt_id: str) -> int:
    return sum(chunk.size for chunk in logs.stream(world.db, attempt_id) if chunk.data is None)


def test_a_leak_is_told_and_logged_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    _, attempt_id, lease = world.run()
    world.finish(attempt_id, lease)
    world.clock.advance(meter.LEAK_AFTER.total_seconds() + 1)
    house = _house(world, url=True)
    for _ in range(3):
        _tick(world, house)
    assert outbox.backlog(world.db).waiting == 1
    assert caplog.text.count("a leak is suspected") == 1


@pytest.mark.parametrize("url", [True, False])
def test_where_nobody_is_to_be_told_nothing_piles_up(world: World, url: bool) -> None:
    submissions.request_cancel(world.db, submit(world.db))
    _tick(world, _house(world, url=url))
    if not world.db.sqlite:  # the worker that would tell it may just be away
        assert outbox.backlog(world.db).waiting == 1
        world.clock.advance(outbox.ABSENCE.total_seconds())
        _tick(world, _house(world, url=url))
    assert outbox.backlog(world.db).waiting == url


def test_without_a_retention_logs_stay(world: World) -> None:
    attempt_id = _old_log(world)
    _tick(world, _house(world))
    assert _missing(world, attempt_id) == 0


def test_old_logs_are_looked_for_at_once_and_then_now_and_then(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, house = _old_log(world), _house(world, age=AGE)
    for _ in range(2):
        _tick(world, house)
    assert list(logs.stream(world.db, first)) == [Chunk(0, 10, None)]
    assert world.attempt(first).log_end == "deleted after 1h (RUNNER_RETENTION)"
    second = _old_log(world)
    for _ in range(2):
        _tick(world, house)
    assert _missing(world, second) == 0, "not before its time"
    monkeypatch.setattr(house, "_next_look", 0.0)
    _tick(world, house)
    assert _missing(world, second) == 10


def test_old_outputs_go_and_nothing_else(world: World, tmp_path: Path) -> None:
    store = Artifacts(str(tmp_path / "store"))
    attempt_id = _old_log(world)
    with world.db.write() as session:
        session.execute(update(Attempt).where(Attempt.id == attempt_id).values(outputs="trees/ab/x"))
    for key in (f"outputs/{attempt_id}/one", "outputs/another/one", "pieces/ab/one"):
        store.put(key, b"bytes")
    _tick(world, _house(world, age=AGE, store=store))
    wait_until(lambda: world.attempt(attempt_id).outputs is None, what="the end of the old outputs")
    kept = sorted(str(path.relative_to(tmp_path / "store")) for path in (tmp_path / "store").rglob("one"))
    assert kept == ["outputs/another/one", "pieces/ab/one"]


def test_a_tick_does_as_much_as_there_is_time_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "TICK_SECONDS", 0.0)
    monkeypatch.setattr(retention, "PIECE_BYTES", 4)
    attempts, house = [_old_log(world), _old_log(world)], _house(world, age=AGE)
    seen = []
    for _ in range(7):
        seen.append(sum(_missing(world, attempt_id) for attempt_id in attempts))
        _tick(world, house)
    assert seen == [0, 4, 8, 10, 14, 18, 20]


def test_what_was_settled_long_ago_goes_with_or_without_a_retention(world: World) -> None:
    submissions.request_cancel(world.db, submit(world.db))
    taken = outbox.take(world.db)
    assert taken is not None
    outbox.failed(world.db, taken, "x", for_good=True)
    world.clock.advance(outbox.KEEP.total_seconds() + 1)
    _tick(world, _house(world))
    assert outbox.backlog(world.db).given_up == 0
