"""What the suites of the store share: a clock to turn, and jobs brought to where a test begins."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from jobs import ids
from jobs.models import Attempt, Instance, Job
from jobs.spec import Spec
from jobs.states import Event, State
from jobs.store import admission, attempts, doom, ending, leases, observing, reads, submissions
from jobs.store.admission import Admitted, Limits, Plan
from jobs.store.attempts import Work
from jobs.store.database import Database
from jobs.store.observing import Findings, Listed, Sighting
from jobs.store.transitions import AttemptLease, Lead
from jobs.views import JobView

ON_SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
PRICE = 1_200_000
"""Micro-dollars an hour: 2 cents a minute."""
ROOM = Limits(max_instances=1000, max_burn=None)
QUARANTINE = timedelta(seconds=60)
FLEET = "default"


class Clock:
    """The database's time, under the test's control."""

    def __init__(self, db: Database) -> None:
        self.now = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
        db.clock = self.read  # type: ignore[method-assign]
        db.now = lambda session: self.now  # type: ignore[method-assign]
        db.time = self.read  # type: ignore[method-assign]
        db.contact.seconds = lambda: float("inf")  # type: ignore[method-assign]

    def read(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def spec(command: str | tuple[str, ...] = "true", **changes: Any) -> Spec:
    """A valid job."""
    base = Spec(
        command=command,
        products=("gpu_1x_l40",),
        name=None,
        image="Ubuntu",
        env={},
        max_cost=5_000_000,
        max_cost_source="--max-cost",
        max_runtime=3600,
        max_runtime_source="--max-runtime",
        key=None,
    )
    return replace(base, **changes)


def submit(db: Database, **changes: Any) -> str:
    """The id of one new job."""
    return submissions.submit(db, [spec(**changes)])[0].id


@dataclass
class World:
    """A database, its clock, an account, and one worker that leads and does everything."""

    db: Database
    clock: Clock
    owner: str = "worker-1"
    account: dict[str, Sighting] = field(default_factory=dict)
    first_seen: dict[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        leases.sign_on(self.db, self.owner, leases.Process("here", 1, "0"), 1000)
        self._uuids = 0

    @property
    def lead(self) -> Lead:
        lead = leases.lead(self.db, self.owner)
        assert lead is not None
        return lead

    def show(self, job_id: str) -> JobView:
        return reads.show(self.db, job_id)

    def attempt(self, attempt_id: str) -> Attempt:
        with self.db.read() as session:
            return session.execute(select(Attempt).where(Attempt.id == attempt_id)).scalar_one()

    def instance(self, attempt_id: str) -> Instance:
        with self.db.read() as session:
            return session.execute(select(Instance).where(Instance.attempt_id == attempt_id)).scalar_one()

    def machines(self) -> list[Instance]:
        with self.db.read() as session:
            return list(session.execute(select(Instance).order_by(Instance.id)).scalars())

    def work(self, attempt_id: str) -> Work:
        work = attempts.load(self.db, attempt_id)
        assert work is not None
        return work

    def heartbeat(self) -> None:
        """Say that the worker lives, renewing nothing."""
        leases.heartbeat(self.db, self.owner, [])

    # Each step takes a job one state further.

    def plan(self, **changes: Any) -> Plan:
        base = Plan(
            product="gpu_1x_l40",
            price=PRICE,
            full_price=PRICE,
            image_id=84,
            key_fields="sshKey,sshKeys",
            fleet=FLEET,
            expires_at=(self.clock.now + timedelta(seconds=4500)).replace(microsecond=0),
            boot_deadline_at=self.clock.now + timedelta(seconds=900),
            protocol=1,
            minimum_minutes=0,
            most=2_000_000,
        )
        return replace(base, **changes)

    def admit(self, job_id: str | None = None, **changes: Any) -> tuple[str, str, AttemptLease]:
        """A job that is deploying: its id, its attempt's, and the lease of who deploys."""
        job_id = job_id or submit(self.db)
        self.heartbeat()
        lease = leases.take_job(self.db, job_id, self.owner)
        assert lease is not None
        admitted = admission.admit(self.db, job_id, lease, self.plan(**changes), ROOM)
        assert isinstance(admitted, Admitted)
        return job_id, admitted.attempt_id, admitted.lease

    def order(self, job_id: str | None = None, **changes: Any) -> tuple[str, str, AttemptLease]:
        """The same, with its deploy ordered."""
        job_id, attempt_id, lease = self.admit(job_id, **changes)
        attempts.order_deploy(self.db, self.work(attempt_id), lease)
        return job_id, attempt_id, lease

    def unknown(self) -> tuple[str, str, AttemptLease]:
        """A job whose deploy had no answer."""
        job_id, attempt_id, lease = self.order()
        attempts.deploy_unknown(self.db, self.work(attempt_id), lease)
        return job_id, attempt_id, lease

    def void(
        self,
        attempt_id: str,
        lease: AttemptLease,
        *,
        event: Event = Event.NO_CAPACITY,
        reason: str | None = "no_capacity",
        pause: float = 0,
    ) -> None:
        """Nothing was rented, says the API; the job waits for *pause* seconds."""
        attempts.deploy_void(
            self.db,
            self.work(attempt_id),
            lease,
            event,
            reason=reason,
            detail="nothing was rented",
            pause=timedelta(seconds=pause),
        )

    def boot(self, job_id: str | None = None, *, listed: bool = True, **changes: Any) -> tuple[str, str]:
        """A job whose machine is booting, and listed."""
        job_id, attempt_id, lease = self.order(job_id, **changes)
        uuid = self.new_uuid()
        attempts.deployed(self.db, self.work(attempt_id), lease, uuid)
        self.appear(self.instance(attempt_id).name, uuid)
        if listed:
            self.list()
        return job_id, attempt_id

    def run(self, job_id: str | None = None, **changes: Any) -> tuple[str, str, AttemptLease]:
        """A job that runs, and the lease of its attendant."""
        job_id, attempt_id = self.boot(job_id, **changes)
        lease = self.take(attempt_id)
        assert lease is not None
        attempts.order_go(self.db, self.work(attempt_id), lease)
        attempts.started(self.db, self.work(attempt_id), lease)
        return job_id, attempt_id, lease

    def take(self, attempt_id: str, owner: str | None = None) -> AttemptLease | None:
        """The lease of an attempt, where it could be had: ours, or that of another *owner*."""
        return leases.take_attempts(self.db, [attempt_id], owner or self.owner, room=1).get(attempt_id)

    def attend(self, attempt_id: str) -> AttemptLease:
        """:meth:`take`, where nobody else has it."""
        lease = self.take(attempt_id)
        assert lease is not None
        return lease

    def finish(
        self,
        attempt_id: str,
        lease: AttemptLease,
        *,
        cause: str = "exit_code",
        exit_code: int | None = 0,
        with_outputs: bool = False,
        log_end: str | None = None,
    ) -> None:
        """The exit record of a job that runs."""
        attempts.finish(
            self.db,
            self.work(attempt_id),
            lease,
            Event.EXITED,
            state=State.RUNNING,
            cause=cause,
            detail="over",
            exit_code=exit_code,
            with_outputs=with_outputs,
            log_end=log_end,
        )

    # The account, as its listing shows it.

    def new_uuid(self) -> str:
        self._uuids += 1
        return f"00000000-0000-4000-8000-{self._uuids:012d}"

    def appear(self, name: str, uuid: str | None = None, **changes: Any) -> Sighting:
        """A machine on the account."""
        uuid = uuid or self.new_uuid()
        base = Sighting(
            uuid=uuid,
            name=name,
            status="running",
            ready=True,
            over=False,
            failed=False,
            stopped=False,
            host="192.0.2.1",
            port=None,
            username="ubuntu",
            product="gpu_1x_l40",
            price=PRICE,
        )
        self.account[uuid] = replace(base, **changes)
        return self.account[uuid]

    def change(self, uuid: str | None, **changes: Any) -> None:
        assert uuid is not None
        self.account[uuid] = replace(self.account[uuid], **changes)

    def vanish(self, attempt_id: str) -> None:
        uuid = self.instance(attempt_id).uuid
        assert uuid is not None
        del self.account[uuid]

    def list(
        self,
        *,
        sightings: list[Sighting] | None = None,
        complete: bool = True,
        ago: float = 0,
        date: datetime | None = None,
    ) -> Findings:
        """One tick of the observer: the listing, applied."""
        shown = list(self.account.values()) if sightings is None else sightings
        began = self.clock.now - timedelta(seconds=ago)
        self.first_seen = {s.uuid: self.first_seen.get(s.uuid, began) for s in shown}
        listed = Listed(tuple(shown), date or self.clock.now, began, complete)
        return observing.apply(
            self.db, self.lead, listed, fleet=FLEET, quarantine=QUARANTINE, first_seen=self.first_seen
        )

    def terminate(self) -> int:
        """One round of terminating, which the account acknowledges and does."""
        batch = doom.due(self.db)
        for item in batch:
            self.account.pop(item.uuid, None)
        doom.accepted(self.db, [item.uuid for item in batch])
        return len(batch)

    def settle(self) -> int:
        """All that time and the account bring about, until nothing changes."""
        count = ending.enforce(self.db, self.lead)
        self.terminate()
        for instance_id, uuid in self.list().doubted:
            if uuid not in self.account:
                observing.proved_gone(self.db, self.lead, instance_id, "404")
        return count + ending.settle(self.db, self.lead)

    def settled(self) -> None:
        """:meth:`settle` by a worker that lives, and once more for what that has brought about."""
        self.heartbeat()
        for _ in range(2):
            self.settle()

    def stranger(
        self, *, fleet: str = FLEET, installation: str | None = None, expires_in: float = 3600
    ) -> str:
        """The name of a machine that no row here knows."""
        if installation is None:
            with self.db.read() as session:
                from jobs.store.schema import installation_id

                installation = installation_id(session)
        expires_at = int(self.clock.now.timestamp() + expires_in)
        return str(ids.InstanceName(fleet, ids.new_attempt_id(installation), expires_at))


