"""The first tables: jobs, attempts, instances, events, logs, leases and what the API said."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from jobs.models import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "facts",
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_facts")),
    )
    op.create_table(
        "installation",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("installation_id", sa.String(length=6), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_installation_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installation")),
    )
    op.create_table(
        "jobs",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=True),
        sa.Column("key", sa.String(length=200), nullable=True),
        sa.Column("command", sa.JSON(), nullable=False),
        sa.Column("products", sa.JSON(), nullable=False),
        sa.Column("image", sa.String(length=200), nullable=False),
        sa.Column("env", sa.JSON(), nullable=False),
        sa.Column("max_cost", sa.BigInteger(), nullable=False),
        sa.Column("max_cost_source", sa.Text(), nullable=False),
        sa.Column("max_runtime", sa.BigInteger(), nullable=False),
        sa.Column("max_runtime_source", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.String(length=30), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("attempt_id", sa.String(length=26), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("cancel_requested_at", UtcDateTime(), nullable=True),
        sa.Column("not_before", UtcDateTime(), nullable=False),
        sa.Column("waits", sa.Integer(), nullable=False),
        sa.Column("submitted_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.Column("lease_owner", sa.String(length=64), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "(state IN ('deploying','booting','running','finishing')) = (attempt_id IS NOT NULL)",
            name=op.f("ck_jobs_live_has_attempt"),
        ),
        sa.CheckConstraint(
            "(state IN ('succeeded','failed','cancelled','expired')) = (finished_at IS NOT NULL)",
            name=op.f("ck_jobs_final_is_finished"),
        ),
        sa.CheckConstraint(
            "state IN ('queued','deploying','booting','running','finishing',"
            "'succeeded','failed','cancelled','expired')",
            name=op.f("ck_jobs_state"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('succeeded','failed','cancelled','expired') OR reason IS NOT NULL",
            name=op.f("ck_jobs_final_has_reason"),
        ),
        sa.CheckConstraint("max_cost > 0 AND max_runtime > 0", name=op.f("ck_jobs_ceilings")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_jobs")),
        sa.UniqueConstraint("id", name=op.f("uq_jobs_id")),
        sa.UniqueConstraint("key", name=op.f("uq_jobs_key")),
    )
    op.create_index("ix_jobs_name_seq", "jobs", ["name", "seq"], unique=False)
    op.create_index("ix_jobs_state_not_before", "jobs", ["state", "not_before"], unique=False)
    op.create_table(
        "leader",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=True),
        sa.Column("until", UtcDateTime(), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_leader_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leader")),
    )
    op.create_table(
        "tickets",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("next_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_tickets_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tickets")),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("seats", sa.Integer(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("heartbeat_at", UtcDateTime(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_table(
        "attempts",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("job_id", sa.String(length=26), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("outcome", sa.String(length=30), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("retryable", sa.Boolean(), nullable=False),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("product", sa.String(length=100), nullable=False),
        sa.Column("image_id", sa.BigInteger(), nullable=False),
        sa.Column("key_fields", sa.String(length=40), nullable=False),
        sa.Column("attestation_key", sa.String(length=64), nullable=False),
        sa.Column("host_key", sa.Text(), nullable=True),
        sa.Column("host_key_check", sa.String(length=12), nullable=True),
        sa.Column("protocol", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("deploy_ordered_at", UtcDateTime(), nullable=True),
        sa.Column("ready_at", UtcDateTime(), nullable=True),
        sa.Column("go_ordered_at", UtcDateTime(), nullable=True),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("boot_deadline_at", UtcDateTime(), nullable=False),
        sa.Column("deadline_at", UtcDateTime(), nullable=True),
        sa.Column("deadline_cause", sa.String(length=12), nullable=True),
        sa.Column("stop_cause", sa.String(length=30), nullable=True),
        sa.Column("stop_ordered_at", UtcDateTime(), nullable=True),
        sa.Column("unreachable_since", UtcDateTime(), nullable=True),
        sa.Column("log_bytes", sa.BigInteger(), nullable=False),
        sa.Column("log_end", sa.Text(), nullable=True),
        sa.Column("lease_owner", sa.String(length=64), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "(state IN ('finishing','ended')) = (outcome IS NOT NULL)",
            name=op.f("ck_attempts_end_has_outcome"),
        ),
        sa.CheckConstraint(
            "state != 'running' OR go_ordered_at IS NOT NULL", name=op.f("ck_attempts_running_was_ordered")
        ),
        sa.CheckConstraint(
            "state IN ('deploying','booting','running','finishing','ended')", name=op.f("ck_attempts_state")
        ),
        sa.CheckConstraint(
            "go_ordered_at IS NULL OR deadline_at IS NOT NULL", name=op.f("ck_attempts_ordered_has_deadline")
        ),
        sa.CheckConstraint("log_bytes >= 0", name=op.f("ck_attempts_log_bytes")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_attempts_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
        sa.UniqueConstraint("job_id", "number", name=op.f("uq_attempts_job_id_number")),
    )
    op.create_index("ix_attempts_state", "attempts", ["state"], unique=False)
    op.create_index(
        "uq_attempts_one_live",
        "attempts",
        ["job_id"],
        unique=True,
        sqlite_where=sa.text("state != 'ended'"),
        postgresql_where=sa.text("state != 'ended'"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("job_id", sa.String(length=26), nullable=False),
        sa.Column("attempt_id", sa.String(length=26), nullable=True),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("event", sa.String(length=40), nullable=False),
        sa.Column("from_state", sa.String(length=12), nullable=True),
        sa.Column("to_state", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.String(length=30), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("who", sa.String(length=12), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_events_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index("ix_events_job_id_id", "events", ["job_id", "id"], unique=False)
    op.create_table(
        "instances",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("attempt_id", sa.String(length=26), nullable=True),
        sa.Column("job_id", sa.String(length=26), nullable=True),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("uuid", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("product", sa.Text(), nullable=True),
        sa.Column("price", sa.BigInteger(), nullable=True),
        sa.Column("minimum_minutes", sa.Integer(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("requested_at", UtcDateTime(), nullable=True),
        sa.Column("unknown_at", UtcDateTime(), nullable=True),
        sa.Column("seen_at", UtcDateTime(), nullable=True),
        sa.Column("missing_since", UtcDateTime(), nullable=True),
        sa.Column("host", sa.Text(), nullable=True),
        sa.Column("port", sa.Integer(), nullable=True),
        sa.Column("username", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("ready", sa.Boolean(), nullable=False),
        sa.Column("doomed_at", UtcDateTime(), nullable=True),
        sa.Column("doomed_why", sa.Text(), nullable=True),
        sa.Column("terminate_tries", sa.Integer(), nullable=False),
        sa.Column("terminate_next_at", UtcDateTime(), nullable=True),
        sa.Column("terminate_accepted_at", UtcDateTime(), nullable=True),
        sa.Column("terminate_error", sa.Text(), nullable=True),
        sa.Column("gone_at", UtcDateTime(), nullable=True),
        sa.Column("gone_proof", sa.String(length=20), nullable=True),
        sa.CheckConstraint("(state = 'gone') = (gone_at IS NOT NULL)", name=op.f("ck_instances_gone_at")),
        sa.CheckConstraint("state != 'doomed' OR doomed_at IS NOT NULL", name=op.f("ck_instances_doomed_at")),
        sa.CheckConstraint(
            "doomed_at IS NULL OR state IN ('doomed','gone')", name=op.f("ck_instances_doom_is_one_way")
        ),
        sa.CheckConstraint(
            "terminate_accepted_at IS NULL OR doomed_at IS NOT NULL",
            name=op.f("ck_instances_only_doomed_end"),
        ),
        sa.CheckConstraint(
            "state IN ('intended','refused','unknown','absent','live','warm','doomed','gone')",
            name=op.f("ck_instances_state"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('live','warm','doomed') OR uuid IS NOT NULL",
            name=op.f("ck_instances_rented_has_uuid"),
        ),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_instances_attempt_id")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_instances_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instances")),
        sa.UniqueConstraint("attempt_id", name=op.f("uq_instances_attempt_id")),
        sa.UniqueConstraint("uuid", name=op.f("uq_instances_uuid")),
    )
    op.create_index("ix_instances_job_id", "instances", ["job_id"], unique=False)
    op.create_index("ix_instances_name", "instances", ["name"], unique=False)
    op.create_index("ix_instances_state", "instances", ["state"], unique=False)
    op.create_table(
        "log_chunks",
        sa.Column("attempt_id", sa.String(length=26), nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint("size > 0 AND start >= 0", name=op.f("ck_log_chunks_extent")),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_log_chunks_attempt_id")),
        sa.PrimaryKeyConstraint("attempt_id", "start", name=op.f("pk_log_chunks")),
    )
