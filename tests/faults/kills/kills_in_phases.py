"""The real child and its supervisor are killed in every phase of a real job, and the student is bit for bit that of an
undisturbed run.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from app.db.engine import open_database
from tests.faults.campaign.outcome import Outcome, together
from tests.faults.checks.job_outcomes import Hit, jobs_held_by, kept
from tests.faults.checks.leftovers import stale_after, stale_beside
from tests.faults.checks.slot_users import HALTED, slots_given_twice
from tests.faults.kills.halting_worker import ask, halted
from tests.faults.services.api_and_workers import LEASE_SECONDS, ApiAndWorkers
from tests.faults.services.serve import eventually
from tests.faults.services.small_jobs import Json, TrainingInputs, described

POINTS: Final = (
    "loading",
    "entered-teaching",
    "training:0",
    "training:1",
    "training:10",
    "checkpoint-draft:1",
    "checkpoint-named:2",
    "training:13",
    "entered-evaluating",
    "evaluating",
    "entered-exporting",
    "outcome",
    "done",
)
"""Where the child is killed."""
TEACHING: Final = ("teaching:1", "teaching:2", "targets-draft")
"""The same, in a teacher's pass over the three blocks of the rows."""
PUBLISHING: Final = ("before-publish", "after-publish", "before-succeed", "after-succeed", "before-begin")
"""Where the supervisor is killed."""


def killed_in_phases(
    kinds: Sequence[str], seed: int, folder: Path, url: str, points: int = 6, places: int = 1, every: int = 3
) -> Outcome:
    """Jobs of these kinds, each killed at a share of all points, another one with each seed; of the last kind
    also a supervisor. A checkpoint is taken `every` so many steps.
    """
    data = folder / "data"
    with ApiAndWorkers(data, url, workers=1) as service:
        all_outputs, found = TrainingInputs(service, folder), []
        for number, kind in enumerate(kinds, start=seed):
            round_ = _Round(service, all_outputs, kind, number, every)
            found += [round_.killed_child(point) for point in _share(_points(kind), number, points)]
        found += [round_.killed_supervisor(place) for place in _share(PUBLISHING, seed, places)]
        stale = stale_beside(url, data)
    stale += stale_after(data)
    return together([*found, Outcome(doubled=len(slots_given_twice(data)), stale=tuple(stale))])


def _points(kind: str) -> Sequence[str]:
    return POINTS if kind in ("train", "multitask") else POINTS[:2] + TEACHING + POINTS[2:]


def _share(every: Sequence[str], seed: int, count: int) -> list[str]:
    """`count` of them, spread over all, beginning elsewhere with each seed."""
    count = min(count, len(every))
    return [every[(seed + i * len(every) // count) % len(every)] for i in range(count)]


class _Round:
    """One kind of job with one training, on one service."""

    def __init__(self, service: ApiAndWorkers, all_outputs: TrainingInputs, kind: str, seed: int, every: int) -> None:
        self._service = service
        self._spec = all_outputs.spec(kind, described(seed))
        self._every = str(every)
        self._student = service.digest(service.succeed(self._submitted({}))["id"])

    def _submitted(self, labels: Json) -> str:
        """A job that does everything itself: it finds no targets and no control of an earlier one."""
        for folder in ("targets", "controls"):
            shutil.rmtree(self._service.data / "cache" / folder, ignore_errors=True)
        return self._service.submit({**self._spec, "labels": {"every": self._every, **labels}})

    def killed_child(self, point: str) -> Outcome:
        """SIGKILL of a child that has come to a point."""
        job_id = self._submitted({"halt": point})
        mark = self._service.data / "jobs" / job_id / "attempt-1" / HALTED
        pid = eventually(lambda: int(mark.read_text()) if mark.exists() else self._missed(job_id, point))
        hits = asyncio.run(self._hits())
        os.kill(pid, signal.SIGKILL)
        return together([self._judged(job_id, hits), self._interval_lost(job_id, point)])

    def _interval_lost(self, job_id: str, point: str) -> Outcome:
        """No more steps are lost than lie between two checkpoints, and two more while the newest was being written."""
        step = int(point.removeprefix("training:")) if point.startswith("training:") else 0
        steps = [event["step"] for event in self._service.events(job_id, "checkpoint") if event["name"].endswith("-a1")]
        lost = step - max((each for each in steps if each <= step), default=0)
        return Outcome(stale=(f"{lost} steps before {point}",) if lost > int(self._every) + 2 else ())

    def _missed(self, job_id: str, point: str) -> None:
        state = self._service.get(f"/v1/jobs/{job_id}")["state"]
        assert state not in ("succeeded", "failed", "cancelled"), f"the job {state} and never came to {point}"

    def killed_supervisor(self, place: str) -> Outcome:
        """SIGKILL of a supervisor that has come to a word to ledger or store."""
        data = self._service.data
        ask(data, place)
        job_id = self._submitted({})
        eventually(lambda: halted(data, place))
        hits = asyncio.run(self._hits())
        self._service.kill_worker(0)
        return self._judged(job_id, hits)

    async def _hits(self) -> list[Hit]:
        database = open_database(self._service.settings.database)
        try:
            return await jobs_held_by(database, self._service.workers[0].popen.pid)
        finally:
            await database.close()

    def _judged(self, job_id: str, hits: list[Hit]) -> Outcome:
        self._service.succeed(job_id)
        found = self._service.report(job_id)
        outcome = Outcome(kills=1, bit_exact=bool(found["bit_exact"]))
        return together([outcome, asyncio.run(self._kept(job_id, hits))])

    async def _kept(self, job_id: str, hits: list[Hit]) -> Outcome:
        database = open_database(self._service.settings.database)
        try:
            return await kept(database, [job_id], {job_id: self._student}, hits, LEASE_SECONDS)
        finally:
            await database.close()
