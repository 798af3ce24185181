"""What all workers of one database must have in common, and who may not work on it because he has not.

A worker with another SSH key cannot reach what the others rented, one with another secret key cannot read
what they encrypted, and one with another artifact store looks for files where none are. Each worker leaves
salted fingerprints of what it has; one that joins while others live, and has something else, is refused. Code
that is too old for what a migration has changed is refused as well, and stops where it works already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select, update

from jobs.errors import ServiceUnavailable
from jobs.migrations import CODE
from jobs.models import Agreement, Worker
from jobs.store import doom, leases
from jobs.store.database import Database
from jobs.store.leases import Process
from jobs.values import fingerprint

SSH_KEY, SECRET_KEY, ARTIFACTS = "RUNNER_SSH_KEY", "RUNNER_SECRET_KEY", "RUNNER_ARTIFACTS_URL"
ACCOUNT = "MASSED_COMPUTE_API_KEY"
"""Address and token: of another account every machine looks as if it were gone."""
NOTIFY = "RUNNER_NOTIFY_URL"
"""Need not be the same: who has none leaves what is to be told to who has one."""
LAST = "last"
"""Under this name: what those had who worked last, for machines that were rented then."""

Prints = Mapping[str, Sequence[str]]


def reads_secrets(db: Database, key: str) -> bool:
    """Whether the workers that live can read what *key* encrypts; true where none lives, or none has said."""
    with db.read() as session:
        row = session.execute(select(Agreement)).scalar_one()
        living = session.execute(select(Worker.id).where(leases.alive(db.now(session)))).scalars()
        have = [row.prints[worker].get(SECRET_KEY, ()) for worker in living if worker in row.prints]
    return all(fingerprint(key, row.salt) in prints for prints in have)


class Disagreement(ServiceUnavailable):
    """This worker must not work on this database. ``name``: of the setting that differs, if it is one."""

    def __init__(self, sentence: str, name: str | None = None) -> None:
        super().__init__(sentence)
        self.name = name


def join(
    db: Database,
    owner: str,
    process: Process,
    seats: int,
    has: Mapping[str, Sequence[str]],
    *,
    same_account: bool = False,
) -> None:
    """Sign a worker on. *has*: by the name of each setting, what must be the same; secret keys in order.

    *same_account*: that another token is one of the same account was seen. Raises Disagreement where it has
    something else than those who live, or too old a code.
    """
    with db.write() as session:
        now = db.now(session)
        row = session.execute(select(Agreement).with_for_update()).scalar_one()
        if row.least_code > CODE:
            raise Disagreement(_too_old(row.least_code))
        ours = {name: [fingerprint(text, row.salt) for text in texts] for name, texts in has.items()}
        free = {NOTIFY, ACCOUNT} if same_account else {NOTIFY}
        compared = {name: prints for name, prints in ours.items() if name not in free}
        living = set(session.execute(select(Worker.id).where(leases.alive(now))).scalars())
        kept: dict[str, Prints] = {}
        for worker in session.execute(select(Worker).order_by(Worker.started_at)).scalars():
            theirs = row.prints.get(worker.id)
            if theirs is None:
                continue
            try:
                _compare(compared, theirs, f"the worker on {worker.host} (pid {worker.pid})")
            except Disagreement:
                if worker.id in living:
                    raise
                continue  # should it come back after all, it finds that it is not among us
            kept[worker.id] = theirs  # also where it is silent: an outage of the database silences everybody
        last = row.prints.get(LAST)
        if last is not None and not living & kept.keys() and doom.any_rented(session):
            _compare({SSH_KEY: ours[SSH_KEY]}, last, "those who rented the machines that live")
        session.execute(update(Agreement).values(prints={**kept, owner: ours, LAST: ours}))
        leases.add_worker(session, now, owner, process, seats)


def why_not(db: Database, owner: str) -> str | None:
    """Why this worker may not go on working on this database; None: it may."""
    with db.read() as session:
        row = session.execute(select(Agreement)).scalar_one()
    if row.least_code > CODE:
        return _too_old(row.least_code)
    if row.prints and owner not in row.prints:
        return (
            "This worker gave no sign of life for so long that another one, which has other settings, has "
            "joined; start it again."
        )
    return None


def differs(db: Database, name: str, texts: Sequence[str]) -> bool:
    """Whether a worker that lives has something else for a setting than *texts*."""
    with db.read() as session:
        row = session.execute(select(Agreement)).scalar_one()
        living = session.execute(select(Worker.id).where(leases.alive(db.now(session)))).scalars()
        ours = [fingerprint(text, row.salt) for text in texts]
        return any(row.prints.get(worker, {}).get(name, ours) != ours for worker in living)


def anybody_notifies(db: Database) -> bool:
    """Whether a worker that lives has RUNNER_NOTIFY_URL."""
    with db.read() as session:
        prints = session.execute(select(Agreement.prints)).scalar_one()
        living = session.execute(select(Worker.id).where(leases.alive(db.now(session)))).scalars()
        return any(prints.get(worker, {}).get(NOTIFY) for worker in living)


def _compare(ours: Prints, theirs: Prints, whose: str) -> None:
    for name, prints in ours.items():
        other = list(theirs.get(name, prints))
        if name == SECRET_KEY and prints and other:
            same = prints[0] in other and other[0] in prints  # each can read what the other one encrypts
        else:
            same = list(prints) == other
        if not same:
            raise Disagreement(
                f"This worker's {name} is not that of {whose}; all workers of one database share "
                f"{_SHARED[name]}.",
                name,
            )


def _too_old(least: int) -> str:
    return (
        f"This version of gpu-job-runner (level {CODE}) is too old for the database, which wants level "
        f"{least} or later; install the version that migrated it."
    )


_SHARED = {
    ACCOUNT: "one account: stop the others before one with another token or RUNNER_API_URL begins",
    SSH_KEY: "one SSH key: copy it, or name a file that they share",
    SECRET_KEY: "their secret keys: each must hold the one with which the others encrypt",
    ARTIFACTS: "one artifact store",
}
