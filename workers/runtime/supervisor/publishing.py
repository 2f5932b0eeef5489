"""The outputs of a child: validated, checked by digest, and published to the store."""

import asyncio
import hashlib
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from app.contracts.problems import JobError
from app.contracts.wire.orders import (
    OUTCOME,
    ExitCode,
    ExportOutcome,
    FailureOutcome,
    InspectionOutcome,
    Outcome,
    OutputFile,
    ReportOutcome,
    TrainingOutcome,
)
from app.queue.blobs import Blobs
from app.queue.ledger import Ledger
from app.queue.records import Claim, Publication, PublishedFile
from workers.runtime.retention.crash_logs import end_of_log
from workers.runtime.supervisor.retry import retry

_HINTS = {
    signal.SIGKILL: "it was killed, most often by the kernel because memory ran out",
    signal.SIGALRM: "its lease could not be renewed in time",
    signal.SIGXCPU: "it used more processor time than allowed",
    signal.SIGXFSZ: "it wrote a larger file than allowed",
}

_OUT_OF_MEMORY = (b"bad_alloc", b"bad allocation", b"annot allocate memory", b"Thread creation failed", b"MemoryError")
"""What the C++ library, ONNX Runtime, the kernel's errors, OpenMP and Python write before a process ends for it."""
_LAST_BYTES = 2000
_MORE_MEMORY = (
    "use smaller batches, a smaller network or fewer `threads`, or raise STILLHOUSE_MEMORY_ROOM of the worker where "
    "the machine has more memory"
)


class DamagedOutput(Exception):
    """A file differs from the outcome's description: the attempt counts as crashed, whatever its exit status."""


def read_outcome(folder: Path) -> Outcome | None:
    """The outcome that a child wrote, or None if there is no valid one."""
    try:
        return OUTCOME.validate_json((folder / "outcome.json").read_bytes(), extra="ignore")
    except (FileNotFoundError, ValidationError):
        return None


def crash_error(status: int, folder: Path) -> JobError:
    """Why an attempt crashed: the error that the child wrote, else its signal or exit status."""
    outcome = read_outcome(folder)
    if isinstance(outcome, FailureOutcome):
        return outcome.error
    if status == ExitCode.DISK_FULL:
        message = "the worker's disk is full; the last checkpoint is kept, and the job continues when there is space"
        return JobError.model_validate({"code": "disk_full", "class": "infrastructure", "message": message})
    message = f"the job's process {_describe(status)}"
    last_words = end_of_log(folder)[-_LAST_BYTES:]
    if any(each in last_words for each in _OUT_OF_MEMORY):
        message = f"memory ran out: {message}; {_MORE_MEMORY}"
        return JobError.model_validate({"code": "out_of_memory", "class": "infrastructure", "message": message})
    return JobError.model_validate({"code": "crashed", "class": "infrastructure", "message": message})


def _describe(status: int) -> str:
    if status == 0:
        return "exited without an outcome"
    if status > 0:
        return f"exited with status {status}"
    try:
        number = signal.Signals(-status)
    except ValueError:
        return f"was terminated by signal {-status}"
    hint = _HINTS.get(number)
    return f"was terminated by {number.name}" + (f": {hint}" if hint else "")


def _checked(folder: Path, file: OutputFile) -> Path:
    path = (folder / "outputs" / file.path).resolve()
    if not path.is_relative_to((folder / "outputs").resolve()) or not path.is_file():
        raise DamagedOutput(f"the outcome names `{file.path}`, which is not among the outputs")
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if digest != file.sha256 or path.stat().st_size != file.bytes:
        raise DamagedOutput(f"`{file.path}` differs from its description in the outcome")
    return path


class Publisher:
    """Publishes outputs to the store, then commits them to the ledger in one transaction.

    Each step is repeated for up to `retry_seconds` while the database is unavailable.
    """

    def __init__(self, ledger: Ledger, blobs: Blobs, retry_seconds: float) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._retry_seconds = retry_seconds

    @asynccontextmanager
    async def _published(
        self, claim: Claim, folder: Path, files: tuple[OutputFile, ...]
    ) -> AsyncIterator[tuple[PublishedFile, ...]]:
        """Check all files, then publish them; they are kept during the block. The store moves the files."""
        paths = [await asyncio.to_thread(_checked, folder, file) for file in files]
        async with self._blobs.kept([file.sha256 for file in files], claim):
            for path, file in zip(paths, files, strict=True):
                await retry(partial(self._blobs.publish, path, file.sha256, claim), self._retry_seconds)
            yield tuple(PublishedFile(file.role, Path(file.path).name, file.bytes, file.sha256) for file in files)

    async def training(self, claim: Claim, folder: Path, outcome: TrainingOutcome) -> bool:
        """End a training job. False: this worker no longer holds it. Raises DamagedOutput and ClaimLost."""
        async with self._published(claim, folder, outcome.files) as files:
            publication = Publication(files, outcome.student_manifest, outcome.student, outcome.report, outcome.peers)
            return await retry(lambda: self._ledger.succeed(claim, publication), self._retry_seconds)

    async def report(self, claim: Claim, folder: Path, outcome: ReportOutcome) -> bool:
        """End a job that makes no model, such as a preflight, as `training`."""
        async with self._published(claim, folder, outcome.files) as files:
            return await retry(lambda: self._ledger.finish_report(claim, files, outcome.report), self._retry_seconds)

    async def export(self, claim: Claim, folder: Path, outcome: ExportOutcome) -> bool:
        """End an export, as `training`."""
        async with self._published(claim, folder, outcome.files) as files:
            return await retry(lambda: self._ledger.finish_export(claim, files, outcome.report), self._retry_seconds)

    async def inspection(self, claim: Claim, folder: Path, outcome: InspectionOutcome) -> bool:
        """End an inspection, as `training`."""
        async with self._published(claim, folder, outcome.files) as files:
            return await retry(lambda: self._ledger.finish_inspection(claim, outcome, files), self._retry_seconds)
