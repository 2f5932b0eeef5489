"""Predictions on their way between API and workers, and the workers that answer them"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "predictions",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("asker", sa.String(length=64), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("deadline", sa.Double(), nullable=False),
        sa.Column("deadline_boot", sa.String(length=64), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("claimed_by", sa.String(length=128), nullable=True),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_predictions_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_predictions")),
    )
    if op.get_bind().dialect.name == "postgresql":  # rows come and go: compressing them costs more than it saves
        op.execute("ALTER TABLE predictions ALTER COLUMN body SET STORAGE EXTERNAL")
        op.execute("ALTER TABLE predictions ALTER COLUMN answer SET STORAGE EXTERNAL")
    op.create_index(op.f("ix_predictions_asker"), "predictions", ["asker"])
    op.create_table(
        "lane_owners",
        sa.Column("owner", sa.String(length=128), nullable=False),
        sa.Column("lease_expires", sa.Double(), nullable=False),
        sa.Column("lease_boot", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_lane_owners")),
    )


def downgrade() -> None:
    op.drop_table("lane_owners")
    op.drop_table("predictions")
