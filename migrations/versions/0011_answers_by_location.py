"""Answers to Idempotency-Keys are found by what they name, to be deleted with it

A worker of the previous version is compatible: it does not read them.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index(op.f("ix_idempotency_location"), "idempotency", ["location"])


def downgrade() -> None:
    op.drop_index(op.f("ix_idempotency_location"), table_name="idempotency")
