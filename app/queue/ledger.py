"""The ledger: the only writer of job state.

The API acts for users, inside its own transaction (methods that take a session). Workers act on jobs that they hold
(methods that take a `Claim`): every write checks the claim's token in its own transaction, and False or None means that
the claim is lost or the job was cancelled. The worker then discards its results.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.problems import JobError
from app.contracts.specs.families.family import Extra
from app.contracts.specs.families.library import LibraryArchitecture
from app.contracts.states import JobState, Trigger
from app.contracts.wire.events import CheckpointEvent, MetricsEvent, PhaseEvent, ProgressEvent, WarningEvent
from app.contracts.wire.orders import InspectionOutcome
from app.db.engine import Database
from app.db.rows import JobRow
from app.queue import claiming, exports, finishing, recording, submission
from app.queue.ended import deletion, retrying
from app.queue.inputs import networks, stored
from app.queue.records import Claim, JobInputs, Lane, NewJob, Publication, PublishedFile
from app.queue.workers import leases

Event = PhaseEvent | ProgressEvent | MetricsEvent | CheckpointEvent | WarningEvent


class Ledger:
    """One per process. `lease_seconds` is how long a claim is valid without renewal."""

    def __init__(self, database: Database, lease_seconds: float = 60.0) -> None:
        self._database = database
        self._lease_seconds = lease_seconds

    # ---- for users, inside the caller's write session -------------------------------------------------------

    async def submit(self, session: AsyncSession, job: NewJob) -> JobRow:
        """Insert the job as `queued`, with its inputs and its first event. The row is the queue entry.

        Locks the inputs' rows, so that none can be deleted or rejected before the commit. Raises UnusableInput for one
        that is missing, rejected, failed or cancelled, or in another project.
        """
        return await submission.submit(session, job)

    async def export(self, session: AsyncSession, job: NewJob) -> JobRow:
        """Submit an export, or return the one of the same model and format that has not failed.

        The caller holds the model's row locked, so that there is one. Raises UnusableInput as `submit`.
        """
        return await exports.submit_once(session, job)

    async def cancel(self, session: AsyncSession, job_id: str) -> JobRow | None:
        """Cancel: at once if no worker holds the job, else `cancelling`, from which success is impossible.

        Returns the job after the change, None if there is no such job. Raises IllegalTransition.
        """
        return await submission.act(session, job_id, Trigger.CANCEL)

    async def pause(self, session: AsyncSession, job_id: str) -> JobRow | None:
        """Pause: at once if no worker holds the job, else `pausing`. Returns and raises as `cancel`."""
        return await submission.act(session, job_id, Trigger.PAUSE)

    async def resume(self, session: AsyncSession, job_id: str) -> JobRow | None:
        """Put a paused job back into the queue. Returns and raises as `cancel`."""
        return await submission.act(session, job_id, Trigger.RESUME)

    async def retry(
        self, session: AsyncSession, job_id: str, *, from_checkpoint: bool, key_id: str | None, threads: int | None
    ) -> JobRow | None:
        """Submit the spec of a failed or cancelled job as a new one.

        With `from_checkpoint` it continues from the old job's newest checkpoint, with the old job's resolved spec and
        threads; otherwise with `threads`. None if there is no such job. Raises NotRetryable, and UnusableInput as
        `submit`.
        """
        return await retrying.retry(session, job_id, from_checkpoint=from_checkpoint, key_id=key_id, threads=threads)

    async def delete(self, session: AsyncSession, job_id: str) -> bool:
        """Delete an ended job with everything that is its own. False if there is no such job. Raises NotDeletable."""
        return await deletion.delete_job(session, job_id)

    # ---- for workers ----------------------------------------------------------------------------------------

    async def claim(self, owner: str, lane: Lane, device: str, extras: Collection[Extra] = ()) -> Claim | None:
        """Claim the next queued job of the lane whose inputs are all ready, and that needs none but these extras;
        None if there is none. Which is next, `queue.claiming` says.

        Increments its attempt, and gives it a new token and a lease. `owner` is unique for each process.
        """
        return await claiming.claim(self._database, owner, lane, device, self._lease_seconds, tuple(sorted(extras)))

    async def leave_to_others(self, claim: Claim, extra: Extra) -> bool:
        """Put the job back into the queue, for workers with this extra alone. False if the claim is lost."""
        return await networks.leave_to_others(self._database, claim, extra)

    async def trunks(self, wanted: Sequence[LibraryArchitecture]) -> networks.Trunks:
        """What is known of the networks of libraries, by digest."""
        return await networks.known_to(self._database, wanted)

    async def wait_for_networks(self, claim: Claim, wanted: Sequence[LibraryArchitecture]) -> bool:
        """Put the job back into the queue until inspections have measured these networks. False if the claim is
        lost.
        """
        return await networks.wait_for(self._database, claim, wanted)

    async def inputs_of(self, claim: Claim) -> JobInputs:
        """The models and datasets that the claimed job reads, with manifests, facts and files."""
        return await stored.inputs_of(self._database, claim)

    async def begin(self, claim: Claim, resolved_spec: Mapping[str, Any]) -> bool:
        """Change from starting to running. The resolved spec of the first attempt is stored for later ones."""
        return await claiming.begin(self._database, claim, resolved_spec)

    async def take_over_checkpoints(self, claim: Claim) -> bool:
        """Record that the checkpoints of the job that this one retries were taken over on the worker's disk.

        They count as this job's own, and are kept after its end.
        """
        return await retrying.take_over_checkpoints(self._database, claim)

    async def renew(self, claims: Sequence[Claim]) -> dict[str, JobState]:
        """Renew the leases of these claims in one statement. Returns the states of those still held, by job id.

        A claim that is absent is lost, and its child must be stopped.
        """
        return await leases.renew(self._database, claims, self._lease_seconds)

    async def held(self, claims: Sequence[Claim]) -> dict[str, JobState]:
        """As `renew`, but without renewing: a cheap way to notice cancel and pause between renewals."""
        return await leases.held(self._database, claims)

    async def record(self, claim: Claim, events: Sequence[Event]) -> bool:
        """Write a batch of the child's events: metric points, progress, warnings, checkpoints.

        Of consecutive progress events only the newest is kept. A checkpoint at a new highest step resets `crashes` to
        0.
        """
        return await recording.record(self._database, claim, events)

    async def succeed(self, claim: Claim, publication: Publication) -> bool:
        """End a training job in one transaction: artifacts, the student as a ready model, report, state, outbox.

        Dependent jobs become claimable. False if the claim is lost, and for a job that is being cancelled, which then
        ends as cancelled. True again if the call is repeated because the response to the commit was lost.
        """
        return await finishing.succeed(self._database, claim, publication)

    async def finish_report(self, claim: Claim, files: Sequence[PublishedFile], report: Mapping[str, Any]) -> bool:
        """End a job that makes no model, such as a preflight, with its report. Returns as `succeed`."""
        return await finishing.finish_report(self._database, claim, files, report)

    async def finish_inspection(
        self, claim: Claim, outcome: InspectionOutcome, files: Sequence[PublishedFile] = ()
    ) -> bool:
        """End an inspection: its model or dataset becomes ready with its facts, or rejected with the reason; what was
        measured of a network is stored.

        A rejection fails the jobs that wait for the resource (`invalid_input`) and, transitively, those that wait for
        them. A `converted` file replaces the uploaded one.
        """
        return await finishing.finish_inspection(self._database, claim, outcome, files)

    async def finish_export(
        self, claim: Claim, files: Sequence[PublishedFile], report: Mapping[str, Any] | None = None
    ) -> bool:
        """End an export: its files become files of the model. Returns as `succeed`."""
        return await finishing.finish_export(self._database, claim, files, report)

    async def fail(self, claim: Claim, error: JobError) -> bool:
        """End the job as failed, never retried; a job that is being cancelled ends as cancelled."""
        return await finishing.fail(self._database, claim, error)

    async def yield_(self, claim: Claim) -> bool:
        """The child has stopped as requested: pausing -> paused, cancelling -> cancelled."""
        return await finishing.release(self._database, claim, Trigger.YIELD)

    async def drain(self, claim: Claim) -> bool:
        """The worker shuts down and puts the job back into the queue; no crash is counted."""
        return await finishing.release(self._database, claim, Trigger.DRAIN)

    async def lose(self, claim: Claim, error: JobError) -> bool:
        """The child crashed: back to the queue, or failed at the third crash without a new checkpoint."""
        return await leases.lose(self._database, claim, error)

    async def lose_owner(self, owner: str) -> int:
        """Release every job of an owner that is known to be dead (its lock is free); how many there were."""
        return await leases.lose_owner(self._database, owner)

    async def owners(self) -> list[str]:
        """The owners that hold jobs now."""
        return await leases.owners(self._database)

    async def discard(self, job_ids: Sequence[str], kept: timedelta) -> dict[str, bool]:
        """Those of these jobs that have ended, and whether their checkpoints may be deleted too.

        Those of a succeeded job may; those of a failed or cancelled one are kept for the time `kept`, and while a retry
        that takes them over has not ended.
        """
        return await retrying.discard(self._database, job_ids, kept)

    async def sweep(self) -> int:
        """Release the jobs whose lease has expired; how many there were. Any process may call it at any time."""
        return await leases.sweep(self._database)
