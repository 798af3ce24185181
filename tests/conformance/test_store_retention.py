"""RUNNER_RETENTION: old logs go, in pieces, and whoever reads is told what is missing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from jobs.store import logs, reads, retention
from jobs.store.logs import Append
from jobs.store.transitions import Stale
from jobs.views import Chunk
from tests.conformance.store_kit import World, count_events

AGE = timedelta(days=30)
SAID = "deleted after 30d (RUNNER_RETENTION)"


def _logged(world: World, *pieces: bytes | int, end: bool = True) -> tuple[str, str]:
    """A job that has written *pieces*, of which a number is a gap, and that has come to its *end* or not."""
    job_id, attempt_id, lease = world.run()
    start = 0
    for piece in pieces:
        data, size = (None, piece) if isinstance(piece, int) else (piece, len(piece))
        item = Append(attempt_id, lease.owner, lease.fence, start, data, size)
        assert logs.append(world.db, [item]) == [True]
        start += size
    if end:
        world.finish(attempt_id, lease)
        for _ in range(2):
            world.settle()
        assert world.show(job_id).final
    return job_id, attempt_id


def _delete(world: World, attempt_id: str) -> int:
    """Delete a log to its end; in how many pieces."""
    count = 1
    while not retention.shorten(world.db, world.lead, attempt_id, AGE):
        count += 1
    return count


def test_only_logs_of_jobs_that_are_final_for_long(world: World) -> None:
    _, old = _logged(world, b"old")
    _logged(world)  # it wrote nothing
    world.clock.advance(AGE.total_seconds())
    assert retention.outdated(world.db, AGE) == []
    world.clock.advance(1)
    _, young = _logged(world, b"young")
    assert retention.outdated(world.db, AGE) == [old]
    assert retention.outdated(world.db, timedelta(0)) == [old]
    _delete(world, old)
    assert retention.outdated(world.db, AGE) == []
    world.clock.advance(AGE.total_seconds() + 1)
    assert retention.outdated(world.db, AGE) == [young]
    _logged(world, b"it runs", end=False)
    world.clock.advance(1)
    assert retention.outdated(world.db, timedelta(0)) == [young]


def test_the_oldest_first_and_not_all_at_once(world: World) -> None:
    attempts = []
    for n in range(3):
        attempts.append(_logged(world, b"%d" % n)[1])
        world.clock.advance(1)
    world.clock.advance(AGE.total_seconds())
    assert retention.outdated(world.db, AGE, limit=2) == attempts[:2]


def test_one_gap_is_left_and_says_why(world: World) -> None:
    job_id, attempt_id = _logged(world, b"head", 10**10, b"tail", b"x" * 5000)
    before, events = world.show(job_id), count_events(world.db, job_id)
    whole = 4 + 10**10 + 4 + 5000
    assert _delete(world, attempt_id) == 1
    assert list(logs.stream(world.db, attempt_id)) == [Chunk(0, whole, None)]
    assert logs.read(world.db, attempt_id, 1000) == [Chunk(1000, whole - 1000, None)]
    assert logs.digest(world.db, attempt_id) is None
    after = world.show(job_id)
    assert (after.attempts[0].log_bytes, after.attempts[0].log_end) == (whole, SAID)
    assert replace(after, attempts=()) == replace(before, attempts=())
    assert replace(after.attempts[0], log_end=None) == replace(before.attempts[0], log_end=None)
    assert count_events(world.db, job_id) == events
    assert len(reads.listing(world.db)) == 1


def test_after_each_piece_the_rest_is_there_and_nothing_is_silent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies in between leaves a log that is shorter, and that the next one goes on with."""
    monkeypatch.setattr(retention, "PIECE_BYTES", 250)
    _, attempt_id = _logged(world, *(bytes([n]) * 100 for n in range(10)))
    world.clock.advance(AGE.total_seconds() + 1)
    for gone in (300, 600, 900):
        assert not retention.shorten(world.db, world.lead, attempt_id, AGE)
        chunks = list(logs.stream(world.db, attempt_id))
        assert chunks[0] == Chunk(0, gone, None)
        assert b"".join(chunk.data or b"" for chunk in chunks) == b"".join(
            bytes([n]) * 100 for n in range(gone // 100, 10)
        )
        assert retention.outdated(world.db, AGE) == [attempt_id]
        assert world.attempt(attempt_id).log_end is None
    assert retention.shorten(world.db, world.lead, attempt_id, AGE)
    assert list(logs.stream(world.db, attempt_id)) == [Chunk(0, 1000, None)]
    assert world.attempt(attempt_id).log_end == SAID


def test_many_small_chunks_go_in_pieces_as_well(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PIECE_CHUNKS", 7)
    _, attempt_id = _logged(world, *([b"x"] * 20))
    assert _delete(world, attempt_id) == 4, "7, and three times 6 with the gap before them"
    assert list(logs.stream(world.db, attempt_id)) == [Chunk(0, 20, None)]


def test_the_log_of_another_stays(world: World) -> None:
    _, first = _logged(world, b"first")
    _, second = _logged(world, b"second")
    _delete(world, first)
    assert list(logs.stream(world.db, second)) == [Chunk(0, 6, b"second")]


def test_only_who_leads_deletes(world: World) -> None:
    _, attempt_id = _logged(world, b"kept")
    stale = replace(world.lead, fence=world.lead.fence - 1)
    with pytest.raises(Stale):
        retention.shorten(world.db, stale, attempt_id, AGE)
    assert list(logs.stream(world.db, attempt_id)) == [Chunk(0, 4, b"kept")]
