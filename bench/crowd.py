"""What a worker costs while hundreds of jobs run on it, and how long it takes to get over one that died."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from bench.farm import FILLING_RATE, LOOK_SECONDS, Farm, cpu, farm
from bench.house import wait_until
from bench.servers import database
from bench.table import Row
from bench.voices import LINE_BYTES, Voices
from jobs.store import leases
from tests.servers import Postgres, Redis

MB = 1_000_000
FILL_SECONDS = 900.0
HELD_SECONDS = 180.0
SETTLE_SECONDS = 5.0
WATCH_SECONDS = 20.0
FILLING = (
    f"While the account filled, RUNNER_API_RATE was {FILLING_RATE}; the workers measured have the usual 2."
)


@dataclass(frozen=True)
class Seen:
    """What some workers were seen to take. ``quiet``, ``busy``: per cent of one core, of each of them.

    ``lines``: a second, of each job, as they were really said; ``late``: seconds until the last was
    committed; ``seconds``: for which each was watched.
    """

    memory: list[int]
    threads: list[int]
    attends: list[int]
    quiet: list[float]
    busy: list[float]
    server: tuple[float, float]
    calls: float
    lines: float
    late: float
    seconds: float


def on_workers(
    postgres: Postgres, redis: Redis, jobs: int, *, seconds: float = WATCH_SECONDS
) -> Iterator[Row]:
    """*jobs* on one worker, twice as many on two, then the death of the one that leads."""
    environ = {"RUNNER_DATABASE_URL": database(postgres), "RUNNER_BROKER_URL": redis.url()}
    assert postgres.process is not None
    server = psutil.Process(postgres.process.pid)
    with farm(2 * jobs, environ) as place, Voices(place.folder, 2 * jobs) as voices:
        idle = _filled(place, voices, range(jobs), count=1, warm=True)
        one = place.start()
        _heard(place, voices, jobs)
        seen = _watch(place, voices, jobs, one, server, seconds)
        yield from _rows(f"{jobs} running jobs on one worker", jobs, idle, seen)
        place.stop()
        _filled(place, voices, range(jobs, 2 * jobs), count=2)
        two = place.start(2)
        _heard(place, voices, 2 * jobs)
        seen = _watch(place, voices, 2 * jobs, two, server, seconds)
        yield from _rows(f"{2 * jobs} running jobs on two workers", 2 * jobs, 2 * idle, seen)
        yield _takeover(place, voices, 2 * jobs, two)


def embedded(jobs: int, *, seconds: float = WATCH_SECONDS) -> Iterator[Row]:
    """The same *jobs* in the service of one computer, on SQLite."""
    with farm(jobs, {}) as place, Voices(place.folder, jobs) as voices:
        idle = _filled(place, voices, range(jobs), count=1, warm=True)
        service = place.start()
        _heard(place, voices, jobs)
        seen = _watch(place, voices, jobs, service, None, seconds)
        yield from _rows(f"{jobs} running jobs in the embedded service (SQLite)", jobs, idle, seen)


def _filled(place: Farm, voices: Voices, numbers: Sequence[int], *, count: int, warm: bool = False) -> int:
    """Have these jobs run too, with *count* workers in a hurry, and stop those. Returns one's RSS before."""
    workers = place.start(count, RUNNER_API_RATE=str(FILLING_RATE))
    if warm:
        place.warm()
    idle: int = workers[0].memory_info().rss
    wanted = len(place.running()) + len(numbers)
    place.submit([voices.command(number) for number in numbers])
    wait_until(
        lambda: len(place.running()) == wanted, FILL_SECONDS, f"{wanted} running jobs", pause=2 * LOOK_SECONDS
    )
    place.stop()
    return idle


def _heard(place: Farm, voices: Voices, jobs: int) -> None:
    """Wait until somebody attends to each of *jobs*, and what they say is committed again."""
    held = {attempt: item.log_bytes for attempt, item in place.running().items()}
    with _talking(voices, jobs):
        wait_until(
            lambda: all(
                item.owner is not None and item.log_bytes > held[attempt]
                for attempt, item in place.running().items()
            ),
            HELD_SECONDS,
            f"{jobs} logs that grow",
            LOOK_SECONDS,
        )
    _committed(place, voices)
    time.sleep(SETTLE_SECONDS)


