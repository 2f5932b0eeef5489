"""What stays on a worker's disk when jobs have ended: the logs of crashes, and inputs that may be wanted again."""

import os
import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from workers.runtime.places import Places

LOG_BYTES = 64 << 10
KEPT_LOGS = 200
UNTOUCHED_SECONDS = 4 * 3600.0
"""An input that was asked for within this time stays: its job may not have opened it yet. Far longer than that takes,
as files have the wall's time, which may jump."""


def end_of_log(folder: Path) -> bytes:
    """The last LOG_BYTES of what an attempt's child wrote to its output."""
    try:
        with (folder / "log.txt").open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - LOG_BYTES))
            return log.read()
    except FileNotFoundError:
        return b""


def keep_log(places: Places, job_id: str, attempt: int) -> None:
    """Keep the end of a crashed attempt's log, below `logs`; only the newest KEPT_LOGS stay."""
    text = end_of_log(places.attempt(job_id, attempt))
    if not text:
        return
    places.logs.mkdir(parents=True, exist_ok=True)
    (places.logs / f"{job_id}-attempt-{attempt}.txt").write_bytes(text)
    newest_first = sorted(places.logs.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest_first[KEPT_LOGS:]:
        path.unlink(missing_ok=True)


def remove_job(places: Places, job_id: str) -> None:
    """Everything of a job that is over."""
    shutil.rmtree(places.job(job_id), ignore_errors=True)


def remove_attempts(places: Places, job_id: str) -> None:
    """What the attempts of a job that is over have left; its checkpoints stay."""
    with suppress(FileNotFoundError):  # somebody else has removed the job meanwhile
        for path in list(places.job(job_id).iterdir()):
            if path != places.checkpoints(job_id):
                shutil.rmtree(path, ignore_errors=True)


def prune_inputs(places: Places, bound: int, needed: Collection[Path]) -> None:
    """Remove inputs, longest unused first, until `bound` bytes are left; those `needed` now, or lately, stay."""
    for path, _ in inputs_beyond(places, bound, needed):
        path.unlink(missing_ok=True)


def inputs_beyond(places: Places, bound: int, needed: Collection[Path]) -> list[tuple[Path, int]]:
    """(path, bytes) of what `prune_inputs` would remove.

    A file that is but a link to a blob of a local store costs nothing and is not counted.
    """
    found, beyond = [], []
    with suppress(FileNotFoundError):
        for path in places.inputs.iterdir():
            facts = path.stat()
            if facts.st_nlink == 1:
                found.append((facts.st_atime, facts.st_size, path))
    total = sum(size for _, size, _ in found)
    for used, size, path in sorted(found):
        if total > bound and path not in needed and time.time() - used > UNTOUCHED_SECONDS:
            beyond.append((path, size))
            total -= size
    return beyond
