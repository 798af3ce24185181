"""Machines that end themselves: whether an attempt's machine has what it takes for that, and from when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempts", sa.Column("guard", sa.JSON(), nullable=True))
