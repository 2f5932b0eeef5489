"""What a worker's disk is rid of, and when: one policy for the supervisor and `stillhouse gc`.

    jobs/       of jobs that have ended: a success at once, the checkpoints of a failed or cancelled one after
                `checkpoint_kept_hours`, or when the retry that takes them over has ended; what the database
                knows nothing of when nothing in it has changed for so long
    inputs      longest unused first, beyond `cache_bytes`; never what a job that is not over reads, or has
                taken since; fetches that broke off
    targets     likewise, never what somebody holds by its lock; drafts whose writer is dead
    controls    drafts of a day ago (published ones are bounded by their number)

Folders are listed before the database is asked about them, so a job that is claimed meanwhile is never taken for one
that is gone.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import select

from app.db.engine import Database
from app.db.rows import JobRow
from app.queue import retrying
from app.settings import Settings
from workers.runtime import keeping
from workers.runtime.disk import bytes_below, facts_below
from workers.runtime.places import Places

_DAY = 86_400.0
_DRAFT = ".draft-"


@dataclass(frozen=True)
class Stale:
    """Something that goes, and how. `remove` may find that somebody came to need it: then it stays."""

    kind: str
    name: str
    bytes: int
    remove: Callable[[], None]


async def stale(
    settings: Settings, database: Database, needed: Collection[Path] = (), *, only_look: bool = False
) -> list[Stale]:
    """What goes now from below the data directory; inputs that are `needed` stay. Checkpoints that are kept too long
    are forgotten by the ledger first, so that no retry counts on them, unless it is to `only_look`.
    """
    places = Places(settings.data_dir)
    ids = [path.name for path in _folders(places.jobs)]
    kept = timedelta(hours=settings.checkpoint_kept_hours)
    discarded = await retrying.discard(database, ids, kept, only_look=only_look)
    may_go = {job_id for job_id, checkpoints_too in discarded.items() if checkpoints_too}
    may_go |= _unchanged(places, await _without_row(database, ids), kept)
    found = [
        Stale("job", job_id, bytes_below(places.job(job_id)), partial(keeping.remove_job, places, job_id))
        for job_id in ids
        if job_id in may_go
    ]
    found += _inputs(places, settings.cache_bytes, needed)
    found += _targets(places.cache / "targets", settings.cache_bytes)
    return [*found, *_old_drafts(places.cache / "controls")]


async def _without_row(database: Database, job_ids: list[str]) -> set[str]:
    """Those of these jobs that the database does not know. No row of a job is ever deleted: it is another database, or
    an older copy.
    """
    async with database.read() as session:
        return set(job_ids) - set((await session.scalars(select(JobRow.id).where(JobRow.id.in_(job_ids)))).all())


def _unchanged(places: Places, job_ids: set[str], kept: timedelta) -> set[str]:
    """Those below whose folders nothing has changed for so long."""
    oldest = time.time() - kept.total_seconds()
    return {job_id for job_id in job_ids if _newest(places.job(job_id)) < oldest}


def _inputs(places: Places, bound: int, needed: Collection[Path]) -> Iterator[Stale]:
    for path, size in keeping.broken_off(places):
        yield Stale("draft", path.name, size, partial(keeping.remove_broken_off, places, path))
    for each in keeping.inputs_beyond(places, bound, _read_by_jobs(places).union(needed)):
        yield Stale("input", each.path.name, each.bytes, partial(keeping.remove_input, places, each))


def _read_by_jobs(places: Places) -> set[Path]:
    """The inputs of every job that has a folder here, as their orders name them."""
    found: set[Path] = set()
    for attempt in _attempts(places):
        with suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads((attempt / "order.json").read_text())
            found |= {Path(each["path"]) for kind in ("models", "datasets") for each in told[kind].values()}
    return found


def _attempts(places: Places) -> Iterator[Path]:
    for job in _folders(places.jobs):
        with suppress(FileNotFoundError):  # the job has ended meanwhile; one glob over all would stop there
            yield from list(job.glob("attempt-*"))


def _targets(folder: Path, bound: int) -> Iterator[Stale]:
    entries = []
    for path in _folders(folder):
        if path.name.startswith(_DRAFT):
            lock = folder / f"{path.name.removeprefix(_DRAFT)}.write"
            if not _is_held(lock):
                yield Stale("draft", path.name, bytes_below(path), partial(_remove_unheld, path, lock))
        else:
            with suppress(FileNotFoundError):
                entries.append(((path / "manifest.json").stat().st_mtime, bytes_below(path), path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        lock = folder / f"{path.name}.lock"
        if total > bound and not _is_held(lock):
            total -= size
            yield Stale("soft targets", path.name, size, partial(_remove_unheld, path, lock))


def _old_drafts(folder: Path) -> Iterator[Stale]:
    for path in _folders(folder):
        with suppress(FileNotFoundError):
            if path.name.startswith(_DRAFT) and time.time() - path.stat().st_mtime > _DAY:
                yield Stale("draft", path.name, bytes_below(path), partial(shutil.rmtree, path, ignore_errors=True))


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _newest(folder: Path) -> float:
    """When something in a folder was changed last."""
    return max((facts.st_mtime for facts in facts_below(folder)), default=0.0)


def _is_held(lock: Path) -> bool:
    with _taken(lock) as ours:
        return not ours


def _remove_unheld(path: Path, lock: Path) -> None:
    with _taken(lock) as ours:
        if ours:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _taken(lock: Path) -> Iterator[bool]:
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)
