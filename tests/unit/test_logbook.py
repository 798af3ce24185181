"""The logbook when the database fails: nobody waits for ever, and one poor attempt stops no other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from jobs.errors import DatabaseError
from jobs.store import logs
from jobs.store.database import Database
from jobs.store.transitions import AttemptLease, Stale
from tests.waiting import wait_until
from workers.steps import logbook
from workers.steps.logbook import CHUNK_BYTES, MOST_PENDING_BYTES, Logbook, Sink

LEASE = AttemptLease("owner", 1)
Append = Callable[[Database, Sequence[logs.Append]], list[bool]]


def _book(monkeypatch: pytest.MonkeyPatch, append: Append) -> Logbook:
    monkeypatch.setattr(logs, "append", append)
    return Logbook(cast("Any", None))


def _waits(sink: Sink, errors: list[BaseException]) -> threading.Thread:
    """Somebody who writes more than may be pending, and then waits for all of it."""

    def write() -> None:
        try:
            for _ in range(MOST_PENDING_BYTES // 65536 + 100):
                sink.write(b"x" * 65536)
            sink.flush()
        except Stale as error:
            errors.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    return thread


def test_a_full_disk_is_not_tried_as_fast_as_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much waits: the pause after a failure is a pause."""
    tries = 0

    def full(db: Database, appends: Sequence[logs.Append]) -> list[bool]:
        nonlocal tries
        tries += 1
        raise DatabaseError("The disk is full.")

    monkeypatch.setattr(logbook, "FIRST_RETRY", 3600.0)
    monkeypatch.setattr(logbook, "LONGEST_RETRY", 3600.0)
    book = _book(monkeypatch, full)
    errors: list[BaseException] = []
    loud = book.open("a", LEASE, 0)
    loud.write(b"first")
    wait_until(lambda: tries == 1, what="the first try")
    writer = _waits(loud, errors)
    wait_until(lambda: loud.received > MOST_PENDING_BYTES, what="a writer that is ahead")
    book.close(30)
    writer.join(30)
    assert tries == 2, "the first one, and the last one before leaving"


def test_a_full_disk_keeps_nobody_from_leaving(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Event()

    def full(db: Database, appends: Sequence[logs.Append]) -> list[bool]:
        tried.set()
        raise DatabaseError("The disk is full.")

    book = _book(monkeypatch, full)
    errors: list[BaseException] = []
    loud = book.open("a", LEASE, 0)
    quiet = book.open("b", LEASE, 0)
    quiet.write(b"one line")
    flushing: list[BaseException] = []
    flusher = threading.Thread(target=lambda: _flush(quiet, flushing))
    flusher.start()
    writer = _waits(loud, errors)
    assert tried.wait(30)
    wait_until(lambda: loud.received > MOST_PENDING_BYTES, what="a writer that is ahead")
    book.close(30)
    for thread in (writer, flusher):
        thread.join(30)
        assert not thread.is_alive()
    assert [type(error) for error in (*errors, *flushing)] == [Stale, Stale]


def test_a_fault_that_nobody_knows_puts_down_whom_it_met(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    written: list[bytes] = []

    def poor(db: Database, appends: Sequence[logs.Append]) -> list[bool]:
        if any(item.attempt_id == "bad" for item in appends):
            raise RuntimeError("a bug")
        written.extend(item.data or b"" for item in appends)
        return [True] * len(appends)

    book = _book(monkeypatch, poor)
    bad = book.open("bad", LEASE, 0)
    bad.write(b"x")
    with pytest.raises(Stale):
        bad.flush()
    assert "could not be written" in caplog.text
    good = book.open("good", LEASE, 0)
    good.write(b"y")
    assert good.flush() == 1
    book.close()
    assert written == [b"y"]


def test_the_loud_ones_do_not_keep_a_quiet_one_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[list[str]] = []
    first, go = threading.Event(), threading.Event()

    def append(db: Database, appends: Sequence[logs.Append]) -> list[bool]:
        batches.append([item.attempt_id for item in appends])
        first.set()
        assert go.wait(30)
        return [True] * len(appends)

    book = _book(monkeypatch, append)
    book.open("first", LEASE, 0).write(b"x")
    assert first.wait(30)
    for name in ("loud", "louder", "loudest"):
        book.open(name, LEASE, 0).write(b"x" * MOST_PENDING_BYTES)
    quiet = book.open("quiet", LEASE, 0)
    quiet.write(b"the end")
    go.set()
    assert quiet.flush() == 7
    book.close()
    assert "quiet" in batches[1]
    assert sum(batch.count("loudest") for batch in batches) == MOST_PENDING_BYTES // CHUNK_BYTES


def _flush(sink: Sink, errors: list[BaseException]) -> None:
    try:
        sink.flush()
    except Stale as error:
        errors.append(error)
