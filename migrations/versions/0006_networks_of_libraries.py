"""Networks of libraries, and jobs that need an extra of their worker

A worker of the previous version claims such jobs as well, and fails them: it does not know these families.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "networks",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("measured", sa.Text(), nullable=True),
        sa.Column("rejection", sa.Text(), nullable=True),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_networks_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_networks")),
    )
    op.create_index(op.f("ix_networks_job_id"), "networks", ["job_id"])
    op.add_column("jobs", sa.Column("extra", sa.String(length=16), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_column("extra")
    op.drop_table("networks")
