"""One attempt at a job: from its claim to its end in the ledger."""

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from app.contracts.problems import Problem
from app.contracts.resolving.footprint import disk_bytes
from app.contracts.resolving.resolve import Resolution
from app.contracts.specs.families.family import Extra
from app.contracts.specs.jobs import InternalJob
from app.contracts.states import JobState
from app.contracts.wire.orders import ControlMessage, ExitCode
from app.db.errors import DatabaseUnavailable
from app.queue.blobs import ClaimLost
from app.queue.records import Claim, JobInputs
from app.storage.durable import NO_ROOM
from app.storage.errors import StorageError, StorageFull
from app.storage.store import DigestMismatch
from workers.runtime.child.pool import Child, NoForkServer
from workers.runtime.child.spool import Spool
from workers.runtime.child.watchdog import Deadline, Watchdog
from workers.runtime.disk.checkpoint_handover import take_over_checkpoints
from workers.runtime.supervisor.attempt_context import AttemptContext
from workers.runtime.supervisor.deadlines import advice_of
from workers.runtime.supervisor.order import build_order, extras_of, resolve_claim, write_order
from workers.runtime.supervisor.publishing import DamagedOutput
from workers.runtime.supervisor.slots import Slot

STOP_SECONDS = 10.0
"""How long a child may take to stop on cancel or pause before it is killed."""
FIRST_POLL, LATER_POLL = 0.05, 0.1
FAST_POLL_SECONDS = 10.0
"""How long the events of a new child are polled often."""

T = TypeVar("T")
StopReason = Literal["cancel", "pause", "drain"]
_log = logging.getLogger("stillhouse.worker")


