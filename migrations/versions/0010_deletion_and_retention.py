"""Jobs that are deleted, and rows that are kept for a time

A worker of the previous version is compatible: it neither deletes jobs nor counts looks.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("datasets", sa.Column("deleted_looks", sa.Integer(), server_default="0", nullable=False))
    op.create_index(op.f("ix_jobs_finished_at"), "jobs", ["finished_at"])
    op.create_index(op.f("ix_outbox_created_at"), "outbox", ["created_at"])


def downgrade() -> None:
    op.drop_index(op.f("ix_outbox_created_at"), table_name="outbox")
    op.drop_index(op.f("ix_jobs_finished_at"), table_name="jobs")
    with op.batch_alter_table("datasets") as datasets:
        datasets.drop_column("deleted_looks")
