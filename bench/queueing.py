"""How fast jobs are queued, on SQLite and on PostgreSQL, beside plain Celery that sends to the same Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

from celery import Celery

from bench.house import GPU
from bench.servers import database
from bench.table import Row
from jobs.spec import JobSpec
from runner import Client
from tests.servers import Postgres, Redis
from workers.doorbell import MOST_RINGS

SINGLE_SECONDS = 2.0
ROUNDS = 3
MANY = 1000
SPEC: JobSpec = {"command": "python train.py", "gpu": GPU, "max_cost": 5, "env": {"SEED": "1"}}
PLAIN = "plain Celery"
BIAS = (
    "In turns, no worker is running. Ours are on the disk when it returns (fsync), checked, and read back; "
    "Celery's are in the memory of a Redis that keeps nothing."
)

Queue = Callable[[int], None]


def measure(postgres: Postgres, redis: Redis, *, quick: bool = False) -> Iterator[Row]:
    """All ways in turns, so that a noisy moment hits them all."""
    seconds = SINGLE_SECONDS / 4 if quick else SINGLE_SECONDS
    with TemporaryDirectory(prefix="runner-bench-") as name, ExitStack() as stack:
        ways = _ways(Path(name), stack, postgres, redis)
        counts = dict.fromkeys(ways, 0)
        for queue in ways.values():
            queue(1)  # imports, connections, the first row
        for _ in range(ROUNDS):
            for way, queue in ways.items():
                end = time.monotonic() + seconds / ROUNDS
                while time.monotonic() < end:
                    queue(1)
                    counts[way] += 1
            redis.flush()
        yield from _rows("submit, one at a time", {way: count / seconds for way, count in counts.items()})
        best = dict.fromkeys(ways, 0.0)
        for _ in range(ROUNDS):
            for way, queue in ways.items():
                began = time.monotonic()
                queue(MANY)
                best[way] = max(best[way], MANY / (time.monotonic() - began))
            redis.flush()
        yield from _rows(f"submit_many of {MANY:,}", best, f" Best of {ROUNDS}; Celery has no call for many.")


def _ways(folder: Path, stack: ExitStack, postgres: Postgres, redis: Redis) -> Mapping[str, Queue]:
    """Each way to queue so many jobs, by its name."""
    url, broker = database(postgres), redis.url()
    places: dict[str, dict[str, str]] = {
        "SQLite": {},
        "PostgreSQL": {"database_url": url},
        "PostgreSQL, with a broker to ring at": {"database_url": url, "broker_url": broker},
    }
    found: dict[str, Queue] = {}
    for number, (name, options) in enumerate(places.items()):
        home = folder / f"home {number}"
        home.mkdir(mode=0o700)
        client = stack.enter_context(Client(home=home, **options))
        found[name] = _ours(client)
    app = Celery("bench", broker=redis.url(1), set_as_current=False)
    stack.enter_context(closing(app))
    found[PLAIN] = _celery(app)
    return found


def _ours(client: Client) -> Queue:
    def queue(count: int) -> None:
        client.submit_many([SPEC] * count)

    return queue


def _celery(app: Celery) -> Queue:
    @app.task(name="train", ignore_result=True)
    def train(**spec: object) -> None:
        raise NotImplementedError  # sent only

    def queue(count: int) -> None:
        for _ in range(count):
            train.apply_async(kwargs=dict(SPEC))

    return queue


def _rows(what: str, rates: Mapping[str, float], more: str = "") -> Iterator[Row]:
    plain = rates[PLAIN]
    for way, rate in rates.items():
        if way != PLAIN:
            rung = f" Of many together {MOST_RINGS} are rung for." if "broker" in way else ""
            beside = f"{rate / plain:.2f} of `apply_async` of {PLAIN} on Redis ({plain:,.0f}/s)"
            yield Row(f"{what}: {way}", f"{rate:,.0f} jobs/s", beside, BIAS + more + rung)
