"""Sign-ins in browsers, workers that describe themselves, and verdicts in lists of jobs

A worker of the previous version is compatible: it describes itself nowhere, and jobs that it ends have no verdict in
lists.
"""

import json
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_BATCH = 100


def upgrade() -> None:
    op.create_table(
        "sessions",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name=op.f("fk_sessions_key_id_keys"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_expires_at"), "sessions", ["expires_at"])
    op.create_index(op.f("ix_sessions_key_id"), "sessions", ["key_id"])
    op.create_table(
        "workers",
        sa.Column("owner", sa.String(length=128), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("lease_expires", sa.Double(), nullable=False),
        sa.Column("lease_boot", sa.String(length=64), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_workers")),
    )
    op.add_column("jobs", sa.Column("verdict", sa.Text(), nullable=True))
    _fill_verdicts()
    op.create_index("ix_jobs_listed", "jobs", ["project_id", "id", "state", "kind", "name"])
    op.drop_index(op.f("ix_jobs_project_id_id"), table_name="jobs")


def _fill_verdicts() -> None:
    """Those of jobs that have ended, from their reports."""
    reports = sa.table("job_reports", sa.column("job_id", sa.String), sa.column("report", sa.Text))
    jobs = sa.table("jobs", sa.column("id", sa.String), sa.column("verdict", sa.Text))
    connection, last = op.get_bind(), ""
    query = sa.select(reports).order_by(reports.c.job_id).limit(_BATCH)
    while found := connection.execute(query.where(reports.c.job_id > last)).all():
        for job_id, text in found:
            verdicts = (json.loads(text) or {}).get("verdict")
            if isinstance(verdicts, dict) and verdicts:
                words = {task: each["verdict"] for task, each in verdicts.items()}
                connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(verdict=json.dumps(words)))
        last = found[-1].job_id


def downgrade() -> None:
    op.create_index(op.f("ix_jobs_project_id_id"), "jobs", ["project_id", "id"])
    op.drop_index("ix_jobs_listed", table_name="jobs")
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_column("verdict")
    op.drop_table("workers")
    op.drop_index(op.f("ix_sessions_key_id"), table_name="sessions")
    op.drop_index(op.f("ix_sessions_expires_at"), table_name="sessions")
    op.drop_table("sessions")
