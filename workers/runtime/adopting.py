"""Checkpoints of one job as those of another: how a retry goes on where the old job stopped."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from app.storage.durable import sync_directory
from workers.runtime.places import Places


def adopt(places: Places, source: str, job_id: str, attempt: int) -> bool:
    """Give job `job_id` the checkpoints of job `source`, unless it has a folder of its own already; False where
    there are none.

    Files are linked, not copied: whoever writes checkpoints writes new files and renames them, so a name never
    changes its bytes. The folder appears whole; what the old job's last process may yet drop is passed over.
    """
    target, found = places.checkpoints(job_id), places.checkpoints(source)
    if target.exists():
        return True
    if not found.is_dir():
        return False
    draft = places.job(job_id) / f".adopting-{attempt}"
    shutil.rmtree(draft, ignore_errors=True)
    _link(found, draft)
    try:
        draft.rename(target)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        if not target.is_dir():  # else an earlier attempt, stopped for a while, was faster
            raise
    sync_directory(target.parent)
    return True


def _link(source: Path, target: Path) -> None:
    """The same tree of folders over the same files, without what is being written (names with a dot)."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.name.startswith("."):
            continue
        with suppress(FileNotFoundError):
            if path.is_dir():
                _link(path, target / path.name)
            else:
                _link_file(path, target / path.name)
    sync_directory(target)


def _link_file(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links, or with too many of this one
        shutil.copyfile(source, target)
