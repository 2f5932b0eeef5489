"""The logs of crashed attempts: the end of each, and only the newest."""

import os
from contextlib import suppress
from pathlib import Path

from workers.runtime.paths import Paths

LOG_BYTES = 64 << 10
KEPT_LOGS = 200


def end_of_log(folder: Path) -> bytes:
    """The last LOG_BYTES of the output of an attempt's child process."""
    try:
        with (folder / "log.txt").open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - LOG_BYTES))
            return log.read()
    except FileNotFoundError:
        return b""


def keep_log(paths: Paths, job_id: str, attempt: int) -> None:
    """Keep the end of a crashed attempt's log below `logs`, and remove all but the newest KEPT_LOGS."""
    text = end_of_log(paths.attempt(job_id, attempt))
    if not text:
        return
    paths.logs.mkdir(parents=True, exist_ok=True)
    (paths.logs / f"{job_id}-attempt-{attempt}.txt").write_bytes(text)
    written = []
    for path in paths.logs.iterdir():
        with suppress(FileNotFoundError):  # another worker has just removed it
            written.append((path.stat().st_mtime, path))
    for _, path in sorted(written, reverse=True)[KEPT_LOGS:]:
        path.unlink(missing_ok=True)
