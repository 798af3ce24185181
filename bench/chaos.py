"""`python -P -m bench.chaos`: many jobs, everything goes wrong meanwhile, and then the books are audited.

    --seed N       what goes wrong, when, and which jobs there are; printed, and by itself the time
    --jobs N       how many
    --embedded     the service of one computer on SQLite; else workers around PostgreSQL and Redis
    --seeds N      so many runs, one after the other, from the seed on
    --workers N    how many of them, by default 3
    --only A,B     what may go wrong, by the names in `bench.breaking`; by default everything
    --about NAME   go for one protection (see `bench.unprotected`), with --without in its absence

What happens at random is decided by the seed; what comes of it depends on the computer as well. Ends with 1
where anything is found, after the story of each job that it was found about.
"""

from __future__ import annotations

import argparse
import random
import shlex
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from cryptography.fernet import Fernet

from bench import breaking, unprotected
from bench.audit import NOT_WHOLE, Done, Finding, Promise, audit, budget
from bench.breaking import Place
from bench.farm import Farm, farm
from bench.house import GPU
from bench.servers import database, servers
from bench.unprotected import Protection
from jobs.spec import JobSpec
from jobs.states import State
from jobs.store import budgets, reads

MACHINES, FEW = 12, 3
"""How many there are; few where a run is about one protection, so that jobs begin and end all the time."""
WORKERS = 3
AT_ONCE = 3
"""How many things go wrong at the same time, at most."""
PAUSE_SECONDS = (0.1, 1.5)
PAUSES = (0, 0.01, 0.02)
CALM_SECONDS = 240.0
"""How long all jobs may take to be final once nothing goes wrong any more."""
SHORT_CALM_SECONDS = 60.0
"""And where a protection is away: what has not ended by then is the damage."""
BUDGET = "chaos"
BUDGET_MICROS, A_JOB_MICROS = 3_000_000, 30_000
"""Only a few jobs at a time fit into it, so that most wait for it once; but in the end all have run."""
SETTINGS = {"RUNNER_BOOT_TIMEOUT": "30s", "RUNNER_API_RATE": "20"}


@dataclass
class Run:
    """One run: what was submitted, what went wrong, and what was found."""

    seed: int
    happened: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    stories: dict[str, list[str]] = field(default_factory=dict)
    attempts: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Plan:
    """What a run is: how many jobs, on what, and what goes wrong. *about*: the protection that it is for."""

    jobs: int = 100
    embedded: bool = False
    workers: int = WORKERS
    faults: Sequence[Callable[[Place], None]] = breaking.ALL
    about: str | None = None
    without: bool = False

    @property
    def protection(self) -> Protection | None:
        return None if self.about is None else unprotected.ALL[self.about]

    @property
    def pauses(self) -> Sequence[float]:
        """How long a command may rest between two of its lines, in seconds."""
        return PAUSES if self.protection is None else self.protection.pauses


def run(seed: int, plan: Plan) -> Run:
    """Submit, break, calm down, wait, audit."""
    rng = random.Random(seed)
    found, began = Run(seed), time.monotonic()
    whole = max(BUDGET_MICROS, A_JOB_MICROS * plan.jobs)
    with _place(rng, plan) as place, TemporaryDirectory(prefix="runner-marks-") as folder:
        marks = Path(folder)
        budgets.put(place.farm.client.database, BUDGET, whole, None)
        promises = _submit(place.farm, rng, plan, marks)
        _break_all(place, seed, plan, found, list(promises))
        _wait(place, len(promises), CALM_SECONDS if not plan.without else SHORT_CALM_SECONDS)
        _until(lambda: not place.farm.sim.instances(), 60)
        db = place.farm.client.database
        done = Done(place.harmed, place.damaged)
        found.findings = list(audit(db, promises, place.farm.sim.ledger(), marks, done))
        found.findings += budget(db, BUDGET, whole)
        found.findings += _outputs(place.farm, list(promises))
        for view in reads.some(db, list(promises)):
            found.ends[f"{view.state} ({view.reason})"] += 1
            found.attempts += len(view.attempts)
        for job_id in {item.job_id for item in found.findings if item.job_id is not None}:
            found.stories[job_id] = [
                f"{event.at:%H:%M:%S.%f} {event.event}: {event.from_state} -> {event.to_state} "
                f"({event.reason}; {event.detail}; {event.who})"
                for event in reads.history(db, job_id)
            ]
        if found.findings and not plan.without:
            print(place.farm.said(), file=sys.stderr)
    found.seconds = time.monotonic() - began
    return found


