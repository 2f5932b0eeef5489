"""Jobs, and `client.jobs`."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

from stillhouse import specs
from stillhouse.documents import Comparison, DryRun, Event, JobFields
from stillhouse.drivers import SyncDriver
from stillhouse.errors import Conflict
from stillhouse.files import target_of
from stillhouse.flows import jobs as calls
from stillhouse.flows import resources
from stillhouse.flows.downloads import downloaded
from stillhouse.flows.events import events, past_events
from stillhouse.flows.steps import JSON
from stillhouse.progress import job_bar
from stillhouse.results import Metrics, ShownReport
from stillhouse.session import Session
from stillhouse.specs import Network, Reference, Task, Teacher, identity
from stillhouse.sync.models import Model


class Job(JobFields):
    """A job of the service."""

    def __init__(self, json: JSON, session: Session[SyncDriver]) -> None:
        super().__init__(json)
        self._session = session

    @property
    def _path(self) -> str:
        return f"/v1/jobs/{self.id}"

    def refresh(self) -> Self:
        """Read it again."""
        self.json = self._session.driver.run(resources.get(self._path, self._session.retries))
        return self

    def wait(self, timeout: float | None = None, *, progress: bool | None = None, check: bool = True) -> Self:
        """Wait until it has ended, with a progress bar in terminals and notebooks; returns itself.

        Broken connections and a service that restarts are waited for. Raises Timeout after `timeout` seconds, and with
        `check` JobFailed or JobCancelled for a job without success. Interrupting the wait leaves the job running.
        """
        with job_bar(shown=self._session.shows(progress)) as bar:
            show = bar.show if bar else None
            flow = resources.ended(self.id, self._session.retries, timeout, show)
            self.json = self._session.driver.run(flow)
        if check:
            resources.checked(self.json)
        return self

    def past_events(self, *, types: str | Iterable[str] | None = None) -> Iterator[Event]:
        """Its events so far, oldest first, read page by page. `types`: only those, such as `warning`."""
        return self._session.driver.iterate(past_events(self.id, resources.names(types), self._session.retries))

    def events(self, after: int = 0, *, types: str | Iterable[str] | None = None) -> Iterator[Event]:
        """Its events after the number `after` as they happen, until it has ended; across broken connections.

        `types`: only those, such as `warning`.
        """
        return self._session.driver.iterate(events(self.id, after, resources.names(types), self._session.retries))

    def metrics(
        self, *, points: int | None = None, series: str | Iterable[str] | None = None, since: int | None = None
    ) -> Metrics:
        """Its metric series so far, as columns of a table: `pandas.DataFrame(job.metrics())`.

        `points`: at most so many of each series, its ends and extremes among them. `series`: names such as
        `train/loss`. `since`: only points after this step.
        """
        flow = resources.get(
            f"{self._path}/metrics", self._session.retries, points=points, series=resources.names(series), since=since
        )
        return Metrics(self._session.driver.run(flow))

    @property
    def report(self) -> ShownReport:
        """Its report, read from the service, once it has succeeded."""
        found = self._session.driver.run(resources.get(f"{self._path}/report", self._session.retries))
        return ShownReport(found, self.report_as)

    def report_as(self, format: str) -> str:
        """Its report for people: `text`, `markdown` or `html`."""
        return self._session.driver.run(calls.shown_report(self.id, format, self._session.retries))

    @property
    def student(self) -> Model:
        """The model that it made, read from the service. Raises Conflict where there is none."""
        model = self.student_id or self.refresh().student_id
        if model is None:
            raise Conflict(*calls.without_student(self.json))
        return Model(
            self._session.driver.run(resources.get(f"/v1/models/{model}", self._session.retries)), self._session
        )

    def predictions(self, split: str = "test", path: str | Path | None = None, *, progress: bool | None = None) -> Path:
        """Download the outputs of teacher, student and control on every row of a split, as npz; returns where it is."""
        target = target_of(path, f"{self.id}.{split}.npz")
        shown = self._session.shows(progress)
        flow = downloaded(f"{self._path}/predictions", {"split": split}, target, self._session.retries, progress=shown)
        return self._session.driver.run(flow)

    def relation(self) -> dict[str, Any]:
        """How the tasks of a multitask job affect each other: R over time, affinities, conflicts, proposed groups."""
        return self._session.driver.run(resources.get(f"{self._path}/relation", self._session.retries))

    def cancel(self) -> Self:
        """Cancel it: at once if no worker holds it, otherwise after the current step and a checkpoint."""
        return self._act("cancel")

    def pause(self) -> Self:
        """Pause it, as `cancel` does; it can be resumed."""
        return self._act("pause")

    def resume(self) -> Self:
        """Put it back into the queue; it continues from its checkpoint."""
        return self._act("resume")

    def _act(self, action: str) -> Self:
        self.json = self._session.driver.run(calls.acted(self.id, action, self._session.retries))
        return self

    def retry(self, *, from_checkpoint: bool = False, idempotency_key: str | None = None) -> "Job":
        """Repeat a failed or cancelled job as a new one, from the start or from its newest checkpoint."""
        body = {"from_checkpoint": from_checkpoint}
        flow = calls.posted(f"{self._path}/retry", body, self._session.retries, idempotency_key)
        return Job(self._session.driver.run(flow), self._session)

    def delete(self) -> None:
        """Delete it with its events, metrics, files and report, once it has ended."""
        self._session.driver.run(resources.deleted(self._path, self._session.retries))


class Jobs:
    """`client.jobs`."""

    def __init__(self, session: Session[SyncDriver]) -> None:
        self._session = session

    def submit(
        self, spec: Mapping[str, Any], *, priority: int | None = None, idempotency_key: str | None = None
    ) -> Job:
        """Submit a job by its spec; objects of the client in it stand for their ids."""
        body = specs.plain(spec)
        flow = calls.posted("/v1/jobs", body, self._session.retries, idempotency_key, priority=priority)
        return Job(self._session.driver.run(flow), self._session)

    def dry_run(self, spec: Mapping[str, Any]) -> DryRun:
        """Check a spec in full and resolve it; nothing is written or queued."""
        return DryRun(self._session.driver.run(calls.dry_run(specs.plain(spec), self._session.retries)))

    def train(
        self,
        dataset: Reference | None = None,
        model: Network | None = None,
        *,
        target: str | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Job:
        """Submit the training of a model on labels. Further fields are those of the spec: `training`, `name` …"""
        spec = specs.train(dataset, model, target, fields)
        return self.submit(spec, priority=priority, idempotency_key=idempotency_key)

    def distill(
        self,
        dataset: Reference | None = None,
        student: Network | None = None,
        *,
        teacher: Teacher | None = None,
        teachers: Teacher | Iterable[Teacher] | None = None,
        target: str | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Job:
        """Submit a distillation: one `teacher` or several `teachers` (models, jobs, predictions) into a student.

        Further fields are those of the spec: `distillation`, `training`, `repeats`, `control`, `exports`, `labels` …
        """
        spec = specs.distill(dataset, student, teacher, teachers, target, fields)
        return self.submit(spec, priority=priority, idempotency_key=idempotency_key)

    def multitask(
        self,
        dataset: Reference | None = None,
        student: Network | None = None,
        tasks: Task | Iterable[Task] = (),
        *,
        priority: int | None = None,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Job:
        """Submit a job of several tasks: names of targets, or objects with `name`, `weight`, `teacher` and so on.

        Further fields are those of the spec: `relation`, `balancing`, `baselines`, `training` …
        """
        spec = specs.multitask(dataset, student, tasks, fields)
        return self.submit(spec, priority=priority, idempotency_key=idempotency_key)

    def preflight(self, job: Mapping[str, Any], *, idempotency_key: str | None = None, **fields: Any) -> Job:
        """Submit a preflight of a spec: a worker runs it up to the training, and estimates its cost."""
        return self.submit(specs.preflight(job, fields), idempotency_key=idempotency_key)

    def export(
        self,
        model: Reference,
        format: str,
        *,
        dataset: Reference | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Submit the export of a ready model as `onnx`, `int8` (on the rows of a dataset) or `fp16`."""
        body = resources.given({"format": format, "dataset": None if dataset is None else identity(dataset)})
        flow = calls.posted(f"/v1/models/{identity(model)}/exports", body, self._session.retries, idempotency_key)
        return Job(self._session.driver.run(flow), self._session)

    def get(self, job: Reference) -> Job:
        """A job by its id."""
        flow = resources.get(f"/v1/jobs/{identity(job)}", self._session.retries)
        return Job(self._session.driver.run(flow), self._session)

    def list(
        self,
        *,
        state: str | None = None,
        kind: str | None = None,
        label: str | Iterable[str] | None = None,
        limit: int | None = None,
    ) -> Iterator[Job]:
        """Jobs, newest first, read page by page; at most `limit`. `label`: `key=value` or `key`; several must match."""
        labels = resources.names(label)
        params, made = {"state": state, "kind": kind, "label": labels}, partial(Job, session=self._session)
        return self._session.driver.iterate(resources.listed("/v1/jobs", self._session.retries, made, limit, params))

    def compare(self, jobs: Reference | Iterable[Reference]) -> Comparison:
        """Compare succeeded jobs on one test split: ranked, each against the control, with corrected intervals."""
        identities = specs.identities(jobs)
        return Comparison(self._session.driver.run(calls.compared(identities, self._session.retries)))

    def cancel(self, job: Reference) -> Job:
        """Cancel a job by its id."""
        return self._act(job, "cancel")

    def pause(self, job: Reference) -> Job:
        """Pause a job by its id."""
        return self._act(job, "pause")

    def resume(self, job: Reference) -> Job:
        """Resume a job by its id."""
        return self._act(job, "resume")

    def _act(self, job: Reference, action: str) -> Job:
        flow = calls.acted(identity(job), action, self._session.retries)
        return Job(self._session.driver.run(flow), self._session)

    def delete(self, job: Reference) -> None:
        """Delete an ended job by its id."""
        self._session.driver.run(resources.deleted(f"/v1/jobs/{identity(job)}", self._session.retries))
