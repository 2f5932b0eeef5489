"""What a child leaves behind: read with suspicion, checked by digest, put into the store."""

import asyncio
import hashlib
import signal
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from app.contracts.problems import JobError
from app.contracts.wire.orders import (
    OUTCOME,
    ExitCode,
    FailureOutcome,
    InspectionOutcome,
    OutputFile,
    PreflightOutcome,
    TrainingOutcome,
)
from app.queue.blobs import Blobs
from app.queue.ledger import Ledger
from app.queue.records import Claim, Publication, PublishedFile
from workers.runtime.persistence import insist

Outcome = TrainingOutcome | PreflightOutcome | InspectionOutcome | FailureOutcome
_HINTS = {
    signal.SIGKILL: "something killed it; most often that is the kernel, out of memory",
    signal.SIGALRM: "its lease could not be renewed in time",
    signal.SIGXCPU: "it used more processor time than it may",
    signal.SIGXFSZ: "it wrote a larger file than it may",
}


class DamagedOutput(Exception):
    """A file is not what the outcome says: the attempt has crashed, whatever its exit status."""


def read_outcome(folder: Path) -> Outcome | None:
    """The outcome that a child wrote, or None."""
    try:
        return OUTCOME.validate_json((folder / "outcome.json").read_bytes(), extra="ignore")
    except (FileNotFoundError, ValidationError):
        return None


def crash_error(status: int, folder: Path) -> JobError:
    """Why an attempt ended uncleanly: what the child could still write down, else its signal or status."""
    outcome = read_outcome(folder)
    if isinstance(outcome, FailureOutcome):
        return outcome.error
    if status == ExitCode.DISK_FULL:
        message = "the worker's disk is full; the last good checkpoint is kept, and the job goes on when there is room"
        return JobError.model_validate({"code": "disk_full", "class": "infrastructure", "message": message})
    message = f"the job's process {_ending(status)}"
    return JobError.model_validate({"code": "crashed", "class": "infrastructure", "message": message})


def _ending(status: int) -> str:
    if status == 0:
        return "ended without an outcome"
    if status > 0:
        return f"exited with status {status}"
    try:
        number = signal.Signals(-status)
    except ValueError:
        return f"was ended by signal {-status}"
    hint = _HINTS.get(number)
    return f"was ended by {number.name}" + (f": {hint}" if hint else "")


def _checked(folder: Path, file: OutputFile) -> Path:
    path = (folder / "outputs" / file.path).resolve()
    if not path.is_relative_to((folder / "outputs").resolve()) or not path.is_file():
        raise DamagedOutput(f"the outcome names `{file.path}`, which is no output")
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if digest != file.sha256 or path.stat().st_size != file.bytes:
        raise DamagedOutput(f"`{file.path}` is not the file that the outcome describes")
    return path


class Publisher:
    """Outputs into the store, then the one transaction that makes them the job's.

    A database that is away is asked again for `patience` seconds at each step.
    """

    def __init__(self, ledger: Ledger, blobs: Blobs, patience: float) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._patience = patience

    async def _publish(self, claim: Claim, folder: Path, files: tuple[OutputFile, ...]) -> tuple[PublishedFile, ...]:
        """Check all of them, then put them away, each once: the store takes the file itself."""
        paths = [await asyncio.to_thread(_checked, folder, file) for file in files]
        for path, file in zip(paths, files, strict=True):
            await insist(partial(self._blobs.publish, path, file.sha256, claim), self._patience)
        return tuple(PublishedFile(file.role, Path(file.path).name, file.bytes, file.sha256) for file in files)

    async def training(self, claim: Claim, folder: Path, outcome: TrainingOutcome) -> bool:
        """End a training. False: this worker holds it no more. Raises DamagedOutput and ClaimLost."""
        files = await self._publish(claim, folder, outcome.files)
        publication = Publication(files, outcome.student_manifest, outcome.student, outcome.report, outcome.peers)
        return await insist(lambda: self._ledger.succeed(claim, publication), self._patience)

    async def preflight(self, claim: Claim, folder: Path, outcome: PreflightOutcome) -> bool:
        """End a preflight, as `training`."""
        files = await self._publish(claim, folder, outcome.files)
        return await insist(lambda: self._ledger.finish_preflight(claim, files, outcome.report), self._patience)

    async def inspection(self, claim: Claim, folder: Path, outcome: InspectionOutcome) -> bool:
        """End an inspection, as `training`."""
        files = await self._publish(claim, folder, outcome.files)
        return await insist(lambda: self._ledger.finish_inspection(claim, outcome, files), self._patience)