def _break_all(place: Place, seed: int, plan: Plan, found: Run, job_ids: list[str]) -> None:
    """Several things at a time go wrong until most jobs are over, and people cancel some meanwhile."""
    at_once = AT_ONCE if plan.about is None else 1
    threads = [
        threading.Thread(target=_break, args=(place, random.Random(f"{seed} {n}"), plan, found), daemon=True)
        for n in range(at_once)
    ]
    if plan.about is None:
        threads.append(
            threading.Thread(target=_cancel, args=(place, random.Random(f"{seed} c"), job_ids), daemon=True)
        )
    for thread in threads:
        thread.start()
    _wait(place, len(job_ids) * 3 // 4, 30 + 3.0 * len(job_ids))
    place.over.set()
    for thread in threads:
        thread.join()
    place.farm.sim.faults.clear()


def _outputs(built: Farm, job_ids: list[str]) -> Iterator[Finding]:
    """What a job says that it brought back is there, and is what its command left."""
    data = (built.folder / "work dir" / "data").read_bytes()
    for view in reads.some(built.client.database, job_ids):
        state = view.attempts[-1].outputs_state if view.state is State.SUCCEEDED else None
        if not (state or {}).get("complete"):
            continue
        target = built.folder / "outputs" / view.id
        built.client.get(view.id).download(target)
        if (target / "data").read_bytes() != data:
            yield Finding("outputs", view.id, "other bytes came back than its command left")


@contextmanager
def _place(rng: random.Random, plan: Plan) -> Iterator[Place]:
    with ExitStack() as stack:
        environ = dict(SETTINGS)
        place = partial(Place, rng=rng, over=threading.Event(), workers=1 if plan.embedded else plan.workers)
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="runner-chaos-")))
        environ |= {"CHAOS_CLOCK": str(folder / "clock"), "CHAOS_FREEZE": str(folder / "freeze")}
        if plan.about is not None:
            environ["CHAOS_PROTECTION"] = plan.about
        if plan.without:
            environ["CHAOS_WITHOUT"] = "yes"
        if not plan.embedded:
            postgres, redis = stack.enter_context(servers())
            environ |= {
                "RUNNER_DATABASE_URL": database(postgres),
                "RUNNER_BROKER_URL": redis.url(),
                "RUNNER_ARTIFACTS_URL": stack.enter_context(TemporaryDirectory(prefix="runner-store-")),
                "RUNNER_SECRET_KEY": Fernet.generate_key().decode(),
            }
            place = partial(place, postgres=postgres, redis=redis)
        machines = MACHINES if plan.about is None else FEW
        guarded = rng.random() < 0.5
        built = stack.enter_context(
            farm(machines, environ, boot_seconds=0.2, module="bench.served", guarded=guarded)
        )
        found = place(farm=built, folder=folder)
        built.start(found.workers)
        yield found


def _submit(built: Farm, rng: random.Random, plan: Plan, marks: Path) -> dict[str, Promise]:
    work = built.folder / "work dir"
    work.mkdir()
    (work / "data").write_bytes(rng.randbytes(300_000))
    specs: list[JobSpec] = []
    promises: list[Promise] = []
    for _ in range(plan.jobs):
        promise = Promise(lines=rng.randint(1, 400), code=rng.choice([0, 0, 0, 0, 3]))
        specs.append(_spec(rng, promise, rng.choice(plan.pauses), marks, work))
        promises.append(promise)
    return {job.id: promise for job, promise in zip(built.client.submit_many(specs), promises, strict=True)}


def _spec(rng: random.Random, promise: Promise, pause: float, marks: Path, work: Path) -> JobSpec:
    """A job that writes its lines, leaves its marks, and may want files, a secret, or another try."""
    mark = f"{shlex.quote(str(marks))}/$RUNNER_JOB_ID.$RUNNER_ATTEMPT"
    lines = f'i=0; while [ $i -lt {promise.lines} ]; do i=$((i+1)); echo "$RUNNER_ATTEMPT: line $i"'
    lines += f"; sleep {pause}; done" if pause else "; done"
    command = f"echo started >>{mark}; {lines}; echo ended >>{mark}; exit {promise.code}"
    spec: dict[str, Any] = {"command": command, "gpu": GPU, "max_cost": 5, "max_runtime": "10m"}
    if rng.random() < 0.3:
        spec |= {"workdir": work, "output": "data"}
        spec["command"] = f"cmp -s data {shlex.quote(str(work))}/data || exit {NOT_WHOLE}; {command}"
    if rng.random() < 0.2:
        spec["secret"] = {"TOKEN": "swordfish"}
        spec["command"] = f'[ "$TOKEN" = swordfish ] || exit {NOT_WHOLE}; {spec["command"]}'
    if rng.random() < 0.3:
        spec |= {"retries": 2, "retry_on": "lost"}
    if rng.random() < 0.5:
        spec |= {"budget": BUDGET, "max_cost": f"{rng.uniform(0.2, 1):.2f}"}
    if rng.random() < 0.3:
        spec |= {"grace": "5s", "max_price": "0.99"}
    return cast("JobSpec", spec)


