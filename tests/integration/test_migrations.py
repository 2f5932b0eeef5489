"""The schema goes up, checks, and goes down again, on both databases."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, inspect, select, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from app.contracts.states import JobState
from app.db.base import Base
from app.db.errors import DatabaseUnavailable
from app.db.migrate import check, downgrade, head, upgrade
from app.db.rows import ArtifactRow, BlobRow, FileRow, JobInputRow, JobRow, ModelRow
from app.db.urls import sync_url

ROOT = Path(__file__).resolve().parents[2]


def tables(url: str) -> set[str]:
    def names(connection: Connection) -> set[str]:
        return set(inspect(connection).get_table_names())

    with create_engine(sync_url(url)[1], poolclass=NullPool).connect() as connection:
        return names(connection)


def execute(url: str, statement: str) -> None:
    with create_engine(sync_url(url)[1], poolclass=NullPool).begin() as connection:
        connection.execute(text(statement))


def test_up_makes_every_table_and_the_schema_is_in_step(database_url: str) -> None:
    upgrade(database_url)
    assert tables(database_url) == {*Base.metadata.tables, "alembic_version"}
    assert check(database_url) == []


def test_down_takes_everything_away_and_up_brings_it_back(database_url: str) -> None:
    upgrade(database_url)
    downgrade(database_url)
    assert tables(database_url) == {"alembic_version"}
    upgrade(database_url)
    assert check(database_url) == []


def test_up_on_an_up_to_date_database_changes_nothing(database_url: str) -> None:
    upgrade(database_url)
    execute(database_url, "INSERT INTO projects (id, name, created_at) VALUES ('prj_2', 'two', CURRENT_TIMESTAMP)")
    upgrade(database_url)
    assert check(database_url) == []


def test_the_error_of_an_empty_database_names_the_way_out(database_url: str) -> None:
    (difference,) = check(database_url)
    assert difference == f"expected revision {head()}, found an empty database: run `stillhouse migrate`"


def test_checking_makes_no_file(tmp_path: Path) -> None:
    (difference,) = check(f"sqlite:///{tmp_path}/none/x.db")
    assert "found an empty database" in difference
    assert list(tmp_path.iterdir()) == []


def test_a_column_that_the_rows_do_not_know_is_found(database_url: str) -> None:
    upgrade(database_url)
    execute(database_url, "ALTER TABLE models ADD COLUMN surprise INTEGER")
    (difference,) = check(database_url)
    assert "surprise" in difference


def test_a_missing_index_is_found(database_url: str) -> None:
    upgrade(database_url)
    execute(database_url, "DROP INDEX ix_jobs_queue")
    (difference,) = check(database_url)
    assert "ix_jobs_queue" in difference


def roles(url: str) -> set[str]:
    with create_engine(sync_url(url)[1], poolclass=NullPool).connect() as connection:
        return set(connection.scalars(text("SELECT role FROM artifacts")))


def test_files_of_earlier_jobs_stay_when_roles_become_longer(database_url: str) -> None:
    upgrade(database_url)
    with Session(create_engine(sync_url(database_url)[1], poolclass=NullPool)) as session:
        session.add(JobRow(id="job_1", kind="train", lane="train", spec={}, state=JobState.SUCCEEDED))
        session.add(BlobRow(sha256="0" * 64, key="k", bytes=1, state="stored"))
        session.flush()
        for role in ("student", "predictions", "predictions-validation"):
            session.add(ArtifactRow(job_id="job_1", role=role, name="file", bytes=1, sha256="0" * 64))
        session.commit()
    downgrade(database_url, "0002")
    assert roles(database_url) == {"student", "predictions"}, "a role that the old column cannot hold goes"
    upgrade(database_url)
    assert roles(database_url) == {"student", "predictions"}
    assert check(database_url) == []


def test_what_was_stored_before_counts_for_its_key(database_url: str) -> None:
    upgrade(database_url)
    engine = create_engine(sync_url(database_url)[1], poolclass=NullPool)
    with Session(engine) as session:
        session.add(BlobRow(sha256="0" * 64, key="k", bytes=7, state="stored"))
        for name in ("uploaded", "trained"):
            model = ModelRow(id=name, name="m", state="ready", format="safetensors", manifest={}, source="upload")
            model.files = [FileRow(name="m", role="weights", bytes=7, sha256="0" * 64)]
            session.add(model)
        for kind in ("inspect", "train"):
            session.add(JobRow(id=kind, kind=kind, lane=kind, spec={}, state=JobState.SUCCEEDED, key_id="key_1"))
        session.flush()
        session.add(JobInputRow(job_id="inspect", role="subject", model_id="uploaded"))
        for role in ("student", "report"):
            session.add(ArtifactRow(job_id="train", role=role, name="file", bytes=7, sha256="0" * 64))
        session.commit()
    downgrade(database_url, "0008")
    upgrade(database_url)
    with Session(engine) as session:
        assert dict(session.execute(select(FileRow.model_id, FileRow.key_id)).all()) == {
            "uploaded": "key_1",
            "trained": None,
        }
        assert dict(session.execute(select(JobRow.id, JobRow.output_bytes)).all()) == {"inspect": 0, "train": 14}


def test_the_migrations_are_in_step_with_the_rows() -> None:
    assert check() == []


MIGRATING = """
import os, sys
from app.db.migrate import upgrade
for _ in range(4):
    if os.fork() == 0:
        upgrade(sys.argv[1])
        sys.exit(0)
statuses = [os.wait()[1] for _ in range(4)]
sys.exit(any(statuses))
"""


def test_processes_that_start_together_migrate_once(database_url: str) -> None:
    command = [sys.executable, "-c", MIGRATING, database_url]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert check(database_url) == []


def test_a_migration_that_fails_leaves_the_database_as_it_was(database_url: str) -> None:
    """Schema changes are part of the transaction, on SQLite as well."""
    execute(database_url, "CREATE TABLE job_reports (id INTEGER)")  # in the way of the last table
    with pytest.raises(Exception, match="job_reports"):
        upgrade(database_url)
    assert tables(database_url) <= {"job_reports", "alembic_version"}


def test_migrations_run_from_any_folder(tmp_path: Path, database_url: str) -> None:
    script = "import sys; from app.db.migrate import check, upgrade; upgrade(sys.argv[1]); print(check(sys.argv[1]))"
    command = [sys.executable, "-c", script, database_url]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_a_server_that_is_not_there_is_unavailability(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable):
        upgrade(f"postgresql://nobody@/none?host={tmp_path}")
