"""What a child leaves behind: read with suspicion, checked by digest, put into the store."""

import asyncio
import hashlib
from pathlib import Path

from pydantic import ValidationError

from app.contracts.orders import (
    OUTCOME,
    FailureOutcome,
    InspectionOutcome,
    OutputFile,
    TrainingOutcome,
)
from app.contracts.problems import JobError
from app.queue.blobs import Blobs
from app.queue.ledger import Ledger
from app.queue.records import Claim, Publication, PublishedFile

Outcome = TrainingOutcome | InspectionOutcome | FailureOutcome


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
    ended = f"was ended by signal {-status}" if status < 0 else f"exited with status {status}"
    return JobError.model_validate(
        {"code": "crashed", "class": "infrastructure", "message": f"the training process {ended}"}
    )


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
    """Outputs into the store, then the one transaction that makes them the job's."""

    def __init__(self, ledger: Ledger, blobs: Blobs) -> None:
        self._ledger = ledger
        self._blobs = blobs

    async def _publish(self, folder: Path, files: tuple[OutputFile, ...]) -> tuple[PublishedFile, ...]:
        """Safe to repeat: a file that an earlier try has put away is in the store already."""
        published = []
        for file in files:
            path = folder / "outputs" / file.path
            if path.exists():
                await self._blobs.publish(await asyncio.to_thread(_checked, folder, file), file.sha256)
            published.append(PublishedFile(file.role, Path(file.path).name, file.bytes, file.sha256))
        return tuple(published)

    async def training(self, claim: Claim, folder: Path, outcome: TrainingOutcome) -> bool:
        """End a training. False: this worker holds it no more. Raises DamagedOutput."""
        files = await self._publish(folder, outcome.files)
        publication = Publication(files, outcome.student_manifest, outcome.student, outcome.report)
        return await self._ledger.succeed(claim, publication)

    async def inspection(self, claim: Claim, folder: Path, outcome: InspectionOutcome) -> bool:
        """End an inspection, as `training`."""
        files = await self._publish(folder, outcome.files)
        return await self._ledger.finish_inspection(claim, outcome, files)
