"""The schema goes up, checks, and goes down again, on both databases."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.pool import NullPool

from app.db.base import Base
from app.db.errors import DatabaseUnavailable
from app.db.migrate import check, downgrade, head, upgrade
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


def test_an_empty_database_is_told_what_to_do(database_url: str) -> None:
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


def test_the_migrations_are_in_step_with_the_rows() -> None:
    assert check() == []


def test_processes_that_start_together_migrate_once(database_url: str) -> None:
    command = [
        sys.executable,
        "-c",
        "import sys; from app.db.migrate import upgrade; upgrade(sys.argv[1])",
        database_url,
    ]
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: subprocess.run(command, cwd=ROOT, capture_output=True, text=True), range(4)))
    assert [run.stderr for run in runs] == [""] * 4
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
