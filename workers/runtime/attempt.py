"""One claim, from its inputs to its end in the ledger."""

import asyncio
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.contracts.jobs import InspectJob
from app.contracts.orders import (
    ControlMessage,
    ExitCode,
    FailureOutcome,
    InspectionOutcome,
    TrainingOutcome,
)
from app.contracts.problems import JobError, Problem
from app.contracts.states import JobState
from app.db.errors import DatabaseUnavailable
from app.queue.ledger import Ledger
from app.queue.records import Claim
from app.settings import Settings
from app.storage.errors import StorageFull, StorageUnavailable
from app.storage.store import DigestMismatch
from workers.runtime.children import Child, Nursery
from workers.runtime.materialise import Materialiser, resolved, write_order
from workers.runtime.persistence import insist
from workers.runtime.places import Places
from workers.runtime.publishing import DamagedOutput, Publisher, crash_error, read_outcome
from workers.runtime.slots import Slot
from workers.runtime.spool import Spool

OBEY_SECONDS = 10.0
"""Time that a child has to follow a cancel or pause before it is killed."""
INSPECTION_SECONDS = 600.0
FIRST_LOOK, LATER_LOOK = 0.02, 0.1
EAGER_SECONDS = 10.0
"""How long a new child's spool is looked at often."""
ALARM_SHARE = 0.75
"""A child's alarm, as a share of the lease."""

Orders = Literal["cancel", "pause", "drain"]
_log = logging.getLogger("stillhouse.worker")


@dataclass(frozen=True)
class Means:
    """What every attempt of a supervisor works with."""

    settings: Settings
    ledger: Ledger
    nursery: Nursery
    materialiser: Materialiser
    publisher: Publisher

    @property
    def places(self) -> Places:
        """Paths of the data directory."""
        return Places(self.settings.data_dir)

    @property
    def alarm(self) -> float:
        """Seconds that a child may live from now without another renewal."""
        return ALARM_SHARE * self.settings.lease_seconds


