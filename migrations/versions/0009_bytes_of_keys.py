"""What a key has stored: the key of a file, and the bytes of a job's outputs

Files that a worker of the previous version makes have no key, and its jobs' outputs no bytes: they are not counted.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("files", sa.Column("key_id", sa.String(length=64), nullable=True))
    op.add_column("jobs", sa.Column("output_bytes", sa.BigInteger(), server_default="0", nullable=False))
    for resource in ("model_id", "dataset_id"):  # an upload's key is that of its inspection
        op.execute(
            "UPDATE files SET key_id ="
            " (SELECT max(jobs.key_id) FROM job_inputs JOIN jobs ON jobs.id = job_inputs.job_id"
            f" WHERE job_inputs.role = 'subject' AND job_inputs.{resource} = files.{resource})"
            f" WHERE files.{resource} IS NOT NULL"
        )
    op.execute(
        "UPDATE jobs SET output_bytes ="
        " (SELECT coalesce(sum(artifacts.bytes), 0) FROM artifacts WHERE artifacts.job_id = jobs.id)"
    )
    op.create_index(op.f("ix_files_key_id_bytes"), "files", ["key_id", "bytes"])
    op.create_index(op.f("ix_jobs_key_id_state_output_bytes"), "jobs", ["key_id", "state", "output_bytes"])


def downgrade() -> None:
    op.drop_index(op.f("ix_jobs_key_id_state_output_bytes"), table_name="jobs")
    op.drop_index(op.f("ix_files_key_id_bytes"), table_name="files")
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_column("output_bytes")
    with op.batch_alter_table("files") as files:
        files.drop_column("key_id")
