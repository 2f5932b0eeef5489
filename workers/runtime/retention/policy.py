"""The retention policy of a worker's disk, shared by the supervisor and `stillhouse gc`.

    job folders    of jobs that have ended: at once after a success; after `checkpoint_kept_hours` for a failed or
                   cancelled job, or when the retry that took its checkpoints over has ended. A folder unknown to the
                   database is deleted after the same time without a change
    inputs         the least recently used, beyond `cache_bytes`; never one that an unfinished job reads, or that was
                   used recently; and downloads that were killed
    soft targets   likewise, never one whose lock is held; and temporary folders whose writer is dead; the same for
                   decoded images and features of sounds
    controls       temporary folders after a day (published ones are bounded by their number)

Folders are listed before the database is queried, so that a job that is claimed meanwhile is not mistaken for
one that is unknown.
"""

import asyncio
from collections.abc import Collection
from datetime import timedelta
from functools import partial
from pathlib import Path

from app.db.engine import Database
from app.queue.ended import retrying
from app.queue.ledger import Ledger
from app.settings import Settings
from workers.runtime.disk.usage import bytes_below
from workers.runtime.paths import Paths
from workers.runtime.retention import cached_inputs, caches, job_folders
from workers.runtime.retention.item import StaleItem


async def find_stale(
    settings: Settings, database: Database, needed: Collection[Path] = (), *, dry_run: bool = False
) -> list[StaleItem]:
    """What may be deleted now; `needed` inputs stay.

    Except in a dry run the ledger first clears the checkpoint fields of expired folders: no retry may rely on them.
    """
    paths = Paths(settings.data_dir)
    job_ids = job_folders.list_jobs(paths)
    kept = timedelta(hours=settings.checkpoint_kept_hours)
    ended = await retrying.discard(database, job_ids, kept, dry_run=dry_run)
    stale = {job_id for job_id, checkpoints_too in ended.items() if checkpoints_too}
    stale |= job_folders.unchanged(paths, await job_folders.unknown(database, job_ids), kept)
    return [
        *(
            StaleItem("job", job_id, bytes_below(paths.job(job_id)), partial(job_folders.remove_job, paths, job_id))
            for job_id in job_ids
            if job_id in stale
        ),
        *cached_inputs.killed_downloads(paths),
        *cached_inputs.beyond_limit(paths, settings.cache_bytes, job_folders.inputs_in_use(paths).union(needed)),
        *caches.stored_rows("soft targets", paths.cache / "targets", settings.cache_bytes),
        *caches.stored_rows("decoded images", paths.cache / "images", settings.cache_bytes),
        *caches.stored_rows("features of sounds", paths.cache / "sounds", settings.cache_bytes),
        *caches.stored_rows("tokens of texts", paths.cache / "tokens", settings.cache_bytes),
        *caches.controls(paths.cache / "controls"),
    ]


async def remove_ended_jobs(settings: Settings, ledger: Ledger, running: Collection[str]) -> None:
    """Remove the folders of jobs that have ended, except those `running` here: their outputs are in the store.

    The checkpoints of failed and cancelled jobs are kept for a while, for a retry.
    """
    paths = Paths(settings.data_dir)
    job_ids = [job_id for job_id in job_folders.list_jobs(paths) if job_id not in running]
    kept = timedelta(hours=settings.checkpoint_kept_hours)
    for job_id, checkpoints_too in (await ledger.discard(job_ids, kept)).items():
        remove = job_folders.remove_job if checkpoints_too else job_folders.remove_attempts
        await asyncio.to_thread(remove, paths, job_id)
