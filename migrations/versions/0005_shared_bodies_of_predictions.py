"""Requests to predict that share the rows of another one

A worker of the previous version finds no rows in such a request: a teacher of a comparison then says that it has not
answered. All other requests have their own rows, as before.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("predictions", sa.Column("body_of", sa.String(length=64), nullable=True))


def downgrade() -> None:
    op.execute("DELETE FROM predictions WHERE body_of IS NOT NULL")
    with op.batch_alter_table("predictions") as predictions:
        predictions.drop_column("body_of")