class Attempt:
    """Runs one claim on one slot. The supervisor reports renewals of its lease; the attempt ends it in the ledger.

    `leased` is when the claim was requested (host clock). `lock` is the slot's lock, which the child inherits.
    """

    def __init__(self, claim: Claim, slot: Slot, lock: int, leased: float, context: AttemptContext) -> None:
        self.claim = claim
        self.inputs: frozenset[Path] = frozenset()
        self._slot = slot
        self._lock = lock
        self._context = context
        self._ending = context.ending(claim)
        self._deadline = leased + context.child_seconds
        self._limit = context.deadlines.of(claim)
        self._watchdog = Watchdog(context.settings.stalled_seconds, advice_of(claim))
        self._child: Child | None = None
        self._extras: frozenset[Extra] = frozenset()
        self._stop_reason: StopReason | None = None
        self._stop_seconds = context.stop_seconds
        self._lost = False
        self._exceeded: Deadline | None = None
        self._halt = asyncio.Event()
        self._kill_timer: asyncio.TimerHandle | None = None

    # Called by the supervisor.

    @property
    def is_lost(self) -> bool:
        """Whether another worker may have the job."""
        return self._lost

    def renewed(self, state: JobState, asked: float) -> None:
        """The lease was renewed by a request made at `asked` (host clock), while the job was in `state`."""
        self._deadline = asked + self._context.child_seconds
        if self._child is not None:
            self._child.send(ControlMessage(type="renew", until=self._deadline))
        self.on_state(state)

    def on_state(self, state: JobState) -> None:
        """Stop if the user has cancelled or paused the job."""
        if state is JobState.CANCELLING:
            self.stop("cancel")
        elif state is JobState.PAUSING:
            self.stop("pause")

    def lose(self) -> None:
        """Another worker may have the job: kill the child at once, and write nothing."""
        self._lost = True
        self._halt.set()
        self.kill()

    def stop(self, reason: StopReason, seconds: float | None = None) -> None:
        """Ask the child to stop; kill it if it has not after `seconds`. A cancel overrides other reasons."""
        if self._stop_reason == reason or self._stop_reason == "cancel":
            return
        self._stop_reason = reason
        self._stop_seconds = self._context.stop_seconds if seconds is None else seconds
        self._halt.set()
        if self._child is not None:
            self._stop_child(self._child, reason)

    def kill(self) -> None:
        """Kill the child now."""
        if self._child is not None:
            self._child.kill()

    # The attempt itself.

    async def run(self) -> None:
        """Run from claim to end. Raises nothing: errors are written to the ledger, or end with the lease."""
        try:
            await self._run()
        except DatabaseUnavailable:
            _log.warning("%s: abandoned, because the database is unavailable; its lease will expire", self.claim.job_id)
        except ClaimLost as error:
            _log.warning("%s", error)
        except NoForkServer as error:
            _log.warning("%s: not started, and put back into the queue: %s", self.claim.job_id, error)
            await self._end(self._ending.given_back)
        except (StorageError, DigestMismatch, DamagedOutput, OSError) as error:
            await self._end(partial(self._ending.crashed, *_crash(error)))
        except Exception as error:
            _log.exception("%s: attempt %d failed in the worker", self.claim.job_id, self.claim.attempt)
            message = f"the worker failed with {type(error).__name__}: see its log"
            await self._end(partial(self._ending.crashed, "worker_error", message))
        finally:
            if self._kill_timer is not None:
                self._kill_timer.cancel()
            if self._child is not None:
                self._child.kill()
                await self._child.exit

    async def _end(self, write: Callable[[], Awaitable[None]]) -> None:
        """Write the end to the ledger; if that fails, the lease expires."""
        self.kill()
        try:
            await write()
        except Exception:
            _log.exception("%s: its lease will expire", self.claim.job_id)

    async def _run(self) -> None:
        async with AsyncExitStack() as reservations:
            folder = await self._prepare(reservations)
            if self._lost or folder is None:
                return
            if self._stop_reason is not None:
                await self._stopped()
                return
            child = await self._context.pool(self._extras).spawn(folder, self._lock, self._slot.visible, self._deadline)
            self._started(child)
            status = await self._watch(child, Spool(folder / "events.jsonl"))
            if not self._lost:
                await self._finish(status, folder)

    async def _prepare(self, reservations: AsyncExitStack) -> Path | None:
        """Resolve and freeze the spec, download inputs and write the order. None if it ended here."""
        context, claim = self._context, self.claim
        inputs = await self._ending.retry(lambda: context.ledger.inputs_of(claim))
        resolution = await self._resolved(inputs)
        if resolution is None:
            return None
        spec = resolution.spec if isinstance(resolution, Resolution) else resolution
        self._extras = extras_of(spec, inputs)
        lacking = self._extras - context.extras
        if lacking:
            await self._leave_to_others(min(lacking))
            return None
        space = context.disk.reserve(disk_bytes(spec), context.paths.job(claim.job_id))
        await self._unless_halted(reservations.enter_async_context(space))
        building = build_order(context.settings, context.inputs, claim, spec, inputs, self._slot)
        order = await self._unless_halted(building)
        if order is None:
            return context.paths.attempt(claim.job_id, claim.attempt)
        if isinstance(resolution, Resolution):
            order = order.model_copy(update={"warnings": resolution.warnings, "chosen": resolution.chosen})
        self.inputs = frozenset(order.inputs())
        if not await self._ending.retry(lambda: context.ledger.begin(claim, spec.model_dump(mode="json"))):
            self._lost = True  # nothing may be written into the folder of a job that another worker has
            return None
        if not await self._has_checkpoints():
            order = order.model_copy(update={"warnings": (*order.warnings, _checkpoints_missing(claim))})
        if self._lost:
            return None
        return await asyncio.to_thread(write_order, order)

    async def _resolved(self, inputs: JobInputs) -> Resolution | InternalJob | None:
        """The spec with everything filled in. None if the job ended here, or waits until its networks are measured."""
        claim, ledger, threads = self.claim, self._context.ledger, self._context.settings.threads
        found = resolve_claim(claim, inputs, threads)
        if isinstance(found, Resolution) and found.unmeasured:
            wanted = found.unmeasured
            trunks = await self._ending.retry(lambda: ledger.trunks(wanted))
            found = resolve_claim(claim, inputs, threads, trunks)
        if not isinstance(found, Resolution):
            return found
        if found.problems:
            await self._ending.failed("invalid_input", _listed(found.problems))
            return None
        if found.unmeasured:
            missing = found.unmeasured
            await self._ending.retry(lambda: ledger.wait_for_networks(claim, missing))
            return None
        return found

    async def _leave_to_others(self, extra: Extra) -> None:
        _log.warning(
            "%s: left to other workers: it needs networks of the extra `%s`, which this worker lacks (`pip install "
            "'stillhouse[%s]'`)",
            self.claim.job_id,
            extra,
            extra,
        )
        await self._ending.retry(lambda: self._context.ledger.leave_to_others(self.claim, extra))

    async def _has_checkpoints(self) -> bool:
        """Whether the checkpoints that the job continues from are on this disk: its own, or those of the job that it
        retries, which its first attempt takes over.
        """
        claim, paths, ledger = self.claim, self._context.paths, self._context.ledger
        if claim.checkpoint_from is None:
            return claim.checkpoint is None or paths.checkpoints(claim.job_id).is_dir()
        taken = await asyncio.to_thread(
            take_over_checkpoints, paths, claim.checkpoint_from, claim.job_id, claim.attempt
        )
        if (
            taken
            and claim.checkpoint is None
            and not await self._ending.retry(lambda: ledger.take_over_checkpoints(claim))
        ):
            self._lost = True
        return taken

    async def _unless_halted(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do the work, or abandon it as soon as the attempt is stopped: downloads can take long."""
        task, halt = asyncio.create_task(work), asyncio.create_task(self._halt.wait())
        try:
            await asyncio.wait({task, halt}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            halt.cancel()
            task.cancel()
            await asyncio.wait({task})

    def _started(self, child: Child) -> None:
        """Pass on what happened while the child was being started."""
        self._child = child
        child.send(ControlMessage(type="renew", until=self._deadline))
        if self._lost:
            child.kill()
        elif self._stop_reason is not None:
            self._stop_child(child, self._stop_reason)

    def _stop_child(self, child: Child, reason: StopReason) -> None:
        if self._slot.lane == "inspect":
            child.kill()  # these jobs have no checkpoint to wait for
            return
        child.send(ControlMessage(type=reason))
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        self._kill_timer = asyncio.get_running_loop().call_later(self._stop_seconds, child.kill)

    async def _watch(self, child: Child, spool: Spool) -> int:
        """Relay events until the child has exited; its exit status."""
        loop = asyncio.get_running_loop()
        fast_until = loop.time() + FAST_POLL_SECONDS
        latest = loop.time() + self._limit.seconds if self._limit is not None else None
        while not child.exit.done():
            await self._relay(spool)
            late = latest is not None and loop.time() > latest
            self._exceeded = self._exceeded or (self._limit if late else self._watchdog.exceeded)
            if self._exceeded is not None:
                child.kill()
            pause = FIRST_POLL if loop.time() < fast_until else LATER_POLL
            await asyncio.wait([child.exit], timeout=pause)
        while await self._relay(spool):
            pass
        return child.exit.result()

    async def _relay(self, spool: Spool) -> bool:
        """Write new events to the ledger; whether there were any."""
        if self._lost:
            return False
        events = await asyncio.to_thread(spool.read)
        self._watchdog.look(events)
        if events and not await self._ending.retry(lambda: self._context.ledger.record(self.claim, events)):
            self.lose()
        return events is not None

    async def _finish(self, status: int, folder: Path) -> None:
        if status == ExitCode.DONE:
            await self._ending.done(folder)
        elif status == ExitCode.USER_ERROR:
            await self._ending.refused(status, folder)
        elif self._stop_reason is not None:
            await self._stopped()
        elif self._exceeded is not None:
            await self._ending.stopped(self._exceeded, folder)
        elif status == ExitCode.REQUEUE:
            await self._ending.given_back()
        else:
            await self._ending.died(status, folder)

    async def _stopped(self) -> None:
        """The child stopped as requested, or was killed because it did not: the job ends the same way."""
        await (self._ending.given_back() if self._stop_reason == "drain" else self._ending.yielded())

    def clean_up(self) -> None:
        """Remove this attempt's folder."""
        shutil.rmtree(self._context.paths.attempt(self.claim.job_id, self.claim.attempt), ignore_errors=True)


def _crash(error: Exception) -> tuple[str, str]:
    """(code, message) of an error of the disk or the store."""
    if isinstance(error, StorageFull):
        return "disk_full", str(error)
    if isinstance(error, StorageError | DigestMismatch):
        return "storage", str(error)
    if isinstance(error, OSError):
        return "disk_full" if error.errno in NO_ROOM else "worker_error", f"the worker's disk: {error.strerror}"
    return "damaged_output", str(error)


def _checkpoints_missing(claim: Claim) -> dict[str, str]:
    job = "the job" if claim.checkpoint_from is None else claim.checkpoint_from
    message = f"the checkpoints of {job} are not on this worker's disk: training starts from the beginning"
    return {"code": "checkpoint_missing", "message": message}


def _listed(problems: tuple[Problem, ...]) -> str:
    """The problems as one message."""
    return "; ".join(f"{problem.pointer or '/'}: {problem.detail}" for problem in problems[:10])
