"""How an attempt ends in the ledger, depending on what its child left."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, assert_never

from app.contracts.problems import ErrorClass, JobError
from app.contracts.wire.orders import ExportOutcome, FailureOutcome, InspectionOutcome, ReportOutcome, TrainingOutcome
from app.queue.ledger import Ledger
from app.queue.records import Claim
from workers.runtime.child.watchdog import Deadline
from workers.runtime.paths import Paths
from workers.runtime.retention.crash_logs import end_of_log, keep_log
from workers.runtime.supervisor.publishing import Publisher, crash_error, read_outcome
from workers.runtime.supervisor.retry import retry

T = TypeVar("T")
_LOGGED_BYTES = 2000
_log = logging.getLogger("stillhouse.worker")


@dataclass(frozen=True)
class Ending:
    """Ends one claim. Calls to an unavailable database are repeated for `retry_seconds`, then DatabaseUnavailable.

    What the ledger refuses, because the claim is lost or the job was cancelled, is discarded.
    """

    claim: Claim
    ledger: Ledger
    publisher: Publisher
    paths: Paths
    retry_seconds: float

    async def retry(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat a call until the database answers."""
        return await retry(call, self.retry_seconds)

    async def done(self, folder: Path) -> None:
        """The child reports success: publish its outcome. Without one, it crashed. Raises DamagedOutput."""
        outcome = await asyncio.to_thread(read_outcome, folder)
        match outcome:
            case TrainingOutcome():
                await self.publisher.training(self.claim, folder, outcome)
            case ReportOutcome():
                await self.publisher.report(self.claim, folder, outcome)
            case InspectionOutcome():
                await self.publisher.inspection(self.claim, folder, outcome)
            case ExportOutcome():
                await self.publisher.export(self.claim, folder, outcome)
            case FailureOutcome() | None:
                await self.died(0, folder)
            case _:
                assert_never(outcome)

    async def refused(self, status: int, folder: Path) -> None:
        """The child reports an error that only the user can correct."""
        outcome = await asyncio.to_thread(read_outcome, folder)
        error = outcome.error if isinstance(outcome, FailureOutcome) else crash_error(status, folder)
        await self.failed(error.code, error.message)

    async def failed(self, code: str, message: str) -> None:
        """The job fails by an error of the user: it is never retried."""
        error = _error(code, "user", message)
        await self.retry(lambda: self.ledger.fail(self.claim, error))

    async def died(self, status: int, folder: Path) -> None:
        """The child crashed: its log is kept, and the job continues from its last checkpoint."""
        error = crash_error(status, folder)
        await self._log(error.message, folder)
        await self.retry(lambda: self.ledger.lose(self.claim, error))

    async def stopped(self, limit: Deadline, folder: Path) -> None:
        """The child was killed at a limit of time: its log is kept, and the job fails. It would reach it again."""
        await self._log(limit.message, folder)
        await self.failed(limit.code, limit.message)

    async def _log(self, message: str, folder: Path) -> None:
        text = end_of_log(folder)[-_LOGGED_BYTES:].decode(errors="replace").strip()
        _log.warning("%s: attempt %d: %s\n%s", self.claim.job_id, self.claim.attempt, message, text)
        await asyncio.to_thread(keep_log, self.paths, self.claim.job_id, self.claim.attempt)

    async def crashed(self, code: str, message: str) -> None:
        """The attempt failed through neither the child nor the user."""
        error = _error(code, "infrastructure", message)
        await self.retry(lambda: self.ledger.lose(self.claim, error))

    async def yielded(self) -> None:
        """The job stopped as its user requested: paused or cancelled."""
        await self.retry(lambda: self.ledger.yield_(self.claim))

    async def given_back(self) -> None:
        """The job goes back to the queue; no crash is counted."""
        await self.retry(lambda: self.ledger.drain(self.claim))


def _error(code: str, error_class: ErrorClass, message: str) -> JobError:
    return JobError.model_validate({"code": code, "class": error_class, "message": message})
