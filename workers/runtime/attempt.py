"""One claim, from its inputs to its end."""

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from app.contracts.problems import Problem
from app.contracts.resolving.footprint import disk_bytes
from app.contracts.specs.jobs import InspectJob
from app.contracts.states import JobState
from app.contracts.wire.orders import ControlMessage, ExitCode
from app.db.errors import DatabaseUnavailable
from app.queue.blobs import ClaimLost
from app.queue.ledger import Ledger
from app.queue.records import Claim
from app.settings import Settings
from app.storage.durable import NO_ROOM
from app.storage.errors import StorageError, StorageFull
from app.storage.store import DigestMismatch
from workers.runtime.adopting import adopt
from workers.runtime.children import Child, NoForkServer, Nursery
from workers.runtime.disk import Disk
from workers.runtime.ending import Ending
from workers.runtime.materialise import Materialiser, resolved, write_order
from workers.runtime.places import Places
from workers.runtime.publishing import DamagedOutput, Publisher
from workers.runtime.slots import Slot
from workers.runtime.spool import Spool

OBEY_SECONDS = 10.0
"""What a child may take to follow a cancel or pause before it is killed."""
INSPECTION_SECONDS = 180.0
"""What an inspection may take."""
FIRST_LOOK, LATER_LOOK = 0.02, 0.1
EAGER_SECONDS = 10.0
"""How long a new child's spool is looked at often."""
ALARM_SHARE = 0.75
"""A child's life after a renewal, as a share of the lease."""

T = TypeVar("T")
StopOrder = Literal["cancel", "pause", "drain"]
_log = logging.getLogger("stillhouse.worker")


@dataclass(frozen=True)
class Means:
    """What every attempt of a supervisor works with."""

    settings: Settings
    ledger: Ledger
    nursery: Nursery
    materialiser: Materialiser
    publisher: Publisher
    inspection_seconds: float
    obey_seconds: float
    disk: Disk

    @property
    def places(self) -> Places:
        """Paths of the data directory."""
        return Places(self.settings.data_dir)

    @property
    def alarm(self) -> float:
        """Seconds that a child may live after the moment at which its lease was last renewed."""
        return ALARM_SHARE * self.settings.lease_seconds

    def ending(self, claim: Claim) -> Ending:
        """How a claim's attempt ends."""
        return Ending(claim, self.ledger, self.publisher, self.places, self.settings.lease_seconds)


