"""The folders of jobs: checkpoints, and one folder for each attempt."""

import json
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select

from app.db.engine import Database
from app.db.rows import JobRow
from workers.runtime.disk.usage import last_modified
from workers.runtime.paths import Paths


def list_jobs(paths: Paths) -> list[str]:
    """The jobs that have a folder on this disk."""
    return sorted(path.name for path in paths.jobs.iterdir() if path.is_dir()) if paths.jobs.is_dir() else []


async def unknown(database: Database, job_ids: Collection[str]) -> set[str]:
    """Those of these jobs that are unknown to the database.

    The job was deleted, or this is another database, or an older copy: `deletion.deleted` tells which.
    """
    async with database.read() as session:
        known = await session.scalars(select(JobRow.id).where(JobRow.id.in_(job_ids)))
        return set(job_ids) - set(known.all())


def changed(paths: Paths, job_ids: Collection[str]) -> dict[str, datetime]:
    """When something has last changed in the folder of each of these jobs."""
    return {job_id: datetime.fromtimestamp(last_modified(paths.job(job_id)), UTC) for job_id in job_ids}


def inputs_in_use(paths: Paths) -> set[Path]:
    """The inputs of every job that has a folder here, as named in its orders."""
    inputs: set[Path] = set()
    for attempt in _attempts(paths):
        with suppress(OSError, ValueError, KeyError, TypeError):
            order = json.loads((attempt / "order.json").read_text())
            inputs |= {Path(each["path"]) for kind in ("models", "datasets") for each in order[kind].values()}
    return inputs


def _attempts(paths: Paths) -> Iterator[Path]:
    for job_id in list_jobs(paths):
        with suppress(FileNotFoundError):  # the job has ended meanwhile; a single glob over all would stop there
            yield from list(paths.job(job_id).glob("attempt-*"))


def remove_job(paths: Paths, job_id: str) -> None:
    """Remove the folder of a job that has ended."""
    shutil.rmtree(paths.job(job_id), ignore_errors=True)


def remove_attempts(paths: Paths, job_id: str) -> None:
    """Remove everything of a job that has ended except its checkpoints."""
    with suppress(FileNotFoundError):  # another process has removed the job meanwhile
        for path in list(paths.job(job_id).iterdir()):
            if path != paths.checkpoints(job_id):
                shutil.rmtree(path, ignore_errors=True)
