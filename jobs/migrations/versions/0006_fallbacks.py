"""Several products for one job: the cheapest first where that is wanted, and those that are passed over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("cheapest", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("jobs", sa.Column("passed_over", sa.JSON(), nullable=True))
