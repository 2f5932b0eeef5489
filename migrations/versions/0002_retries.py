"""Retries: which job a job repeats, and whose checkpoints it takes over

Both columns are nullable, so workers of the previous version are compatible: they start a retry from the beginning,
which gives the same student.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("retry_of", sa.String(length=64), nullable=True))
    op.add_column("jobs", sa.Column("checkpoint_from", sa.String(length=64), nullable=True))
    op.create_index(op.f("ix_jobs_checkpoint_from"), "jobs", ["checkpoint_from"])


def downgrade() -> None:
    op.drop_index(op.f("ix_jobs_checkpoint_from"), table_name="jobs")
    op.drop_column("jobs", "checkpoint_from")
    op.drop_column("jobs", "retry_of")