def words(database: Database) -> dict[str, list[str]]:
    """The very words in which the database keeps its tables, their checks and their indexes."""
    query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name != 'alembic_version'"
    if not database.sqlite:
        query = """
            SELECT conrelid::regclass || ' ' || conname, pg_get_constraintdef(oid) FROM pg_constraint
                WHERE connamespace = 'public'::regnamespace
            UNION ALL SELECT tablename || ' ' || indexname, indexdef FROM pg_indexes
                WHERE schemaname = 'public' AND tablename != 'alembic_version'
            UNION ALL SELECT table_name || ' ' || column_name,
                concat_ws(' ', data_type, character_maximum_length, is_nullable)
                FROM information_schema.columns
                WHERE table_schema = 'public' AND table_name != 'alembic_version'"""
    with database.engine.connect() as connection:
        rows = connection.execute(text(query)).all()
    # SQLite writes a column that came later, and its check, behind the last one of before, on the same line.
    between = re.compile(r"\n|, (?=[a-z_]+ [A-Z]+\b)|(?<=TEXT) (?=CONSTRAINT )")
    return {
        name: sorted(line.strip().rstrip(",") for line in between.split(sql) if line.strip())
        for name, sql in rows
    }


def count_events(db: Database, job_id: str) -> int:
    return len(reads.history(db, job_id))


def job_row(db: Database, job_id: str) -> Job:
    with db.read() as session:
        return session.execute(select(Job).where(Job.id == job_id)).scalar_one()


def python(code: str, *args: str) -> subprocess.Popen[str]:
    """A process of its own that runs *code*; whoever starts it waits for it."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