def _watch(
    place: Farm,
    voices: Voices,
    jobs: int,
    workers: list[psutil.Process],
    server: psutil.Process | None,
    seconds: float,
) -> Seen:
    """Look at them for *seconds* while nobody says anything, then at a line a second of each job."""
    watched = [*workers, *([] if server is None else [server])]
    began = time.monotonic()
    quiet = _shares(watched, seconds)
    said = voices.lines
    talk_began = time.monotonic()
    with _talking(voices, jobs):
        busy = _shares(watched, seconds)
    lines = (voices.lines - said) / (time.monotonic() - talk_began) / jobs
    calls = place.calls(began) / (time.monotonic() - began) * 60
    late = _committed(place, voices)
    owners = [item.owner for item in place.running().values()]
    return Seen(
        memory=[worker.memory_info().rss for worker in workers],
        threads=[worker.num_threads() for worker in workers],
        attends=[owners.count(place.owner(worker)) for worker in workers],
        quiet=quiet[: len(workers)],
        busy=busy[: len(workers)],
        server=(sum(quiet[len(workers) :]), sum(busy[len(workers) :])),
        calls=calls,
        lines=lines,
        late=late,
        seconds=seconds,
    )


def _takeover(place: Farm, voices: Voices, jobs: int, workers: list[psutil.Process]) -> Row:
    """`kill -9` for the worker that leads: until all it attended to has a new holder, and its logs grow."""
    dies = next(worker for worker in workers if place.leads(worker))
    survivor = place.owner(next(worker for worker in workers if worker is not dies))
    with _talking(voices, jobs):
        died = place.owner(dies)
        place.kill(dies)
        began = time.monotonic()
        before = place.running()
        orphans = {attempt for attempt, item in before.items() if item.owner == died}
        held = grown = None
        while grown is None:
            now = place.running()
            if held is None and all(now[attempt].owner == survivor for attempt in orphans):
                held = time.monotonic() - began
            if held is not None and all(now[a].log_bytes > item.log_bytes for a, item in before.items()):
                grown = time.monotonic() - began
            if time.monotonic() - began > HELD_SECONDS:
                raise RuntimeError(f"the jobs of a dead worker were not taken over: {place.said()}")
            time.sleep(LOOK_SECONDS)
    _committed(place, voices)  # a byte that were lost or doubled would keep the sums from ever agreeing
    return Row(
        f"`kill -9` of one of two workers with {jobs} jobs",
        f"{held:.1f} s until its {len(orphans)} jobs have a new holder, {grown:.1f} s until all logs grow",
        f"{leases.LEASE.total_seconds():.0f} s of it a lease lasts",
        f"The one that led. All jobs say a line a second; looked at every {LOOK_SECONDS} s. The survivor "
        "logs in to its machines, on the cores on which they answer. The logs are as long as what was said.",
    )


@contextmanager
def _talking(voices: Voices, jobs: int) -> Iterator[None]:
    voices.talk(jobs)
    try:
        yield
    finally:
        voices.hush()


def _committed(place: Farm, voices: Voices) -> float:
    """Wait until all that was said is in the database, to the byte; returns for how long."""
    began = time.monotonic()

    def all_there() -> bool:
        return sum(item.log_bytes for item in place.running().values()) == voices.lines * LINE_BYTES

    wait_until(all_there, HELD_SECONDS, "the last line of every job", 0.05)
    return time.monotonic() - began


def _shares(processes: Sequence[psutil.Process], seconds: float) -> list[float]:
    """Per cent of one core that each process, with its children, takes over so long."""
    before, began = [cpu(process) for process in processes], time.monotonic()
    time.sleep(seconds)
    after, took = [cpu(process) for process in processes], time.monotonic() - began
    return [100 * (last - first) / took for first, last in zip(before, after, strict=True)]


def _rows(where: str, jobs: int, idle: int, seen: Seen) -> Iterator[Row]:
    split = "" if len(seen.attends) == 1 else f" ({' and '.join(str(count) for count in seen.attends)})"
    memory = sum(seen.memory)
    yield Row(
        f"memory with {where}{split}",
        f"{memory / MB:.0f} MB in all, {(memory - idle) / MB / jobs:.2f} MB a job",
        f"{idle / MB:.0f} MB without jobs; {_each(seen.threads, '{} threads')}",
        f"RSS, after they have talked, of workers that took the jobs over from others. {FILLING}",
    )
    database = "SQLite is in the process"
    if any(seen.server):
        database = f"PostgreSQL: {seen.server[0]:.1f} % quiet, {seen.server[1]:.0f} % at a line a second"
    yield Row(
        f"… their CPU, quiet and at {seen.lines:.2f} lines a second each",
        f"{_each(seen.quiet, '{:.1f} %')} and {_each(seen.busy, '{:.0f} %')} of one core",
        f"{database}; the last line was committed {seen.late:.2f} s after it was said",
        f"Over {seen.seconds:.0f} s each. The machines run on the same cores and are not counted.",
    )
    yield Row(
        "… their API requests",
        f"{seen.calls:.0f} a minute",
        "120 a minute at most",
        "While nothing begins or ends: the account is listed every 10 s.",
    )


def _each(values: Sequence[float], form: str) -> str:
    show: Callable[[float], str] = form.format
    return " / ".join(show(value) for value in values)
