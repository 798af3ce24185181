"""What several workers need: an agreement between them, and what is to be notified."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

from jobs.models import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

WAITING = sa.text("sent_at IS NULL AND given_up_at IS NULL")
FINAL, LEAK = sa.text("event = 'final'"), sa.text("event = 'leak'")


def upgrade() -> None:
    agreement = op.create_table(
        "agreement",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("least_code", sa.Integer(), nullable=False),
        sa.Column("salt", sa.String(length=32), nullable=False),
        sa.Column("prints", sa.JSON(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_agreement_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agreement")),
    )
    op.bulk_insert(agreement, [{"id": 1, "least_code": 1, "salt": secrets.token_hex(16), "prints": {}}])
    op.create_table(
        "notifications",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("event", sa.String(length=10), nullable=False),
        sa.Column("job_id", sa.String(length=26), nullable=True),
        sa.Column("instance_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("next_at", UtcDateTime(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("sent_at", UtcDateTime(), nullable=True),
        sa.Column("given_up_at", UtcDateTime(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint("event IN ('final','leak')", name=op.f("ck_notifications_event")),
        sa.CheckConstraint(
            "(event = 'final') = (instance_id IS NULL)", name=op.f("ck_notifications_subject")
        ),
        sa.CheckConstraint("sent_at IS NULL OR given_up_at IS NULL", name=op.f("ck_notifications_one_end")),
        sa.ForeignKeyConstraint(["instance_id"], ["instances.id"], name=op.f("fk_notifications_instance_id")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_notifications_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
    )
    op.create_index(
        "uq_notifications_final",
        "notifications",
        ["job_id"],
        unique=True,
        sqlite_where=FINAL,
        postgresql_where=FINAL,
    )
    op.create_index(
        "uq_notifications_leak",
        "notifications",
        ["instance_id"],
        unique=True,
        sqlite_where=LEAK,
        postgresql_where=LEAK,
    )
    op.create_index(
        "ix_notifications_waiting",
        "notifications",
        ["next_at"],
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    )