class Attempt:
    """Runs one claim on one slot. The supervisor tells it about the lease; it tells the ledger how it ended."""

    def __init__(self, claim: Claim, slot: Slot, lock: int, means: Means) -> None:
        self.claim = claim
        self._slot = slot
        self._lock = lock
        self._means = means
        self._child: Child | None = None
        self._told: Orders | None = None
        self._lost = False
        self._patience: asyncio.TimerHandle | None = None

    # What the supervisor calls.

    def renewed(self, state: JobState) -> None:
        """The lease was renewed while the job was in `state`."""
        if self._child is not None:
            self._child.tell(ControlMessage(type="renew", seconds=self._means.alarm))
        self.see(state)

    def see(self, state: JobState) -> None:
        """Follow the user's wish that a state expresses."""
        if state is JobState.CANCELLING:
            self.tell("cancel")
        elif state is JobState.PAUSING:
            self.tell("pause")

    def lost(self) -> None:
        """Someone else may have the job: end the child at once and write nothing."""
        self._lost = True
        if self._child is not None:
            self._child.kill()

    def tell(self, order: Orders, seconds: float = OBEY_SECONDS) -> None:
        """Tell the child to stop; kill it after `seconds` if it does not. A cancel overrules the others."""
        if self._told == order or self._told == "cancel":
            return
        self._told = order
        if self._child is None:
            return
        if self._slot.lane == "inspect":
            self._child.kill()  # an inspection has no checkpoint to wait for
            return
        self._child.tell(ControlMessage(type=order))
        if self._patience is not None:
            self._patience.cancel()
        self._patience = asyncio.get_running_loop().call_later(seconds, self._child.kill)

    def kill(self) -> None:
        """End the child now."""
        if self._child is not None:
            self._child.kill()

    # The attempt itself.

    async def run(self) -> None:
        """From claim to end. Whatever goes wrong ends in the ledger or with the lease; nothing is raised."""
        try:
            await self._run()
        except DatabaseUnavailable:
            _log.warning("%s: given up, the database is away; its lease will run out", self.claim.job_id)
            self.kill()
        except (StorageFull, StorageUnavailable, DigestMismatch) as error:
            await self._crashed("storage", str(error))
        except Exception as error:
            _log.exception("%s: attempt %d failed in the runtime", self.claim.job_id, self.claim.attempt)
            await self._crashed("runtime_error", f"{type(error).__name__}: {error}"[:500])
        finally:
            if self._child is not None:
                self._child.kill()
                await self._child.exit
            if self._patience is not None:
                self._patience.cancel()

    async def _crashed(self, code: str, message: str) -> None:
        self.kill()
        error = JobError.model_validate({"code": code, "class": "infrastructure", "message": message})
        try:
            await self._insist_lose(error)
        except DatabaseUnavailable:
            _log.warning("%s: its lease will run out", self.claim.job_id)

    async def _insist_lose(self, error: JobError) -> None:
        await insist(lambda: self._means.ledger.lose(self.claim, error), self._means.settings.lease_seconds)

    async def _run(self) -> None:
        means, claim = self._means, self.claim
        inputs = await means.ledger.inputs_of(claim)
        found = resolved(claim, inputs, means.settings.threads)
        if not isinstance(found, InspectJob) and found.problems:
            await self._fail(_refusal(found.problems))
            return
        spec = found if isinstance(found, InspectJob) else found.spec
        order = await means.materialiser.order(claim, spec, inputs, self._slot)
        folder = await asyncio.to_thread(write_order, order)
        if not await means.ledger.begin(claim, spec.model_dump(mode="json")) or self._lost:
            return
        if self._told is not None:
            await self._stopped()
            return
        self._child = await means.nursery.spawn(folder, self._lock, self._slot.visible, means.alarm)
        status = await self._watch(self._child, Spool(folder / "events.jsonl"))
        if not self._lost:
            await self._settle(status, folder)

    async def _watch(self, child: Child, spool: Spool) -> int:
        """Relay events until the child has ended; its exit status."""
        loop = asyncio.get_running_loop()
        eager_until = loop.time() + EAGER_SECONDS
        deadline = loop.time() + INSPECTION_SECONDS if self._slot.lane == "inspect" else None
        while not child.exit.done():
            await self._relay(spool)
            if deadline is not None and loop.time() > deadline:
                child.kill()
            look = FIRST_LOOK if loop.time() < eager_until else LATER_LOOK
            await asyncio.wait([child.exit], timeout=look)
        while await self._relay(spool):
            pass
        return child.exit.result()

    async def _relay(self, spool: Spool) -> bool:
        """Write what is new to the ledger; whether there was anything."""
        events = await asyncio.to_thread(spool.read)
        if not events or self._lost:
            return False
        seconds = self._means.settings.lease_seconds
        if not await insist(lambda: self._means.ledger.record(self.claim, events), seconds):
            self.lost()
        return True

    async def _settle(self, status: int, folder: Path) -> None:
        if status == ExitCode.DONE:
            await self._done(folder)
        elif status == ExitCode.USER_ERROR:
            outcome = read_outcome(folder)
            error = outcome.error if isinstance(outcome, FailureOutcome) else crash_error(status, folder)
            await self._fail(error)
        elif self._told is not None:
            await self._stopped()
        elif status == ExitCode.REQUEUE:
            await self._give_back()
        else:
            await self._insist_lose(crash_error(status, folder))

    async def _done(self, folder: Path) -> None:
        outcome = await asyncio.to_thread(read_outcome, folder)
        publisher, seconds = self._means.publisher, self._means.settings.lease_seconds
        try:
            if isinstance(outcome, TrainingOutcome):
                training = outcome
                await insist(lambda: publisher.training(self.claim, folder, training), seconds)
            elif isinstance(outcome, InspectionOutcome):
                inspection = outcome
                await insist(lambda: publisher.inspection(self.claim, folder, inspection), seconds)
            else:
                await self._insist_lose(crash_error(0, folder))
        except DamagedOutput as error:
            await self._crashed("damaged_output", str(error))

    async def _fail(self, error: JobError) -> None:
        await insist(lambda: self._means.ledger.fail(self.claim, error), self._means.settings.lease_seconds)

    async def _stopped(self) -> None:
        """The child stopped as it was told, or was killed because it did not: the same for the job."""
        if self._told == "drain":
            await self._give_back()
            return
        await insist(lambda: self._means.ledger.yield_(self.claim), self._means.settings.lease_seconds)

    async def _give_back(self) -> None:
        await insist(lambda: self._means.ledger.drain(self.claim), self._means.settings.lease_seconds)

    def clean_up(self) -> None:
        """Remove this attempt's folder; its log goes with it unless it crashed (the job's error names the cause)."""
        folder = self._means.places.attempt(self.claim.job_id, self.claim.attempt)
        shutil.rmtree(folder, ignore_errors=True)


def _refusal(problems: tuple[Problem, ...]) -> JobError:
    """Everything that does not fit, as one error of the user's."""
    message = "; ".join(f"{problem.pointer or '/'}: {problem.detail}" for problem in problems[:10])
    return JobError.model_validate({"code": "invalid_input", "class": "user", "message": message})