def _break(place: Place, rng: random.Random, plan: Plan, found: Run) -> None:
    """One thing after the other, until it is over."""
    mine = replace(place, rng=rng)
    while not place.over.is_set():
        what = rng.choice(plan.faults)
        with _one_at_a_time(what.__name__):
            try:
                what(mine)
            except Exception as error:  # noqa: BLE001 - what is broken already cannot always be broken again
                found.happened[f"{what.__name__}: {type(error).__name__}"] += 1
            else:
                found.happened[what.__name__] += 1
        mine.pause(*PAUSE_SECONDS)


_locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
_TOGETHER = {
    **dict.fromkeys(("killed_worker", "stopped_worker", "overtaken_worker", "jumped_clock"), "workers"),
    **dict.fromkeys(("endless_boot", "restarted_machine"), "boots"),
}


@contextmanager
def _one_at_a_time(name: str) -> Iterator[None]:
    """Two of a kind would undo each other's; a service that begins while the clock is wrong believes it."""
    with _locks[_TOGETHER.get(name, name)]:
        yield


def _cancel(place: Place, rng: random.Random, job_ids: list[str]) -> None:
    """Somebody changes his mind about some of them, now and then."""
    for job_id in rng.sample(job_ids, len(job_ids) // 8):
        place.over.wait(rng.uniform(0.5, 6))
        if place.over.is_set():
            return
        _patiently(lambda job_id=job_id: place.farm.client.get(job_id).cancel())


def _patiently(call: Any) -> Any:
    """The database may be away for a moment; that is a part of it."""
    from jobs.errors import DatabaseError

    for _ in range(50):
        try:
            return call()
        except DatabaseError:
            time.sleep(0.2)
    return call()


def _wait(place: Place, count: int, seconds: float) -> None:
    """Until so many jobs are final, or the time is over; then the audit has something to say."""
    _until(lambda: _finals(place) >= count, seconds)


def _finals(place: Place) -> int:
    counts: Mapping[Any, int] = _patiently(lambda: reads.counts(place.farm.client.database))
    return sum(number for state, number in counts.items() if state.final)


def _until(condition: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.5)


def report(found: Run, jobs: int) -> None:
    """What came of it, for a person."""
    print(f"seed {found.seed}: {jobs} jobs, {found.attempts} attempts, {found.seconds:.0f} s")
    print(f"  what went wrong: {', '.join(f'{n} {what}' for what, n in sorted(found.happened.items()))}")
    print(f"  how they ended: {', '.join(f'{n} {what}' for what, n in sorted(found.ends.items()))}")
    print(f"  findings: {len(found.findings)}")
    for item in found.findings:
        print(f"    {item.kind}: {f'job {item.job_id}: ' if item.job_id else ''}{item.what}")
    for job_id, story in found.stories.items():
        print(f"  the story of {job_id}:")
        for line in story:
            print(f"    {line}")
    sys.stdout.flush()


def main() -> int:
    """Run them; 1 where anything was found."""
    parser = argparse.ArgumentParser(
        prog="bench.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--seeds", type=_number, default=1)
    parser.add_argument("--jobs", type=_number, default=100)
    parser.add_argument("--workers", type=_number, default=WORKERS)
    parser.add_argument("--embedded", action="store_true")
    parser.add_argument("--only", type=_faults)
    parser.add_argument("--about", choices=sorted(unprotected.ALL))
    parser.add_argument("--without", action="store_true")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # by way of all that cleans up
    if given.without and given.about is None:
        parser.error("--without needs --about NAME")
    faults = unprotected.ALL[given.about].faults if given.about is not None else breaking.ALL
    if given.embedded:
        faults = tuple(what for what in faults if what not in breaking.OF_WORKERS)
    plan = Plan(given.jobs, given.embedded, given.workers, given.only or faults, given.about, given.without)
    bad = 0
    for seed in range(given.seed, given.seed + given.seeds):
        print(f"seed {seed} ...", file=sys.stderr, flush=True)
        found = run(seed, plan)
        report(found, given.jobs)
        bad += bool(found.findings)
    print(f"{given.seeds - bad} of {given.seeds} runs without a finding")
    return 1 if bad else 0


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _faults(text: str) -> list[Callable[[Place], None]]:
    known = {what.__name__: what for what in breaking.ALL}
    try:
        return [known[name] for name in text.split(",")]
    except KeyError as error:
        raise argparse.ArgumentTypeError(f"no fault {error}; there are: {', '.join(known)}") from None


if __name__ == "__main__":
    sys.exit(main())