class Attempt:
    """Runs one claim on one slot. The supervisor tells it about the lease; it tells the ledger how it ended.

    `leased` is when the claim was asked for, by the host's clock. `lock` is the slot's, which the child inherits.
    """

    def __init__(self, claim: Claim, slot: Slot, lock: int, leased: float, means: Means) -> None:
        self.claim = claim
        self.inputs: frozenset[Path] = frozenset()
        self._slot = slot
        self._lock = lock
        self._means = means
        self._ending = means.ending(claim)
        self._until = leased + means.alarm
        self._child: Child | None = None
        self._told: StopOrder | None = None
        self._obey_seconds = means.obey_seconds
        self._lost = False
        self._late = False
        self._halt = asyncio.Event()
        self._patience: asyncio.TimerHandle | None = None

    # What the supervisor calls.

    @property
    def is_lost(self) -> bool:
        """Whether someone else may have the job."""
        return self._lost

    def renewed(self, state: JobState, asked: float) -> None:
        """The lease was renewed, by a request made at `asked` (host's clock), while the job was in `state`."""
        self._until = asked + self._means.alarm
        if self._child is not None:
            self._child.tell(ControlMessage(type="renew", until=self._until))
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
        self._halt.set()
        self.kill()

    def tell(self, order: StopOrder, seconds: float | None = None) -> None:
        """Tell the child to stop; kill it after `seconds` if it does not. A cancel overrules the others."""
        if self._told == order or self._told == "cancel":
            return
        self._told = order
        self._obey_seconds = self._means.obey_seconds if seconds is None else seconds
        self._halt.set()
        if self._child is not None:
            self._pass_on(self._child, order)

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
        except ClaimLost as error:
            _log.warning("%s", error)
        except NoForkServer as error:
            _log.warning("%s: not started, and given back: %s", self.claim.job_id, error)
            await self._end(self._ending.given_back)
        except (StorageError, DigestMismatch, DamagedOutput, OSError) as error:
            await self._end(partial(self._ending.crashed, *_crash(error)))
        except Exception as error:
            _log.exception("%s: attempt %d failed in the worker", self.claim.job_id, self.claim.attempt)
            message = f"the worker failed with {type(error).__name__}: its log says more"
            await self._end(partial(self._ending.crashed, "worker_error", message))
        finally:
            if self._patience is not None:
                self._patience.cancel()
            if self._child is not None:
                self._child.kill()
                await self._child.exit

    async def _end(self, say: Callable[[], Awaitable[None]]) -> None:
        """Say the end to the ledger; if that cannot be, the lease ends by itself."""
        self.kill()
        try:
            await say()
        except Exception:
            _log.exception("%s: its lease will run out", self.claim.job_id)

    async def _run(self) -> None:
        async with AsyncExitStack() as promises:
            await self._run_with(promises)

    async def _run_with(self, promises: AsyncExitStack) -> None:
        folder = await self._prepare(promises)
        if self._lost or folder is None:
            return
        if self._told is not None:
            await self._stopped()
            return
        child = await self._means.nursery.spawn(folder, self._lock, self._slot.visible, self._until)
        self._begin(child)
        status = await self._watch(child, Spool(folder / "events.jsonl"))
        if not self._lost:
            await self._settle(status, folder)

    async def _prepare(self, promises: AsyncExitStack) -> Path | None:
        """Inputs on the disk, the spec resolved and frozen, the order written: its folder. None if it ended here."""
        means, claim = self._means, self.claim
        inputs = await self._ending.insist(lambda: means.ledger.inputs_of(claim))
        found = resolved(claim, inputs, means.settings.threads)
        if not isinstance(found, InspectJob) and found.problems:
            await self._ending.failed("invalid_input", _listed(found.problems))
            return None
        spec = found if isinstance(found, InspectJob) else found.spec
        room = means.disk.promise(disk_bytes(spec), means.places.job(claim.job_id))
        await self._unless_halted(promises.enter_async_context(room))
        order = await self._unless_halted(means.materialiser.order(claim, spec, inputs, self._slot))
        if order is None:
            return means.places.attempt(claim.job_id, claim.attempt)
        if not isinstance(found, InspectJob):
            order = order.model_copy(update={"warnings": found.warnings})
        self.inputs = frozenset(order.inputs())
        if not await self._ending.insist(lambda: means.ledger.begin(claim, spec.model_dump(mode="json"))):
            self._lost = True  # nothing is written into the folder of a job that is somebody else's
            return None
        if not await self._has_checkpoints():
            order = order.model_copy(update={"warnings": (*order.warnings, _missing(claim))})
        if self._lost:
            return None
        return await asyncio.to_thread(write_order, order)

    async def _has_checkpoints(self) -> bool:
        """Whether what the job should go on from is on this disk: its own checkpoints, or those of the job whose retry
        it is, which its first attempt takes over.
        """
        claim, places, ledger = self.claim, self._means.places, self._means.ledger
        if claim.checkpoint_from is None:
            return claim.checkpoint is None or places.checkpoints(claim.job_id).is_dir()
        taken = await asyncio.to_thread(adopt, places, claim.checkpoint_from, claim.job_id, claim.attempt)
        if taken and claim.checkpoint is None and not await self._ending.insist(lambda: ledger.adopted(claim)):
            self._lost = True
        return taken

    async def _unless_halted(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do the work, or leave it as soon as the attempt is told to stop: downloads can be long."""
        task, halt = asyncio.create_task(work), asyncio.create_task(self._halt.wait())
        try:
            await asyncio.wait({task, halt}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            halt.cancel()
            task.cancel()
            await asyncio.wait({task})

    def _begin(self, child: Child) -> None:
        """The child is there: pass on what was said while it was being made."""
        self._child = child
        child.tell(ControlMessage(type="renew", until=self._until))
        if self._lost:
            child.kill()
        elif self._told is not None:
            self._pass_on(child, self._told)

    def _pass_on(self, child: Child, order: StopOrder) -> None:
        if self._slot.lane == "inspect":
            child.kill()  # an inspection has no checkpoint to wait for
            return
        child.tell(ControlMessage(type=order))
        if self._patience is not None:
            self._patience.cancel()
        self._patience = asyncio.get_running_loop().call_later(self._obey_seconds, child.kill)

    async def _watch(self, child: Child, spool: Spool) -> int:
        """Relay events until the child has ended; its exit status."""
        loop = asyncio.get_running_loop()
        eager_until = loop.time() + EAGER_SECONDS
        deadline = loop.time() + self._means.inspection_seconds if self._slot.lane == "inspect" else None
        while not child.exit.done():
            await self._relay(spool)
            if deadline is not None and loop.time() > deadline:
                self._late = True
                child.kill()
            look = FIRST_LOOK if loop.time() < eager_until else LATER_LOOK
            await asyncio.wait([child.exit], timeout=look)
        while await self._relay(spool):
            pass
        return child.exit.result()

    async def _relay(self, spool: Spool) -> bool:
        """Write what is new to the ledger; whether there was anything."""
        if self._lost:
            return False
        events = await asyncio.to_thread(spool.read)
        if events and not await self._ending.insist(lambda: self._means.ledger.record(self.claim, events)):
            self.lost()
        return events is not None

    async def _settle(self, status: int, folder: Path) -> None:
        if status == ExitCode.DONE:
            await self._ending.done(folder)
        elif status == ExitCode.USER_ERROR:
            await self._ending.refused(status, folder)
        elif self._told is not None:
            await self._stopped()
        elif self._late:
            await self._ending.failed("inspection_timeout", _too_long(self._means.inspection_seconds))
        elif status == ExitCode.REQUEUE:
            await self._ending.given_back()
        else:
            await self._ending.died(status, folder)

    async def _stopped(self) -> None:
        """The child stopped as it was told, or was killed because it did not: the same for the job."""
        await (self._ending.given_back() if self._told == "drain" else self._ending.yielded())

    def clean_up(self) -> None:
        """Remove this attempt's folder."""
        shutil.rmtree(self._means.places.attempt(self.claim.job_id, self.claim.attempt), ignore_errors=True)


def _crash(error: Exception) -> tuple[str, str]:
    """(code, message) of what went wrong with disks and stores."""
    if isinstance(error, StorageFull):
        return "disk_full", str(error)
    if isinstance(error, StorageError | DigestMismatch):
        return "storage", str(error)
    if isinstance(error, OSError):
        return "disk_full" if error.errno in NO_ROOM else "worker_error", f"the worker's disk: {error.strerror}"
    return "damaged_output", str(error)


def _missing(claim: Claim) -> dict[str, str]:
    of = "the job" if claim.checkpoint_from is None else claim.checkpoint_from
    message = f"the checkpoints of {of} are not on this worker's disk: training begins anew"
    return {"code": "checkpoint_missing", "message": message}


def _listed(problems: tuple[Problem, ...]) -> str:
    """Everything that does not fit, as one message."""
    return "; ".join(f"{problem.pointer or '/'}: {problem.detail}" for problem in problems[:10])


def _too_long(seconds: float) -> str:
    return f"expected an inspection of at most {seconds:.0f} s, it was ended then: send a smaller or simpler file"
