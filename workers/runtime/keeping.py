"""What stays on a worker's disk when jobs have ended: the logs of crashes, and inputs that may be wanted again."""

import os
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from workers.runtime import locks
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
    written = []
    for path in places.logs.iterdir():
        with suppress(FileNotFoundError):  # another worker has just removed it
            written.append((path.stat().st_mtime, path))
    for _, path in sorted(written, reverse=True)[KEPT_LOGS:]:
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


@dataclass(frozen=True)
class Input:
    """A file among the inputs, and when it was used last."""

    path: Path
    bytes: int
    used: float


def inputs_beyond(places: Places, bound: int, needed: Collection[Path]) -> list[Input]:
    """Inputs that go, longest unused first, until `bound` bytes are left; those `needed` now, or lately, stay.

    A file that is but a link to a blob of a local store costs nothing and is not counted.
    """
    found, beyond = [], []
    for path in places.inputs.glob("[!.]*"):
        with suppress(FileNotFoundError):
            facts = path.stat()
            if facts.st_nlink == 1:
                found.append(Input(path, facts.st_size, facts.st_atime))
    total = sum(each.bytes for each in found)
    for each in sorted(found, key=lambda each: each.used):
        if total > bound and each.path not in needed and time.time() - each.used > UNTOUCHED_SECONDS:
            beyond.append(each)
            total -= each.bytes
    return beyond


def remove_input(places: Places, listed: Input) -> None:
    """Remove an input, unless somebody has used it since it was listed, or is about to."""
    with _locked(places, listed.path.name) as ours, suppress(FileNotFoundError):
        if ours:
            facts = listed.path.stat()
            if facts.st_nlink == 1 and facts.st_atime == listed.used:
                listed.path.unlink()


def broken_off(places: Places) -> list[tuple[Path, int]]:
    """(path, bytes) of what fetches have left that were killed, or are given up: nobody holds their inputs' locks."""
    found = []
    for path in places.inputs.glob(".*.part"):
        with _locked(places, _digest(path)) as ours, suppress(FileNotFoundError):
            if ours:
                found.append((path, path.stat().st_size))
    return found


def remove_broken_off(places: Places, path: Path) -> None:
    """Remove it, if still nobody holds its input's lock; a thread that copies on, given up, then fails unheard."""
    with _locked(places, _digest(path)) as ours:
        if ours:
            path.unlink(missing_ok=True)


def _digest(part: Path) -> str:
    """The input that a store's `.<digest>….part` is to become."""
    return part.name.split(".")[1]


@contextmanager
def _locked(places: Places, sha256: str) -> Iterator[bool]:
    """Whether nobody fetches or looks at an input; nobody does within the block then."""
    lock = locks.take(places.input_lock(sha256))
    try:
        yield lock is not None
    finally:
        if lock is not None:
            os.close(lock)
