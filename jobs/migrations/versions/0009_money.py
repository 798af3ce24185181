"""Prices that change while a machine runs, a ceiling for them, how long an end may take, budgets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from jobs.models import RowId, UtcDateTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("max_price", sa.BigInteger(), nullable=True))
    op.add_column("jobs", sa.Column("coupon", sa.String(length=100), nullable=True))
    op.add_column("jobs", sa.Column("grace", sa.Integer(), server_default="30", nullable=False))
    op.add_column("jobs", sa.Column("idle_timeout", sa.BigInteger(), nullable=True))
    op.add_column("instances", sa.Column("full_price", sa.BigInteger(), nullable=True))
    op.add_column("instances", sa.Column("prices", sa.JSON(none_as_null=True), nullable=True))
    op.create_table(
        "budgets",
        sa.Column("id", RowId, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("micros", sa.BigInteger(), nullable=False),
        sa.Column("every", sa.String(length=10), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("removed_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("every IN ('day','week','month')", name=op.f("ck_budgets_every")),
        sa.CheckConstraint("micros > 0", name=op.f("ck_budgets_micros")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budgets")),
    )
    there = sa.text("removed_at IS NULL")
    op.create_index(
        "uq_budgets_name", "budgets", ["name"], unique=True, sqlite_where=there, postgresql_where=there
    )
    op.add_column("jobs", sa.Column("budget_id", sa.BigInteger(), nullable=True))
    op.add_column("jobs", sa.Column("budget_need", sa.BigInteger(), nullable=True))
    op.add_column("jobs", sa.Column("budget_charged", sa.BigInteger(), nullable=True))
    op.add_column("jobs", sa.Column("admitted_at", UtcDateTime(), nullable=True))
    op.create_index("ix_jobs_budget_id_admitted_at", "jobs", ["budget_id", "admitted_at"])
    op.add_column("events", sa.Column("budget_charged", sa.BigInteger(), nullable=True))
