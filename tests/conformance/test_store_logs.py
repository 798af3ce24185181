"""The log: no byte lost, none doubled, whoever writes and whoever dies; gaps are known."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, update

from jobs.models import Attempt, LogChunk
from jobs.store import logs
from jobs.store.database import Database
from jobs.store.logs import Append
from jobs.store.transitions import AttemptLease
from jobs.views import Chunk
from tests.conformance.store_kit import World, python
from tests.properties import examples


def _append(db: Database, attempt_id: str, lease: AttemptLease, start: int, data: bytes) -> bool:
    return logs.append(db, [Append(attempt_id, lease.owner, lease.fence, start, data, len(data))])[0]


def _all(db: Database, attempt_id: str, offset: int = 0) -> bytes:
    return b"".join(chunk.data or b"" for chunk in logs.stream(db, attempt_id, offset))


def test_bytes_come_back_as_they_were(world: World) -> None:
    _, attempt_id, lease = world.run()
    data = bytes(range(256)) + b"\x00\r\n\xff"
    assert _append(world.db, attempt_id, lease, 0, data)
    assert _append(world.db, attempt_id, lease, len(data), b"more")
    assert _all(world.db, attempt_id) == data + b"more"
    assert world.attempt(attempt_id).log_bytes == len(data) + 4
    assert logs.digest(world.db, attempt_id) == hashlib.sha256(data + b"more").hexdigest()


def test_an_empty_log(world: World) -> None:
    _, attempt_id, _ = world.run()
    assert logs.read(world.db, attempt_id, 0) == []
    assert logs.read(world.db, attempt_id, 7) == []
    assert logs.digest(world.db, attempt_id) == hashlib.sha256(b"").hexdigest()


def test_where_the_end_is_elsewhere_nothing_is_written(world: World) -> None:
    _, attempt_id, lease = world.run()
    assert _append(world.db, attempt_id, lease, 0, b"0123")
    for start in (0, 3, 5, 100):
        assert not _append(world.db, attempt_id, lease, start, b"xx")
    assert _all(world.db, attempt_id) == b"0123"


def test_each_of_a_batch_is_applied_or_dropped_for_itself(world: World) -> None:
    _, first, first_lease = world.run()
    _, second, second_lease = world.run()
    applied = logs.append(
        world.db,
        [
            Append(first, first_lease.owner, first_lease.fence, 0, b"ab", 2),
            Append(second, second_lease.owner, second_lease.fence - 1, 0, b"stale", 5),
            Append(first, first_lease.owner, first_lease.fence, 2, b"cd", 2),
            Append(second, second_lease.owner, second_lease.fence, 0, b"ok", 2),
            Append("nobody", "x", 1, 0, b"x", 1),
        ],
    )
    assert applied == [True, False, True, True, False]
    assert (_all(world.db, first), _all(world.db, second)) == (b"abcd", b"ok")


@pytest.mark.parametrize(("data", "size"), [(b"", 0), (b"ab", 3), (None, 0), (None, -1)])
def test_a_chunk_that_cannot_be(world: World, data: bytes | None, size: int) -> None:
    _, attempt_id, lease = world.run()
    with pytest.raises(ValueError, match="cannot be appended"):
        logs.append(world.db, [Append(attempt_id, lease.owner, lease.fence, 0, data, size)])


def test_a_known_gap_is_shown_as_one(world: World) -> None:
    _, attempt_id, lease = world.run()
    assert _append(world.db, attempt_id, lease, 0, b"head")
    assert logs.append(world.db, [Append(attempt_id, lease.owner, lease.fence, 4, None, 10**10)]) == [True]
    assert _append(world.db, attempt_id, lease, 4 + 10**10, b"tail")
    assert list(logs.stream(world.db, attempt_id)) == [
        Chunk(0, 4, b"head"),
        Chunk(4, 10**10, None),
        Chunk(4 + 10**10, 4, b"tail"),
    ]
    assert logs.read(world.db, attempt_id, 1000)[0] == Chunk(1000, 10**10 - 996, None)
    assert logs.digest(world.db, attempt_id) is None


def test_reading_holds_little_in_memory(world: World) -> None:
    _, attempt_id, lease = world.run()
    for n in range(12):
        assert _append(world.db, attempt_id, lease, n * 300_000, bytes([n]) * 300_000)
    piece = logs.read(world.db, attempt_id, 0)
    assert 1 << 20 <= sum(chunk.size for chunk in piece) < (1 << 20) + 300_000
    assert logs.read(world.db, attempt_id, 299_999, limit=1) == [Chunk(299_999, 1, b"\x00")]
    assert len(_all(world.db, attempt_id, 5)) == 12 * 300_000 - 5


def test_very_many_small_chunks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "READ_CHUNKS", 50)
    _, attempt_id, lease = world.run()
    data = [str(n).encode() for n in range(500)]
    starts = [sum(map(len, data[:n])) for n in range(500)]
    appends = [
        Append(attempt_id, lease.owner, lease.fence, start, piece, len(piece))
        for start, piece in zip(starts, data, strict=True)
    ]
    assert all(logs.append(world.db, appends))
    assert _all(world.db, attempt_id) == b"".join(data)


def test_the_log_of_one_is_not_that_of_another(world: World) -> None:
    _, first, first_lease = world.run()
    _, second, second_lease = world.run()
    assert _append(world.db, first, first_lease, 0, b"first")
    assert _append(world.db, second, second_lease, 0, b"second")
    assert _all(world.db, first) == b"first"
    assert _all(world.db, second, 3) == b"ond"


@pytest.fixture
def running(world: World) -> tuple[Database, str, AttemptLease]:
    """An attempt that takes bytes."""
    _, attempt_id, lease = world.run()
    return world.db, attempt_id, lease


@settings(examples, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(min_size=1, max_size=400),
    cuts=st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=30), min_size=2, max_size=3),
    seed=st.randoms(use_true_random=False),
)
def test_overlapping_writers_lose_and_double_nothing(
    running: tuple[Database, str, AttemptLease], data: bytes, cuts: list[list[int]], seed: object
) -> None:
    """Writers that each believe to be alone, cut the same bytes elsewhere and take turns at random."""
    db, attempt_id, lease = running
    with db.write() as session:
        session.execute(delete(LogChunk))
        session.execute(update(Attempt).where(Attempt.id == attempt_id).values(log_bytes=0))
    offsets = [0] * len(cuts)
    for turn in range(1000):
        if all(offset >= len(data) for offset in offsets):
            break
        who = seed.randrange(len(cuts))  # type: ignore[attr-defined]
        start = offsets[who]
        piece = data[start : start + cuts[who][turn % len(cuts[who])]]
        if piece and _append(db, attempt_id, lease, start, piece):
            offsets[who] = start + len(piece)
        else:  # stale: look where the log ends, and go on there
            with db.read() as session:
                row = session.get(Attempt, attempt_id)
                assert row is not None
                offsets[who] = row.log_bytes
    assert _all(db, attempt_id) == data
    for offset in range(0, len(data) + 1, max(1, len(data) // 7)):
        assert _all(db, attempt_id, offset) == data[offset:]


SOURCE = bytes(n * 7 % 251 for n in range(200_000))


def _write_all(db: Database, attempt_id: str, lease: AttemptLease, size: int) -> int:
    """Write SOURCE as a follower would that others disturb: where an append is dropped, look and go on."""
    offset = won = 0
    while offset < len(SOURCE):
        piece = SOURCE[offset : offset + size]
        if _append(db, attempt_id, lease, offset, piece):
            offset += len(piece)
            won += 1
        else:
            with db.read() as session:
                row = session.get(Attempt, attempt_id)
                assert row is not None
                offset = row.log_bytes
    return won


def test_two_threads_at_once(world: World) -> None:
    _, attempt_id, lease = world.run()
    gate = threading.Barrier(3)

    def write(size: int) -> int:
        gate.wait()
        return _write_all(world.db, attempt_id, lease, size)

    with ThreadPoolExecutor(3) as pool:
        won = list(pool.map(write, [997, 1499, 2003]))
    assert sum(won) >= len(SOURCE) // 2003
    assert _all(world.db, attempt_id) == SOURCE
    assert logs.digest(world.db, attempt_id) == hashlib.sha256(SOURCE).hexdigest()


def test_two_processes_at_once_and_one_is_killed(world: World, database_url: str) -> None:
    _, attempt_id, lease = world.run()
    code = """
