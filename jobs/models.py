"""The tables: what a job, an attempt, an instance and the rest look like at rest.

Only ``jobs.store`` reads and writes them. What must never be is refused by the database itself, by
CHECKs and partial unique indexes, so that a bug above becomes an error and not a second machine.
The types are those that SQLite and PostgreSQL share; ``jobs/migrations`` holds the same, step by step.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC times in both databases; SQLite itself would forget the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone may not be stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# SQLite numbers rows by itself only where the key is an INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")
Id = String(26)

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON}  # noqa: RUF012 - SQLAlchemy's own form


_STATES = "'queued','deploying','booting','running','finishing','succeeded','failed','cancelled','expired'"
_FINAL = "'succeeded','failed','cancelled','expired'"


class Installation(Base):
    """The one row that says whose database this is."""

    __tablename__ = "installation"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    installation_id: Mapped[str] = mapped_column(String(6))
    created_at: Mapped[datetime]


class Job(Base):
    """What a user submitted, and where it stands. The lease is used while it is queued."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(f"state IN ({_STATES})", name="state"),
        CheckConstraint(f"(state IN ({_FINAL})) = (finished_at IS NOT NULL)", name="final_is_finished"),
        CheckConstraint(f"state NOT IN ({_FINAL}) OR reason IS NOT NULL", name="final_has_reason"),
        CheckConstraint(
            "(state IN ('deploying','booting','running','finishing')) = (attempt_id IS NOT NULL)",
            name="live_has_attempt",
        ),
        CheckConstraint("max_cost > 0 AND max_runtime > 0", name="ceilings"),
        CheckConstraint(f"secrets IS NULL OR state NOT IN ({_FINAL})", name="final_has_no_secrets"),
        Index("ix_jobs_state_not_before", "state", "not_before"),
        Index("ix_jobs_name_seq", "name", "seq"),
        Index("ix_jobs_budget_id_admitted_at", "budget_id", "admitted_at"),
        UniqueConstraint("id"),
        UniqueConstraint("key"),
    )

    seq: Mapped[int] = mapped_column(RowId, primary_key=True)
    id: Mapped[str] = mapped_column(Id)
    name: Mapped[str | None] = mapped_column(String(100))
    key: Mapped[str | None] = mapped_column(String(200))
    command: Mapped[dict[str, Any]]
    products: Mapped[list[str]] = mapped_column(JSON)
    image: Mapped[str] = mapped_column(String(200))
    env: Mapped[dict[str, Any]]
    max_cost: Mapped[int] = mapped_column(BigInteger)  # micro-dollars
    max_cost_source: Mapped[str] = mapped_column(Text)
    max_runtime: Mapped[int] = mapped_column(BigInteger)  # seconds
    max_runtime_source: Mapped[str] = mapped_column(Text)
    max_price: Mapped[int | None] = mapped_column(BigInteger)  # micro-dollars an hour
    coupon: Mapped[str | None] = mapped_column(String(100))
    budget_id: Mapped[int | None] = mapped_column(BigInteger)
    budget_need: Mapped[int | None] = mapped_column(BigInteger)  # all that it needs in it, when it waits
    budget_charged: Mapped[int | None] = mapped_column(BigInteger)  # what it takes of it
    admitted_at: Mapped[datetime | None]  # into which period of its budget
    # Defaults of the database's own: workers and submitters of before know nothing of these.
    grace: Mapped[int] = mapped_column(server_default="30")  # seconds between TERM and KILL
    idle_timeout: Mapped[int | None] = mapped_column(BigInteger)  # seconds
    retries: Mapped[int] = mapped_column(server_default="0")
    retry_on: Mapped[str] = mapped_column(String(200), server_default="lost,exit_code")
    workdir: Mapped[str | None] = mapped_column(String(200))  # the tree, in the artifact store
    workdir_files: Mapped[int | None]
    workdir_bytes: Mapped[int | None] = mapped_column(BigInteger)
    setup: Mapped[str | None] = mapped_column(Text)  # a shell line that runs before the command
    outputs: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))  # globs
    sync_every: Mapped[int | None] = mapped_column(BigInteger)  # seconds
    cheapest: Mapped[bool] = mapped_column(server_default=false())
    passed_over: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))  # not to be tried any more
    secret_names: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    secrets: Mapped[str | None] = mapped_column(Text)  # ciphertext; none where the job is final
    state: Mapped[str] = mapped_column(String(12))
    reason: Mapped[str | None] = mapped_column(String(30))
    detail: Mapped[str | None] = mapped_column(Text)
    attempt_id: Mapped[str | None] = mapped_column(Id)
    exit_code: Mapped[int | None]
    cancel_requested_at: Mapped[datetime | None]
    not_before: Mapped[datetime]
    waits: Mapped[int] = mapped_column(default=0)  # how often it had to wait since it last had a machine
    submitted_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    lease_owner: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[datetime | None]
    fence: Mapped[int] = mapped_column(BigInteger, default=0)


