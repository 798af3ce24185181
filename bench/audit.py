"""What must be true of jobs whatever went wrong meanwhile: their books, the bill, and their own marks.

A command of `bench.chaos` writes a mark when it starts and one when it ends, into a folder that survives its
machine. The audit holds these, the simulated cloud's ledger and its machines against the database.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

from sqlalchemy import select

from jobs.ids import parse_instance_name
from jobs.models import Attempt, Instance, JobEvent
from jobs.states import TABLE, State
from jobs.store import budgets, logs, reads
from jobs.store.database import Database
from jobs.store.sightings import GIVEN_UP, SEEN_AGAIN
from jobs.views import AttemptView, EventView, JobView
from runner.sim.ledger import Charge, Ledger
from workers.steps.run import DIFFERS

STARTED, ENDED = "started", "ended"
NOT_WHOLE = 9
"""With this code a command ends that does not find its files, or its secret, as they were submitted."""
REASONS = frozenset(
    {"exit_code", "lost", "boot_timeout", "deploy_failed", "upload_failed", "cancelled_by_user", None}
)
"""How an attempt may end here; None where nothing was rented."""
CLOCKS_DIFFER = timedelta(seconds=1)
_MOVES = {(row.state, row.event.value, row.next) for row in TABLE}


@dataclass(frozen=True)
class Finding:
    """Something that must not be, about one job or none."""

    kind: str
    job_id: str | None
    what: str


@dataclass(frozen=True)
class Promise:
    """What a job was submitted as: how many lines its command writes, and how it exits by itself."""

    lines: int
    code: int

    def log(self, attempt: int) -> bytes:
        """The whole log of an attempt that runs to its end."""
        return b"".join(b"%d: line %d\n" % (attempt, number) for number in range(1, self.lines + 1))


@dataclass(frozen=True)
class Done:
    """What was done to machines, by their uuids: no finding is a finding where that is the reason.

    *harmed*: they were lost, or what ran there was. *damaged*: somebody wrote into their logs.
    """

    harmed: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)


def audit(
    db: Database, promises: dict[str, Promise], ledger: Ledger, marks: Path, done: Done
) -> Iterator[Finding]:
    """Everything that is wrong. Machines that live are a finding, so call it when all jobs should be over."""
    yield from _machines(db, ledger)
    views = {view.id: view for view in reads.some(db, list(promises))}
    for charge in ledger.charges:
        if charge.ended is None:
            yield Finding("leak", None, f"{charge.name} ({charge.uuid}) is still rented")
    bills = _bills(db, ledger)
    named = {item.instance_name for view in views.values() for item in view.attempts}
    for charge in ledger.charges:
        if charge.name not in named:
            yield Finding("stray", None, f"{charge.name} ({charge.uuid}) belongs to no attempt")
    for name, count in Counter(charge.name for charge in ledger.charges).items():
        if count > 1:
            yield Finding("rented twice", None, f"{count} machines were named {name}")
    for job_id, promise in promises.items():
        view = views[job_id]
        if not view.final:
            yield Finding("not final", job_id, f"it is {view.state}: {view.detail or view.reason}")
            continue
        for what in _moves(reads.history(db, job_id)):
            yield Finding("transition", job_id, what)
        yield from _runs(view, promise, marks)
        for attempt in view.attempts:
            yield from _log(db, view, attempt, promise, marks, attempt.instance_uuid in done.damaged)
            yield from _end(view, attempt, done)
            yield from _receipt(view, attempt, {charge.uuid: charge for charge in ledger.charges})
        yield from _ceiling(view, bills.get(job_id, Fraction(0)))


def taken(db: Database) -> Iterator[tuple[str, int]]:
    """After each event: whose it was, and what all jobs together had taken of their budgets."""
    with db.read() as session:
        events = session.execute(select(JobEvent.job_id, JobEvent.budget_charged).order_by(JobEvent.id)).all()
    by_job: dict[str, int] = {}
    together = 0
    for job_id, charged in events:
        together += (charged or 0) - by_job.get(job_id, 0)
        by_job[job_id] = charged or 0
        yield job_id, together


def budget(db: Database, name: str, whole: int) -> Iterator[Finding]:
    """No instant at which jobs had taken more than there is, by the events; at the end, what they cost."""
    for job_id, sum_of_all in taken(db):
        if sum_of_all > whole:
            yield Finding("budget", job_id, f"{sum_of_all} of {whole} micro-dollars were taken then")
    views = [view for view in reads.listing(db) if view.budget == name]
    (standing,) = [found for found in budgets.standings(db) if found.name == name]
    spent = sum(view.cost for view in views if view.final)
    if all(view.final for view in views) and (standing.spent, standing.reserved) != (spent, 0):
        what = f"{standing.spent} spent and {standing.reserved} reserved, and its jobs cost {spent}"
        yield Finding("budget", None, what)


def _machines(db: Database, ledger: Ledger) -> Iterator[Finding]:
    """What we believed of machines, and when, against when they really ended."""
    ended = {charge.uuid: charge.ended for charge in ledger.charges}
    with db.read() as session:
        rows = session.execute(select(Instance)).scalars().all()
    for row in rows:
        if row.uuid not in ended:
            continue
        end = ended[row.uuid]
        if row.gone_at is not None and (end is None or row.gone_at < end - CLOCKS_DIFFER):
            yield Finding("taken for gone", row.job_id, f"{row.name} at {row.gone_at}, and it lived")
        if row.doomed_why == SEEN_AGAIN:
            yield Finding("taken for alive", row.job_id, f"{row.name}, though it was gone")
        if row.doomed_why == GIVEN_UP:
            yield Finding("given up", row.job_id, f"{row.name} was there, and another one was rented")


def _end(view: JobView, attempt: AttemptView, done: Done) -> Iterator[Finding]:
    """Whether there was any reason for the end that an attempt is said to have had."""
    if attempt.outcome == "lost" and attempt.instance_uuid not in done.harmed:
        yield Finding(
            "lost for nothing", view.id, f"attempt {attempt.number}: nothing happened to its machine"
        )
    if attempt.outcome not in REASONS:
        yield Finding("wrong end", view.id, f"attempt {attempt.number} ended by {attempt.outcome}")


def _moves(history: list[EventView]) -> Iterator[str]:
    state: str | None = None
    for event in history:
        if event.from_state != state:
            yield f"{event.event!r} came from {event.from_state}, but the job was {state}"
        before = State(event.from_state) if event.from_state is not None else None
        if (before, event.event, State(event.to_state)) not in _MOVES:
            yield f"{event.event!r} moved it from {event.from_state} to {event.to_state}, which no row allows"
        state = event.to_state


def _marks(marks: Path, view: JobView, attempt: AttemptView) -> list[str]:
    try:
        return (marks / f"{view.id}.{attempt.number}").read_text().split()
    except FileNotFoundError:
        return []


def _runs(view: JobView, promise: Promise, marks: Path) -> Iterator[Finding]:
    """A command runs once in an attempt, and again only where the job asked for that."""
    again = view.retries
    for attempt in view.attempts:
        starts = _marks(marks, view, attempt).count(STARTED)
        if starts > 1:
            yield Finding(
                "ran twice", view.id, f"attempt {attempt.number} started its command {starts} times"
            )
        if starts and attempt is not view.attempts[-1]:
            again -= 1
            # One that got the order to start and was never heard of again counts as lost.
            cause = "lost" if attempt.outcome == "boot_timeout" else attempt.outcome
            if again < 0 or cause not in view.retry_on:
                what = f"again after attempt {attempt.number}, {cause}; it may {view.retries} times for"
                yield Finding("ran twice", view.id, f"it was tried {what} {view.retry_on}")
    last = view.attempts[-1] if view.attempts else None
    done = last is not None and ENDED in _marks(marks, view, last)
    if view.exit_code == NOT_WHOLE:
        yield Finding("files", view.id, "its folder or its secret was not what was submitted")
    if view.state is State.SUCCEEDED and not (done and promise.code == 0):
        yield Finding("wrong end", view.id, "it succeeded, and its command did not")
    if view.exit_code is not None and view.exit_code == 0 and promise.code != 0:
        yield Finding("wrong end", view.id, f"exit code 0, and its command exits with {promise.code}")


def _log(
    db: Database, view: JobView, attempt: AttemptView, promise: Promise, marks: Path, damaged: bool
) -> Iterator[Finding]:
    """Each byte that is there is the right one, in its place; one that is sealed has them all.

    Where the machine's own copy was *damaged*, that must be said.
    """
    if damaged and attempt.log_end == DIFFERS:
        return
    expected, at = promise.log(attempt.number), 0
    for chunk in logs.stream(db, attempt.id):
        if chunk.start != at:
            yield Finding(
                "log", view.id, f"attempt {attempt.number}: from byte {at} to {chunk.start} is nothing"
            )
        if chunk.data is not None and chunk.data != expected[chunk.start : chunk.start + chunk.size]:
            yield Finding("log", view.id, f"attempt {attempt.number}: other bytes from {chunk.start} on")
        at = chunk.start + chunk.size
    if attempt.log_end == "sealed" and ENDED in _marks(marks, view, attempt) and at != len(expected):
        yield Finding("log", view.id, f"attempt {attempt.number}: sealed at {at} of {len(expected)} bytes")
    if attempt.log_end is None and STARTED in _marks(marks, view, attempt):
        yield Finding("log", view.id, f"attempt {attempt.number}: nobody says whether its log is whole")


def _bills(db: Database, ledger: Ledger) -> dict[str, Fraction]:
    """What the machines of each job cost: of all its attempts, those that are not shown among them."""
    with db.read() as session:
        jobs = {row[0]: row[1] for row in session.execute(select(Attempt.id, Attempt.job_id))}
    bills: defaultdict[str, Fraction] = defaultdict(Fraction)
    for charge in ledger.charges:
        name = parse_instance_name(charge.name)
        if name is not None and name.attempt_id in jobs:
            bills[jobs[name.attempt_id]] += charge.exact_micros
    return bills


def _ceiling(view: JobView, bill: Fraction) -> Iterator[Finding]:
    """No bill is above a ceiling, and the parts of a receipt are its sum."""
    if bill > view.max_cost:
        yield Finding("ceiling", view.id, f"{view.max_cost} micro-dollars, and {bill} on the bill")
    parts = [share.cost for attempt in view.attempts for share in attempt.phases.values()]
    if sum(parts) + view.strays.cost != view.cost:
        yield Finding("receipt", view.id, f"its parts are {sum(parts) + view.strays.cost}, it is {view.cost}")


def _receipt(view: JobView, attempt: AttemptView, bill: dict[str, Charge]) -> Iterator[Finding]:
    """Never below the bill, and above it by a minute at most, unless it is marked as an estimate."""
    if attempt.instance_uuid is None:
        return
    charge = bill.get(attempt.instance_uuid)
    if charge is None:
        yield Finding("receipt", view.id, f"attempt {attempt.number} was billed a machine that never was")
    elif not charge.minutes <= attempt.minutes <= charge.minutes + 1 and not attempt.cost_estimated:
        yield Finding(
            "receipt",
            view.id,
            f"attempt {attempt.number}: {attempt.minutes} min, and {charge.minutes} on the bill",
        )
