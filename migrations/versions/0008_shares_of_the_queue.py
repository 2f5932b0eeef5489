"""A fair share of the queue for each key, and priorities

A worker of the previous version claims in the order of submission, whatever the priority, and takes no turns.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_QUEUED = sa.text("state = 'queued'")


def upgrade() -> None:
    op.create_table(
        "lane_turns",
        sa.Column("lane", sa.String(length=16), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("turn", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("lane", "key_id", name=op.f("pk_lane_turns")),
    )
    op.add_column("jobs", sa.Column("queue_rank", sa.Integer(), server_default="0", nullable=False))
    op.drop_index("ix_jobs_queue", table_name="jobs")
    _index("lane", "key_id", "queue_rank", "id")


def downgrade() -> None:
    op.drop_index("ix_jobs_queue", table_name="jobs")
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_column("queue_rank")
    _index("lane", "id")
    op.drop_table("lane_turns")


def _index(*columns: str) -> None:
    op.create_index("ix_jobs_queue", "jobs", list(columns), sqlite_where=_QUEUED, postgresql_where=_QUEUED)