class Budget(Base):
    """A sum that jobs share. One that was taken away stays, for the jobs that belonged to it."""

    __tablename__ = "budgets"
    __table_args__ = (
        CheckConstraint("every IN ('day','week','month')", name="every"),
        CheckConstraint("micros > 0", name="micros"),
        Index(
            "uq_budgets_name",
            "name",
            unique=True,
            sqlite_where=text("removed_at IS NULL"),
            postgresql_where=text("removed_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    micros: Mapped[int] = mapped_column(BigInteger)
    every: Mapped[str | None] = mapped_column(String(10))  # when it is whole again; never
    created_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]


class Attempt(Base):
    """One try of a job on one instance. ``number`` is null where nothing was rented and nothing is shown."""

    __tablename__ = "attempts"
    __table_args__ = (
        CheckConstraint("state IN ('deploying','booting','running','finishing','ended')", name="state"),
        CheckConstraint("(state IN ('finishing','ended')) = (outcome IS NOT NULL)", name="end_has_outcome"),
        CheckConstraint("state != 'running' OR go_ordered_at IS NOT NULL", name="running_was_ordered"),
        CheckConstraint("go_ordered_at IS NULL OR deadline_at IS NOT NULL", name="ordered_has_deadline"),
        CheckConstraint("log_bytes >= 0", name="log_bytes"),
        UniqueConstraint("job_id", "number"),
        Index(
            "uq_attempts_one_live",
            "job_id",
            unique=True,
            sqlite_where=text("state != 'ended'"),
            postgresql_where=text("state != 'ended'"),
        ),
        Index("ix_attempts_state", "state"),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    number: Mapped[int | None]
    state: Mapped[str] = mapped_column(String(12))
    outcome: Mapped[str | None] = mapped_column(String(30))
    detail: Mapped[str | None] = mapped_column(Text)
    retryable: Mapped[bool] = mapped_column(default=False)
    exit_code: Mapped[int | None]
    product: Mapped[str] = mapped_column(String(100))
    image_id: Mapped[int] = mapped_column(BigInteger)
    key_fields: Mapped[str] = mapped_column(String(40))  # the spellings under which our key was sent
    attestation_key: Mapped[str] = mapped_column(
        String(64)
    )  # hex; public to who can list the account's instances
    host_key: Mapped[str | None] = mapped_column(Text)
    host_key_check: Mapped[str | None] = mapped_column(String(12))
    protocol: Mapped[int]
    created_at: Mapped[datetime]
    deploy_ordered_at: Mapped[datetime | None]
    ready_at: Mapped[datetime | None]
    go_ordered_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    boot_deadline_at: Mapped[datetime]
    deadline_at: Mapped[datetime | None]
    deadline_cause: Mapped[str | None] = mapped_column(String(12))
    stop_cause: Mapped[str | None] = mapped_column(String(30))
    stop_ordered_at: Mapped[datetime | None]
    unreachable_since: Mapped[datetime | None]
    guard: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # whether it ends itself
    log_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    log_end: Mapped[str | None] = mapped_column(Text)  # 'sealed', or what is missing
    outputs_seconds: Mapped[int] = mapped_column(BigInteger, server_default="0")  # reserved before its expiry
    outputs_until: Mapped[datetime | None]  # while it finishes: how long its outputs may take
    outputs: Mapped[str | None] = mapped_column(String(200))  # the tree of the last whole copy
    outputs_part: Mapped[str | None] = mapped_column(String(200))  # the tree of what came since
    outputs_state: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    transfer: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # what comes or goes now
    lease_owner: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[datetime | None]
    fence: Mapped[int] = mapped_column(BigInteger, default=0)


class Instance(Base):
    """One machine: intended, rented, or seen under a name of ours. Never deleted: it is the receipt."""

    __tablename__ = "instances"
    __table_args__ = (
        CheckConstraint(
            "state IN ('intended','refused','unknown','absent','live','warm','doomed','gone')", name="state"
        ),
        CheckConstraint("state NOT IN ('live','warm','doomed') OR uuid IS NOT NULL", name="rented_has_uuid"),
        CheckConstraint("(state = 'gone') = (gone_at IS NOT NULL)", name="gone_at"),
        CheckConstraint("state != 'doomed' OR doomed_at IS NOT NULL", name="doomed_at"),
        CheckConstraint("doomed_at IS NULL OR state IN ('doomed','gone')", name="doom_is_one_way"),
        CheckConstraint("terminate_accepted_at IS NULL OR doomed_at IS NOT NULL", name="only_doomed_end"),
        UniqueConstraint("attempt_id"),
        UniqueConstraint("uuid"),
        Index("ix_instances_state", "state"),
        Index("ix_instances_name", "name"),
        Index("ix_instances_job_id", "job_id"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    attempt_id: Mapped[str | None] = mapped_column(
        ForeignKey("attempts.id")
    )  # the attempt that it is bound to
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))  # whose receipt it stands on
    name: Mapped[str] = mapped_column(String(63))
    uuid: Mapped[str | None] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(12))
    product: Mapped[str | None] = mapped_column(Text)
    price: Mapped[int | None] = mapped_column(BigInteger)  # micro-dollars an hour, now and after a coupon
    full_price: Mapped[int | None] = mapped_column(BigInteger)  # the same before one
    prices: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # see sightings.keep_price
    minimum_minutes: Mapped[int] = mapped_column(default=0)  # the least that is billed, as it was set then
    expires_at: Mapped[datetime]
    requested_at: Mapped[datetime | None]
    unknown_at: Mapped[datetime | None]
    seen_at: Mapped[datetime | None]
    missing_since: Mapped[datetime | None]  # the first of the complete listings that lacked it
    host: Mapped[str | None] = mapped_column(Text)
    port: Mapped[int | None]
    username: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str | None] = mapped_column(Text)
    ready: Mapped[bool] = mapped_column(default=False)
    doomed_at: Mapped[datetime | None]
    doomed_why: Mapped[str | None] = mapped_column(Text)
    terminate_tries: Mapped[int] = mapped_column(default=0)
    terminate_next_at: Mapped[datetime | None]
    terminate_accepted_at: Mapped[datetime | None]
    terminate_error: Mapped[str | None] = mapped_column(Text)
    gone_at: Mapped[datetime | None]
    gone_proof: Mapped[str | None] = mapped_column(String(20))


class JobEvent(Base):
    """What happened, when, why and by whom: one row for each transition."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_job_id_id", "job_id", "id"),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    attempt_id: Mapped[str | None] = mapped_column(Id)
    at: Mapped[datetime]
    event: Mapped[str] = mapped_column(String(40))
    from_state: Mapped[str | None] = mapped_column(String(12))
    to_state: Mapped[str] = mapped_column(String(12))
    reason: Mapped[str | None] = mapped_column(String(30))
    detail: Mapped[str | None] = mapped_column(Text)
    who: Mapped[str] = mapped_column(String(12))
    budget_charged: Mapped[int | None] = mapped_column(BigInteger)  # what the job takes from here on


class LogChunk(Base):
    """A run of bytes of an attempt's log; ``data`` is null where the bytes are known to be missing."""

    __tablename__ = "log_chunks"
    __table_args__ = (CheckConstraint("size > 0 AND start >= 0", name="extent"),)

    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id"), primary_key=True)
    start: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(BigInteger)
    data: Mapped[bytes | None] = mapped_column(LargeBinary)


class Leader(Base):
    """The lease of the one observer that leads."""

    __tablename__ = "leader"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner: Mapped[str | None] = mapped_column(String(64))
    until: Mapped[datetime | None]
    fence: Mapped[int] = mapped_column(BigInteger, default=0)


class Worker(Base):
    """A process that makes jobs happen, while it lives."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    version: Mapped[str] = mapped_column(String(40))
    seats: Mapped[int]
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
    note: Mapped[str | None] = mapped_column(Text)  # what it last could not do, for people
    code: Mapped[int] = mapped_column(server_default="1")  # the level of its code


class Ticket(Base):
    """The one row from which every API call takes its turn: two a second for the whole fleet."""

    __tablename__ = "tickets"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    next_at: Mapped[datetime]


class Fact(Base):
    """What the API said and may be asked again: the inventory, the images, how our key was taken."""

    __tablename__ = "facts"

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    value: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class Agreement(Base):
    """The one row that says what all workers have in common; ``jobs.store.agreement`` reads it."""

    __tablename__ = "agreement"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    least_code: Mapped[int]  # code below this level may not work on this database
    salt: Mapped[str] = mapped_column(String(32))  # of the fingerprints
    prints: Mapped[dict[str, Any]]  # by the worker, then by the name of the setting


class Notification(Base):
    """Something that RUNNER_NOTIFY_URL is to hear of: written with what happened, sent afterwards."""

    __tablename__ = "notifications"
    __table_args__ = (
        CheckConstraint("event IN ('final','leak')", name="event"),
        CheckConstraint("(event = 'final') = (instance_id IS NULL)", name="subject"),
        CheckConstraint("sent_at IS NULL OR given_up_at IS NULL", name="one_end"),
        Index(
            "uq_notifications_final",
            "job_id",
            unique=True,
            sqlite_where=text("event = 'final'"),
            postgresql_where=text("event = 'final'"),
        ),
        Index(
            "uq_notifications_leak",
            "instance_id",
            unique=True,
            sqlite_where=text("event = 'leak'"),
            postgresql_where=text("event = 'leak'"),
        ),
        Index(
            "ix_notifications_waiting",
            "next_at",
            sqlite_where=text("sent_at IS NULL AND given_up_at IS NULL"),
            postgresql_where=text("sent_at IS NULL AND given_up_at IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)  # tells a repeat from something new
    event: Mapped[str] = mapped_column(String(10))
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    instance_id: Mapped[int | None] = mapped_column(ForeignKey("instances.id"))
    created_at: Mapped[datetime]
    next_at: Mapped[datetime]
    tries: Mapped[int] = mapped_column(default=0)
    sent_at: Mapped[datetime | None]
    given_up_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(Text)


class Effect(Base):
    """Something done outside the database that no other row stands for: its intent, and what came of it."""

    __tablename__ = "effects"
    __table_args__ = (
        CheckConstraint("kind IN ('upload','account_key','removal')", name="kind"),
        CheckConstraint("(settled_at IS NULL) = (outcome IS NULL)", name="settled_has_outcome"),
        Index("ix_effects_kind_settled_at", "kind", "settled_at"),
        {"sqlite_autoincrement": True},  # or it would give the ids of rows that are purged again
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)  # also the order in which they began
    kind: Mapped[str] = mapped_column(String(12))
    subject: Mapped[str] = mapped_column(
        Text
    )  # what it is done to: a key's name, a place in the artifact store
    who: Mapped[str] = mapped_column(String(300))  # computer and process, for people
    began_at: Mapped[datetime]
    seen_at: Mapped[datetime]  # the last sign of life of whoever does it
    settled_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(20))
