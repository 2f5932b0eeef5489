"""The retention policy of a worker's disk, shared by the supervisor and `stillhouse gc`.

    job folders    of jobs that have ended: at once after a success; after `checkpoint_kept_hours` for a failed or
                   cancelled job, or when the retry that took its checkpoints over has ended; at once for one that was
                   deleted. Another folder unknown to the database is deleted after the same time without a change
    inputs         the least recently used, beyond `cache_bytes`; never one that an unfinished job reads, or that was
                   used recently; and downloads that were killed
    soft targets   likewise, never one whose lock is held; and temporary folders whose writer is dead; the same for
                   other stores of rows: decoded images and masks, features of sounds, tokens
    controls       temporary folders after a day (published ones are bounded by their number)

Folders are listed before the database is queried, so that a job that is claimed meanwhile is not mistaken for
one that is unknown.
"""

import asyncio
from collections.abc import Collection, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from app.contracts.wire.orders import SharedCache
from app.db.clock import utcnow
from app.db.engine import Database
from app.queue.ended import deletion, retrying
from app.queue.ledger import Ledger
from app.settings import Settings
from workers.runtime.disk.usage import bytes_below
from workers.runtime.paths import Paths
from workers.runtime.retention import cached_inputs, caches, job_folders
from workers.runtime.retention.item import KeptItem, StaleItem

STORES_OF_ROWS: Final[Mapping[SharedCache, str]] = {
    "targets": "soft targets",
    "images": "decoded images",
    "masks": "decoded masks",
    "sounds": "features of sounds",
    "tokens": "tokens of texts",
}
"""What the rows of each store are. Other caches are bounded by their number of entries, where they are written."""


async def find_stale(
    settings: Settings, database: Database, needed: Collection[Path] = (), *, dry_run: bool = False
) -> list[StaleItem]:
    """What may be deleted now; `needed` inputs stay.

    Except in a dry run the ledger first clears the checkpoint fields of expired folders: no retry may rely on them.
    """
    paths = Paths(settings.data_dir)
    jobs = await _ends_of_folders(settings, database, dry_run=dry_run)
    return [
        *(
            StaleItem("job", job_id, bytes_below(paths.job(job_id)), partial(job_folders.remove_job, paths, job_id))
            for job_id, kept_until in jobs.items()
            if kept_until is None
        ),
        *cached_inputs.killed_downloads(paths),
        *cached_inputs.beyond_limit(paths, settings.cache_bytes, job_folders.inputs_in_use(paths).union(needed)),
        *(
            item
            for cache, rows in STORES_OF_ROWS.items()
            for item in caches.stored_rows(rows, paths.cache / cache, settings.cache_bytes)
        ),
        *caches.controls(paths.cache / "controls"),
    ]


async def find_kept(settings: Settings, database: Database) -> list[KeptItem]:
    """The folders of jobs that have ended, or that the database does not know, which are kept for a time."""
    paths = Paths(settings.data_dir)
    jobs = await _ends_of_folders(settings, database, dry_run=True)
    return [
        KeptItem("job", job_id, bytes_below(paths.job(job_id)), kept_until)
        for job_id, kept_until in jobs.items()
        if kept_until is not None
    ]


async def _ends_of_folders(settings: Settings, database: Database, *, dry_run: bool) -> dict[str, str | None]:
    """Until when the folders here are kept, except those of unfinished jobs; None: they may be deleted now."""
    paths = Paths(settings.data_dir)
    job_ids = job_folders.list_jobs(paths)
    kept, now = timedelta(hours=settings.checkpoint_kept_hours), utcnow()
    ended = await retrying.discard(database, job_ids, kept, dry_run=dry_run)
    unknown = await job_folders.unknown(database, job_ids)
    deleted = await deletion.deleted(database, unknown)
    since = await retrying.ended_at(database, [job_id for job_id, stale in ended.items() if not stale])
    since |= job_folders.changed(paths, unknown - deleted)
    ends: dict[str, str | None] = {}
    for job_id in job_ids:
        if job_id in since:
            until = since[job_id] + kept
            later = until.isoformat(timespec="seconds") if until > now else "its retry has ended"
            ends[job_id] = None if until <= now and job_id in unknown else later
        elif job_id in ended or job_id in deleted:
            ends[job_id] = None
    return ends


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
