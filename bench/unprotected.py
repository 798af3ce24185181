"""The protections, and what comes of it without one: so that a run that finds nothing means something.

For each there is a way to take it away (here, in the process that is started, never in what is shipped), what
goes wrong meanwhile, and the kinds of findings of which the audit must then have at least one.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert, update

from bench import breaking, moments
from bench.breaking import Place
from jobs.errors import DatabaseError, Unsettled
from jobs.models import Attempt, LogChunk
from jobs.store import (
    attempts,
    doom,
    ending,
    files,
    logs,
    observing,
    outbox,
    retention,
    sightings,
    transitions,
)
from jobs.store.database import Database, concern
from jobs.store.logs import Append
from jobs.store.transitions import Person, Stale
from workers.cloud.client import Cloud
from workers.steps import run

SHORT_LAG = timedelta(seconds=3)
SHORT_PATIENCE = timedelta(seconds=25)
"""With a machine that nobody reaches: longer than a lease and the next holder's first words with it."""
DOOM_SECONDS = 2.0
TRIES = 50


@dataclass(frozen=True)
class Protection:
    """One of them. *finds*: what the audit calls the damage without it."""

    what: str
    finds: frozenset[str]
    remove: Callable[[], None]
    faults: tuple[Callable[[Place], None], ...]
    pauses: tuple[float, ...] = (0, 0.01, 0.02)
    """Seconds between two lines of a command: how long its jobs take."""
    shorten: Callable[[], None] = lambda: None
    """With it and without it: a patience of minutes would make the run one of hours."""
    freeze: Callable[[Path], None] = lambda _flag: None
    """With it and without it: stop this process at the worst moment, once, when *flag* is there."""


def prepare(protection: Protection, *, without: bool, freeze: Path) -> None:
    """Make this process one that is started for a run about *protection*."""
    protection.shorten()
    protection.freeze(freeze)
    if without:
        protection.remove()


def _deploy_again() -> None:
    """A deploy without an answer is sent once more, as any client with retries does."""
    once = Cloud.deploy

    @functools.wraps(once)
    def deploy(self: Cloud, *args: Any, **kwargs: Any) -> str:
        try:
            return once(self, *args, **kwargs)
        except Unsettled:
            return once(self, *args, **kwargs)

    _replace(deploy, (Cloud, "deploy"))


def _no_quarantine() -> None:
    """A deploy without an answer has had no effect, says the first listing without its machine."""
    waits = sightings.never_seen

    def never_seen(look: Any, row: Any, listed: Any, quarantine: timedelta, *, proves: bool) -> None:
        waits(look, row, listed, timedelta(0), proves=proves)

    _replace(never_seen, (sightings, "never_seen"))


def _no_grace() -> None:
    """What one listing does not show is gone with the next one that does not."""
    sightings.GRACE = doom.LAG = timedelta(0)


def _doom_in_memory() -> None:
    """Who ends an attempt remembers to end its machine as well, and nothing else does."""
    mark, seen = doom.of_attempt, sightings.seen

    def of_attempt(session: Any, _now: Any, attempt_id: str, why: str) -> None:
        db = Database(session.get_bind().url.render_as_string(hide_password=False))

        def later() -> None:
            with db.write() as own:
                mark(own, db.now(own), attempt_id, why)

        threading.Timer(DOOM_SECONDS, later).start()

    def watched(look: Any, row: Any, sight: Any) -> None:
        attempt = look.attempt_of(row)
        has_ended = attempt is not None and attempt.state in ("finishing", "ended")
        if row.state != "live" or sight.over or not has_ended:
            seen(look, row, sight)

    _replace(of_attempt, (doom, "of_attempt"))
    _replace(watched, (sightings, "seen"))


def _no_seal() -> None:
    """What was read is the log."""
    _replace(lambda *_: "sealed", (run, "_log_end"))


def _blind_append() -> None:
    """Bytes are written behind what is there, whoever brings them."""

    def append(db: Database, appends: Sequence[Append]) -> list[bool]:
        with db.write(alone=False) as session:
            for item in appends:
                end = session.execute(
                    update(Attempt)
                    .where(Attempt.id == item.attempt_id)
                    .values(log_bytes=Attempt.log_bytes + item.size)
                    .returning(Attempt.log_bytes)
                ).scalar_one()
                values = {"attempt_id": item.attempt_id, "start": end - item.size, "size": item.size}
                session.execute(insert(LogChunk).values(**values, data=item.data))
        return [True] * len(appends)

    _replace(append, (logs, "append"))


