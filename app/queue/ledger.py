"""The ledger: the only writer of job state.

Two kinds of callers use it. The API acts for users, inside its own transaction (methods that take a session).
Workers act on jobs that they hold (methods that take a `Claim`); there every write is guarded by the claim's
token in one transaction, and False or None means: you are a zombie, or the job was cancelled. Discard.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.problems import JobError
from app.contracts.states import JobState, Trigger
from app.contracts.wire.events import CheckpointEvent, MetricsEvent, PhaseEvent, ProgressEvent, WarningEvent
from app.contracts.wire.orders import InspectionOutcome
from app.db.engine import Database
from app.db.rows import JobRow
from app.queue import claiming, finishing, inputs, leases, recording, retrying, submission
from app.queue.records import Claim, JobInputs, Lane, NewJob, Publication, PublishedFile

Event = PhaseEvent | ProgressEvent | MetricsEvent | CheckpointEvent | WarningEvent


class Ledger:
    """One a process, over its Database. `lease_seconds` is how long a claim lives without renewal."""

    def __init__(self, database: Database, lease_seconds: float = 60.0) -> None:
        self._database = database
        self._lease_seconds = lease_seconds

    # ---- for users, inside the caller's write session -------------------------------------------------------

    async def submit(self, session: AsyncSession, job: NewJob) -> JobRow:
        """Insert the job as `queued`, with its inputs and its first event. The row is the queue entry.

        Locks the inputs' rows, so that none can be deleted or rejected unseen before the commit. Raises
        UnusableInput for one that is missing, rejected, failed or cancelled, or of another project.
        """
        return await submission.submit(session, job)

    async def cancel(self, session: AsyncSession, job_id: str) -> JobRow | None:
        """Cancel: at once where no worker holds it, else `cancelling`, from which success is impossible.

        Returns the job as it is now, None if there is no such job. Raises IllegalTransition.
        """
        return await submission.act(session, job_id, Trigger.CANCEL)

    async def pause(self, session: AsyncSession, job_id: str) -> JobRow | None:
        """Pause: at once where no worker holds it, else `pausing`. As for cancel."""
        return await submission.act(session, job_id, Trigger.PAUSE)

    async def resume(self, session: AsyncSession, job_id: str) -> JobRow | None:
        """Put a paused job back into the queue. As for cancel."""
        return await submission.act(session, job_id, Trigger.RESUME)

    async def retry(
        self, session: AsyncSession, job_id: str, *, from_checkpoint: bool, key_id: str | None, threads: int | None
    ) -> JobRow | None:
        """Submit the spec of a failed or cancelled job as a new one. `from_checkpoint`: it goes on from the old job's
        newest checkpoint, on the spec and the threads that were frozen with it, else `threads` are.

        None if there is no such job. Raises NotRetryable, and UnusableInput as `submit`.
        """
        return await retrying.retry(session, job_id, from_checkpoint=from_checkpoint, key_id=key_id, threads=threads)

    # ---- for workers ----------------------------------------------------------------------------------------

    async def claim(self, owner: str, lane: Lane, device: str) -> Claim | None:
        """Take the oldest queued job of the lane whose inputs are all there; None if there is none.

        Raises its attempt by one, gives it a fresh token and a lease. `owner` is fresh for each process.
        """
        return await claiming.claim(self._database, owner, lane, device, self._lease_seconds)

    async def inputs_of(self, claim: Claim) -> JobInputs:
        """The models and datasets that the claimed job reads, with manifests, facts and files."""
        return await inputs.inputs_of(self._database, claim)

    async def begin(self, claim: Claim, resolved_spec: Mapping[str, Any]) -> bool:
        """Go from starting to running, once the child has its inputs. The first attempt's resolved spec is frozen."""
        return await claiming.begin(self._database, claim, resolved_spec)

    async def adopted(self, claim: Claim) -> bool:
        """The job has the checkpoints of the one that it retries on its worker's disk: its newest is that one's, until
        it writes its own. They are kept after its end, as all are.
        """
        return await retrying.adopted(self._database, claim)

    async def renew(self, claims: Sequence[Claim]) -> dict[str, JobState]:
        """Give these claims a whole lease again, in one statement. Returns the state of those still held, by job
        id: what is absent is lost, and its child must stop.
        """
        return await leases.renew(self._database, claims, self._lease_seconds)

    async def held(self, claims: Sequence[Claim]) -> dict[str, JobState]:
        """As renew, but only looks: a cheap way to hear of cancel and pause between renewals."""
        return await leases.held(self._database, claims)

    async def record(self, claim: Claim, events: Sequence[Event]) -> bool:
        """Write a batch of the child's events: metric points, progress, warnings, checkpoints.

        Of several progress events the newest stands for all. A checkpoint at a step that no earlier one reached
        sets crashes back to 0.
        """
        return await recording.record(self._database, claim, events)

    async def succeed(self, claim: Claim, publication: Publication) -> bool:
        """The one transaction at the end: artifacts, the student as a ready model, report, state, outbox.

        Dependents become claimable with it. False for a zombie, and for a job that is being cancelled, which
        this ends as cancelled. Saying it twice (a commit whose answer was lost) is True twice.
        """
        return await finishing.succeed(self._database, claim, publication)

    async def finish_preflight(self, claim: Claim, files: Sequence[PublishedFile], report: Mapping[str, Any]) -> bool:
        """End a preflight with its report; it leaves no model. False and True as for `succeed`."""
        return await finishing.finish_preflight(self._database, claim, files, report)

    async def finish_inspection(
        self, claim: Claim, outcome: InspectionOutcome, files: Sequence[PublishedFile] = ()
    ) -> bool:
        """End an inspection: its model or dataset becomes ready with its facts, or rejected with the reason.

        Rejection fails the jobs that wait for it (`invalid_input`) and, transitively, those that wait for them.
        A `converted` file takes the place of the upload.
        """
        return await finishing.finish_inspection(self._database, claim, outcome, files)

    async def fail(self, claim: Claim, error: JobError) -> bool:
        """End the job as failed, never retried; a job that is being cancelled ends as cancelled."""
        return await finishing.fail(self._database, claim, error)

    async def yield_(self, claim: Claim) -> bool:
        """The child stopped as it was told: pausing -> paused, cancelling -> cancelled."""
        return await finishing.let_go(self._database, claim, Trigger.YIELD)

    async def drain(self, claim: Claim) -> bool:
        """The worker shuts down and gives the job back; no crash is counted."""
        return await finishing.let_go(self._database, claim, Trigger.DRAIN)

    async def lose(self, claim: Claim, error: JobError) -> bool:
        """The child crashed: back to the queue, or failed at the third crash without a new checkpoint."""
        return await leases.lose(self._database, claim, error)

    async def lose_owner(self, owner: str) -> int:
        """Release every job of an owner that is known to be dead (its flock is free); how many there were."""
        return await leases.lose_owner(self._database, owner)

    async def owners(self) -> list[str]:
        """The owners that hold jobs now."""
        return await leases.owners(self._database)

    async def discard(self, job_ids: Sequence[str], kept: timedelta) -> dict[str, bool]:
        """Those of these jobs that have ended, and whether their checkpoints may go, too: a success needs them no
        more, a failed or cancelled job's are kept for so long, and while a retry that takes them over has not ended.
        """
        return await retrying.discard(self._database, job_ids, kept)

    async def sweep(self) -> int:
        """Release the jobs whose lease ran out; how many there were. Any process may do it at any time."""
        return await leases.sweep(self._database)
