"""How an attempt ends in the ledger: the one place that turns what a child left into the ledger's words."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, assert_never

from app.contracts.problems import ErrorClass, JobError
from app.contracts.wire.orders import FailureOutcome, InspectionOutcome, PreflightOutcome, TrainingOutcome
from app.queue.ledger import Ledger
from app.queue.records import Claim
from workers.runtime.keeping import end_of_log, keep_log
from workers.runtime.persistence import insist
from workers.runtime.places import Places
from workers.runtime.publishing import Publisher, crash_error, read_outcome

T = TypeVar("T")
_QUOTED = 2000
_log = logging.getLogger("stillhouse.worker")


@dataclass(frozen=True)
class Ending:
    """Ends one claim. A database that is away is asked again for `patience` seconds, then DatabaseUnavailable.

    What the ledger refuses (the claim is lost, or the job was cancelled) is dropped in silence.
    """

    claim: Claim
    ledger: Ledger
    publisher: Publisher
    places: Places
    patience: float

    async def insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call until the database answers."""
        return await insist(call, self.patience)

    async def done(self, folder: Path) -> None:
        """The child says that it is done: publish what it says, if it has said it. Raises DamagedOutput."""
        outcome = await asyncio.to_thread(read_outcome, folder)
        match outcome:
            case TrainingOutcome():
                await self.publisher.training(self.claim, folder, outcome)
            case PreflightOutcome():
                await self.publisher.preflight(self.claim, folder, outcome)
            case InspectionOutcome():
                await self.publisher.inspection(self.claim, folder, outcome)
            case FailureOutcome() | None:
                await self.died(0, folder)
            case _:
                assert_never(outcome)

    async def refused(self, status: int, folder: Path) -> None:
        """The child found a fault that only the user can mend."""
        outcome = await asyncio.to_thread(read_outcome, folder)
        error = outcome.error if isinstance(outcome, FailureOutcome) else crash_error(status, folder)
        await self.failed(error.code, error.message)

    async def failed(self, code: str, message: str) -> None:
        """The user's fault: never retried."""
        error = _error(code, "user", message)
        await self.insist(lambda: self.ledger.fail(self.claim, error))

    async def died(self, status: int, folder: Path) -> None:
        """The child ended uncleanly: its log is kept, the job goes on from its last checkpoint."""
        error = crash_error(status, folder)
        text = end_of_log(folder)[-_QUOTED:].decode(errors="replace").strip()
        _log.warning("%s: attempt %d: %s\n%s", self.claim.job_id, self.claim.attempt, error.message, text)
        await asyncio.to_thread(keep_log, self.places, self.claim.job_id, self.claim.attempt)
        await self.insist(lambda: self.ledger.lose(self.claim, error))

    async def crashed(self, code: str, message: str) -> None:
        """The attempt came to nothing by no fault of the child's or the user's."""
        error = _error(code, "infrastructure", message)
        await self.insist(lambda: self.ledger.lose(self.claim, error))

    async def yielded(self) -> None:
        """The job stopped as its user asked: paused or cancelled."""
        await self.insist(lambda: self.ledger.yield_(self.claim))

    async def given_back(self) -> None:
        """Back to the queue, without a crash on its account."""
        await self.insist(lambda: self.ledger.drain(self.claim))


def _error(code: str, error_class: ErrorClass, message: str) -> JobError:
    return JobError.model_validate({"code": code, "class": error_class, "message": message})