def _no_fence() -> None:
    """Who once held an attempt may write to it for ever, as long as its state is what he believes."""
    move = transitions._move_attempt

    def write(session: Any, work: Any, _lease: Any, state: Any, *conditions: Any, **values: Any) -> None:
        where = [Attempt.id == work.attempt_id, *conditions]
        if state is not None:
            where.append(Attempt.state == state.value)
        result = session.execute(update(Attempt).where(*where).values(**values or {"id": work.attempt_id}))
        if result.rowcount != 1:
            raise Stale
        concern(session, work.job_id)

    def moved(
        session: Any, now: Any, state: Any, new: Any, attempt_id: str, _guard: Any, change: Any
    ) -> None:
        move(session, now, state, new, attempt_id, Person(), change)

    _replace(write, (attempts, "write"), (files, "write"))
    _replace(moved, (transitions, "_move_attempt"))


def _impatient() -> None:
    ending.UNREACHABLE = SHORT_PATIENCE


def _freeze_before_unreachable(flag: Path) -> None:
    _freeze_before(attempts, "note_unreachable", flag)


def _no_leaders_fence() -> None:
    """Who led once may write what he saw then."""
    modules = (transitions, observing, files, retention, outbox)
    _replace(lambda _session, _lead: None, *((module, "confirm_lead") for module in modules))


def _short_lag() -> None:
    doom.LAG = SHORT_LAG


def _freeze_before_apply(flag: Path) -> None:
    _freeze_before(observing, "apply", flag)


def _in_the_end(write: Callable[[], Any]) -> Any:
    """What it has in hand it writes, also where its connections have broken in the meantime."""
    for _ in range(TRIES):
        try:
            return write()
        except DatabaseError:
            time.sleep(0.1)
    return write()


def _replace(function: Callable[..., Any], *places: tuple[Any, str]) -> None:
    for owner, name in places:
        if not hasattr(owner, name):
            raise AttributeError(f"{owner} has no {name}: what is to be taken away has moved")
        setattr(owner, name, function)


def _freeze_before(module: Any, name: str, flag: Path) -> None:
    function = getattr(module, name)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            flag.unlink()
        except FileNotFoundError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGSTOP)
            return _in_the_end(functools.partial(function, *args, **kwargs))
        return function(*args, **kwargs)

    _replace(wrapper, (module, name))


ALL = {
    "one-deploy": Protection(
        "a deploy is sent once per attempt",
        frozenset({"rented twice"}),
        _deploy_again,
        (breaking.lost_deploy, breaking.slow_answers),
    ),
    "quarantine": Protection(
        "a deploy without an answer is looked for through a quarantine",
        frozenset({"given up"}),
        _no_quarantine,
        (breaking.unlisted_deploys,),
    ),
    "grace": Protection(
        "absence counts after two listings far enough apart",
        frozenset({"taken for gone", "lost for nothing"}),
        _no_grace,
        (breaking.doubtful_lists,),
    ),
    "doom": Protection(
        "a machine is doomed in the transaction that ends its attempt",
        frozenset({"leak", "not final"}),
        _doom_in_memory,
        (moments.killed_at_an_end,),
    ),
    "seal": Protection(
        "length and hash of the log are compared with the machine's",
        frozenset({"log"}),
        _no_seal,
        (moments.damaged_log,),
        (0.02, 0.05),
    ),
    "compare-and-set": Protection(
        "bytes are appended only where the stored log ends",
        frozenset({"log"}),
        _blind_append,
        (moments.overtaken_worker,),
        (0.2,),
    ),
    "fence": Protection(
        "a former holder changes nothing",
        frozenset({"lost for nothing"}),
        _no_fence,
        (moments.frozen_holder,),
        (0.4,),
        _impatient,
        _freeze_before_unreachable,
    ),
    "leaders-fence": Protection(
        "a former leader changes nothing",
        frozenset({"taken for alive"}),
        _no_leaders_fence,
        (moments.frozen_leader,),
        (0.2,),
        _short_lag,
        _freeze_before_apply,
    ),
}