import sys
from jobs.store.schema import open_database
from jobs.store.transitions import AttemptLease
from tests.conformance.test_store_logs import _write_all
database = open_database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
_write_all(database, sys.argv[2], AttemptLease(sys.argv[3], int(sys.argv[4])), int(sys.argv[5]))
database.close()
"""
    children = [
        python(code, database_url, attempt_id, lease.owner, str(lease.fence), str(size))
        for size in (811, 1213, 500)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    while world.attempt(attempt_id).log_bytes < 20_000:
        assert children[2].poll() is None
    children[2].kill()
    for child in children:
        _, error = child.communicate(timeout=100)
        assert error == ""
    assert _all(world.db, attempt_id) == SOURCE


def test_a_successor_goes_on_where_the_log_ends(world: World) -> None:
    """Two holders after each other: the first one's late bytes are dropped, whatever they are."""
    _, attempt_id, first = world.run()
    assert _append(world.db, attempt_id, first, 0, SOURCE[:1000])
    world.clock.advance(16)
    second = world.take(attempt_id, "other")
    assert second is not None
    assert not _append(world.db, attempt_id, first, 1000, SOURCE[1000:1500])
    assert _append(world.db, attempt_id, second, world.work(attempt_id).log_bytes, SOURCE[1000:])
    assert not _append(world.db, attempt_id, first, len(SOURCE), b"late")
    assert _all(world.db, attempt_id) == SOURCE
