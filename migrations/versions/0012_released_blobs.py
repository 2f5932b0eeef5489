"""Blobs that nothing refers to any more count for a key until they are collected; jobs that were deleted are found

A worker of the previous version is compatible: what it publishes again is marked as stored as before.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("blobs", sa.Column("key_id", sa.String(64), nullable=True))
    op.create_index(op.f("ix_blobs_state_key_id"), "blobs", ["state", "key_id"])
    op.create_index(op.f("ix_outbox_subject"), "outbox", ["subject"])


def downgrade() -> None:
    op.drop_index(op.f("ix_outbox_subject"), table_name="outbox")
    op.drop_index(op.f("ix_blobs_state_key_id"), table_name="blobs")
    with op.batch_alter_table("blobs") as blobs:
        blobs.drop_column("key_id")
