"""How often a command that was started may be tried again, and why."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("retries", sa.Integer(), server_default="0", nullable=False))
    op.add_column(
        "jobs", sa.Column("retry_on", sa.String(length=200), server_default="lost,exit_code", nullable=False)
    )
