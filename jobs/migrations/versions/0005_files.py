"""Files: the folder that goes to the machine, and what comes back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from jobs.models import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in (
        sa.Column("workdir", sa.String(length=200), nullable=True),
        sa.Column("workdir_files", sa.Integer(), nullable=True),
        sa.Column("workdir_bytes", sa.BigInteger(), nullable=True),
        sa.Column("setup", sa.Text(), nullable=True),
        sa.Column("outputs", sa.JSON(), nullable=True),
        sa.Column("sync_every", sa.BigInteger(), nullable=True),
    ):
        op.add_column("jobs", column)
    for column in (
        sa.Column("outputs_seconds", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("outputs_until", UtcDateTime(), nullable=True),
        sa.Column("outputs", sa.String(length=200), nullable=True),
        sa.Column("outputs_part", sa.String(length=200), nullable=True),
        sa.Column("outputs_state", sa.JSON(), nullable=True),
        sa.Column("transfer", sa.JSON(), nullable=True),
    ):
        op.add_column("attempts", column)
