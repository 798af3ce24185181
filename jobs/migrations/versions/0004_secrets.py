"""Secrets of jobs: their names, and until the job is final their ciphertext; the level of a worker's code."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

FINAL = "'succeeded','failed','cancelled','expired'"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("secret_names", sa.JSON(), nullable=True))
    # With the column itself: SQLite adds no constraint to a table that is there, but takes one with a column.
    op.execute(
        "ALTER TABLE jobs ADD COLUMN secrets TEXT CONSTRAINT ck_jobs_final_has_no_secrets "
        f"CHECK (secrets IS NULL OR state NOT IN ({FINAL}))"
    )
    op.add_column("workers", sa.Column("code", sa.Integer(), server_default="1", nullable=False))
