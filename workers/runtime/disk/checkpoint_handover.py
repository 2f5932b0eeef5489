"""Handing the checkpoints of one job over to its retry, which continues where the old job stopped."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from app.storage.durable import sync_directory
from workers.runtime.paths import Paths


def take_over_checkpoints(paths: Paths, source: str, job_id: str, attempt: int) -> bool:
    """Give job `job_id` the checkpoints of job `source`, unless it has its own already. False if there are none.

    Files are hard-linked, not copied: checkpoints are written as new files and renamed, so the bytes behind a name
    never change. The folder appears complete; files that the old job's last process removes meanwhile are skipped.
    """
    target, existing = paths.checkpoints(job_id), paths.checkpoints(source)
    if target.exists():
        return True
    if not existing.is_dir():
        return False
    temporary = paths.job(job_id) / f".adopting-{attempt}"
    shutil.rmtree(temporary, ignore_errors=True)
    _link_tree(existing, temporary)
    try:
        temporary.rename(target)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        if not target.is_dir():  # else an earlier attempt, suspended for a while, was faster
            raise
    sync_directory(target.parent)
    return True


def _link_tree(source: Path, target: Path) -> None:
    """The same folders with links to the same files, without temporary files (names with a dot)."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.name.startswith("."):
            continue
        with suppress(FileNotFoundError):
            if path.is_dir():
                _link_tree(path, target / path.name)
            else:
                _link_file(path, target / path.name)
    sync_directory(target)


def _link_file(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links, or with too many of this file
        shutil.copyfile(source, target)
