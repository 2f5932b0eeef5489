"""Roles of artifacts: longer names, for one predictions file per split

A worker of the previous version leaves one file with every split and the role `predictions`; the API serves it.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("artifacts") as artifacts:
        artifacts.alter_column("role", existing_type=sa.String(length=16), type_=sa.String(length=32))


def downgrade() -> None:
    op.execute("DELETE FROM artifacts WHERE role LIKE 'predictions-%'")
    with op.batch_alter_table("artifacts") as artifacts:
        artifacts.alter_column("role", existing_type=sa.String(length=32), type_=sa.String(length=16))
