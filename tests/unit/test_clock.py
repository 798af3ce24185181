"""One clock for all processes of a boot that use the same file, whatever is done to the wall meanwhile."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from filelock import FileLock

from jobs.store import clock, locks
from jobs.store.clock import STEP, Clock

SECOND = timedelta(seconds=1)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "runner.db"


@contextmanager
def _serving(database: Path) -> Iterator[None]:
    with FileLock(locks.beside(database, locks.SERVICE)):
        yield


def _set_wall(monkeypatch: pytest.MonkeyPatch, moved: timedelta) -> None:
    monkeypatch.setattr(clock, "_wall", lambda: datetime.now(UTC) + moved)


@pytest.mark.parametrize("moved", [timedelta(hours=-1), timedelta(days=400)])
def test_who_comes_after_a_step_of_the_wall_goes_by_the_service(
    database: Path, monkeypatch: pytest.MonkeyPatch, moved: timedelta
) -> None:
    with _serving(database):
        service = Clock(database)
        service.share()
        _set_wall(monkeypatch, moved)
        assert abs(Clock(database).now() - service.now()) < SECOND
        assert abs(Clock(None).now() - service.now()) > timedelta(minutes=59)
    assert abs(Clock(database).now() - Clock(None).now()) < SECOND, "nobody serves: it may be out of date"


def test_the_next_service_goes_by_a_wall_that_has_moved_and_keeps_one_that_has_not(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock(database).share()
    first = (database.parent / "runner.db.clock").read_text()
    _set_wall(monkeypatch, STEP / 2)
    Clock(database).share()
    assert (database.parent / "runner.db.clock").read_text() == first
    _set_wall(monkeypatch, timedelta(hours=1))
    with _serving(database):
        service = Clock(database)
        service.share()
    assert abs(service.now() - datetime.now(UTC) - timedelta(hours=1)) < SECOND
    assert abs(Clock(database).now() - service.now()) < SECOND


def test_what_was_shared_before_the_computer_started_anew_counts_no_more(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock(database).share()
    _set_wall(monkeypatch, timedelta(hours=1))
    monkeypatch.setattr(clock, "_boot_id", lambda: "another")
    assert abs(Clock(database).now() - datetime.now(UTC) - timedelta(hours=1)) < SECOND


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"boot": 1}', "\x00"])
def test_what_makes_no_sense_is_no_clock(database: Path, text: str) -> None:
    (database.parent / "runner.db.clock").write_text(text)
    assert abs(Clock(database).now() - datetime.now(UTC)) < SECOND


def test_where_it_cannot_be_shared_nobody_goes_by_an_old_one(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    Clock(database).share()
    monkeypatch.setattr(Path, "write_text", full)
    Clock(database).share()
    assert list(database.parent.iterdir()) == []


def test_the_file_is_private_and_alone(database: Path) -> None:
    Clock(database).share()
    (path,) = database.parent.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
