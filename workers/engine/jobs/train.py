"""One training job from order to trained members: load, teach, search, train, repeat. What is measured and exported
comes after.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.contracts.reports.report import DatasetUse
from app.contracts.reports.search import SearchReport, Trial
from app.contracts.resources.manifests import InputTransform
from app.contracts.specs.jobs import TrainJob
from app.contracts.specs.stores import StoreSpec
from app.contracts.wire.events import ChildEvent, PhaseEvent, WarningEvent
from app.contracts.wire.orders import DatasetInput, Order
from workers.engine.balancing import check_available
from workers.engine.balancing.relation.estimate import LEAST
from workers.engine.common.determinism import make_deterministic
from workers.engine.common.files import read_document, write_document
from workers.engine.common.stop import Stop, check
from workers.engine.data.augment.plan import ViewPlan
from workers.engine.data.dataset import Dataset
from workers.engine.data.inputs import Inputs
from workers.engine.data.joining import inputs_of, read_datasets
from workers.engine.data.mixture import uses_of
from workers.engine.jobs.baselines.planning import train_baselines
from workers.engine.jobs.plan import Plan
from workers.engine.jobs.runs.results import Settled, StageResult
from workers.engine.jobs.runs.runner import Stage, StageRunner
from workers.engine.jobs.search import Candidate, candidates, folds_of
from workers.engine.jobs.spec_warnings import resolution_warnings
from workers.engine.tasks.build import Course, Spec, Taught, course_of, starting_weights, taught_tasks
from workers.engine.tasks.task import taught_rows
from workers.engine.teachers.teachers import Faculty

Emit = Callable[[ChildEvent], None]


@dataclass
class Trained:
    """Everything that evaluation and export need. `repeats` are (student, control) of the further seeds."""

    order: Order
    spec: Spec
    course: Course
    dataset: Dataset
    faculty: Faculty
    taught: tuple[Taught, ...]
    student: Settled
    control: Settled | None
    peers: tuple[Settled, ...]
    repeats: tuple[tuple[Settled, Settled | None], ...]
    baselines: tuple[dict[str, Settled], ...]
    """For each seed, the job's own first, single-task models by task."""
    search: SearchReport | None
    measured: dict[str, Any] | None
    """What was seen of the tasks' gradients, by a first run where there was one."""
    precision: str
    micro_batch_size: int | None
    exact_accumulation: bool
    bit_exact: bool
    targets: list[dict[str, Any]]
    warnings: list[dict[str, str]]
    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def dataset_inputs(self) -> tuple[DatasetInput, ...]:
        """The datasets that the rows are of, in the job's order."""
        return inputs_of(self.order, self.dataset)

    def dataset_uses(self) -> list[DatasetUse]:
        """What each dataset gave to the training."""
        rows = taught_rows([each.student for each in self.taught], self.dataset.splits["train"])
        return uses_of(self.order, self.dataset, rows, self.spec.training.batch_size)

    @property
    def input_name(self) -> str:
        """What the rows are called, of which a dataset has one."""
        return next(iter(self.dataset.inputs))

    @property
    def transform(self) -> InputTransform:
        """What the student does to raw rows."""
        return self.dataset.transforms[self.input_name]


class Training:
    """Runs the phases loading, teaching and training of one order."""

    def __init__(self, order: Order, spec: Spec, emit: Emit, stop: Stop) -> None:
        self._order = order
        self._spec = spec
        self._stop = stop
        self._warnings: list[dict[str, str]] = []
        self._emit_event = emit
        self._device = torch.device(order.device)
        self._seconds: dict[str, float] = {}

    def _emit(self, event: ChildEvent) -> None:
        if isinstance(event, WarningEvent):
            self._warnings.append({"code": event.code, "message": event.message})
        self._emit_event(event)

    def run(self) -> Trained:
        """Train. Raises UserError, and Stopped after a checkpoint."""
        order, spec = self._order, self._spec
        make_deterministic(order.threads)
        check_available(course_of(spec).balancing)
        began = self._enter("loading")
        for warning in resolution_warnings(order):
            self._emit(WarningEvent(code=warning["code"], message=warning["message"]))
        dataset = read_datasets(order, spec.dataset_refs())
        began = self._enter("teaching", began)
        inputs, plan = prepared_inputs(spec, dataset, self._device)
        faculty = Faculty(order, dataset, self._device, lambda: check(self._stop), store=store_of(spec), plan=plan)
        try:
            trials = candidates(spec)
            course = course_of(trials[0].spec if trials else spec)
            taught = taught_tasks(course, faculty, self._emit)
            targets = self._first_uses(faculty)
            self._enter("training", began)
            runner = StageRunner(order, dataset, self._device, self._emit, self._stop, inputs, plan)
            return self._train(runner, spec, course, taught, trials, faculty, targets)
        except BaseException:
            faculty.close()
            raise

    def _enter(self, phase: str, began: float | None = None) -> float:
        check(self._stop)
        now = time.monotonic()
        if began is not None:
            previous = {"teaching": "loading", "training": "teaching"}[phase]
            self._seconds[previous] = now - began
        self._emit(PhaseEvent.model_validate({"phase": phase}))
        return now

    def _measured(self, main: Stage, probed: StageResult | None, result: StageResult) -> dict[str, Any] | None:
        """What was seen of the tasks: by the first run, where there was one."""
        if probed is None and main.course.acting is not None and main.course.acting.follows is not None:
            self._warn_of_few(result.measured)
        return (probed or result).measured

    def _warn_of_few(self, measured: dict[str, Any] | None) -> None:
        looks = measured["measured"] if measured is not None else 0
        if looks < LEAST:
            message = (
                f"the tasks' gradients were looked at {looks} times, and an estimate needs {LEAST}: every task was "
                "taken to teach itself alone; set a smaller `relation.every`, or train for more steps"
            )
            self._emit(WarningEvent(code="relation_not_measured", message=message))

    def _first_uses(self, faculty: Faculty) -> list[dict[str, Any]]:
        """How the targets came to be in the first attempt: a later one finds what that one made."""
        path = Path(self._order.checkpoints_dir) / "targets.json"
        found: list[dict[str, Any]] | None = read_document(path)
        if found is None:
            found = [use.model_dump(mode="json") for use in faculty.uses.values()]
            write_document(path, found)
        return found

    def _train(
        self,
        runner: StageRunner,
        spec: Spec,
        course: Course,
        taught: tuple[Taught, ...],
        trials: list[Candidate],
        faculty: Faculty,
        targets: list[dict[str, Any]],
    ) -> Trained:
        start = starting_weights(course, faculty)

        def teach(course: Course) -> tuple[Taught, ...]:
            return taught_tasks(course, faculty, lambda event: None)

        plan = Plan(course, taught, runner.dataset, trials, spec, teach, start)
        runner.steps = plan.steps
        first = plan.probe()
        probed = runner.run(first) if first is not None else None
        if probed is not None:
            plan = plan.after(probed)
            self._warn_of_few(probed.measured)
        searched = _Search(runner, plan).run() if trials else None
        main = plan.main(plan.course, plan.taught) if searched is None else plan.main_of(searched.winner)
        seeds = (main, *plan.repeats(main))
        pairs = [_pair(runner, stage) for stage in seeds]
        singles = train_baselines(runner, seeds, seeds[-1].offset + seeds[-1].runs * main.schooling().steps)
        results = [
            *([probed] if probed else ()),
            *(searched.results if searched else ()),
            *(result for pair in pairs for result in pair),
            *(result for by_task in singles for result in by_task.values()),
        ]
        result, repeats = pairs[0][0], [_joined(pair) for pair in pairs[1:]]
        together = searched.seconds if searched else 0.0
        self._seconds["training"] = together + sum(each.seconds for each in results)
        control = _joined(pairs[0]).members.get("control")
        if searched is not None and searched.control is not None:
            control = searched.control
        micro = runner.shortage.applied(main).training.micro_batch_size
        student = result.members["student"]
        return Trained(
            order=self._order,
            spec=self._spec,
            course=main.course,
            dataset=runner.dataset,
            faculty=faculty,
            taught=main.taught,
            student=student,
            control=control,
            peers=tuple(settled for name, settled in result.members.items() if name.startswith("peer-")),
            repeats=tuple((each.members["student"], each.members.get("control")) for each in repeats),
            baselines=tuple(_baselines(by_task) for by_task in singles),
            search=searched.report if searched else None,
            measured=self._measured(main, probed, result),
            precision=result.precision,
            micro_batch_size=micro,
            exact_accumulation=micro is None or not student.network.has_batch_norm,
            bit_exact=all(each.bit_exact for each in results) and (searched is None or searched.bit_exact),
            targets=_with_views(targets, faculty),
            warnings=self._warnings,
            device=self._device,
            seconds=self._seconds,
        )


def _pair(runner: StageRunner, stage: Stage) -> list[StageResult]:
    """A stage; and its control's own, where it has one."""
    alone = stage.control_alone
    if alone is None:
        return [runner.run(stage)]
    return [runner.run(replace(stage, control=False)), runner.run(alone)]


def _joined(pair: list[StageResult]) -> StageResult:
    """Student and control together, whichever stage they are from."""
    members = {name: settled for result in pair for name, settled in result.members.items()}
    return replace(pair[0], members=members)


def _baselines(by_task: dict[str, StageResult]) -> dict[str, Settled]:
    return {task: result.members["control"] for task, result in by_task.items()}


def store_of(spec: Spec) -> StoreSpec:
    """How a job keeps its teachers' outputs."""
    return StoreSpec() if isinstance(spec, TrainJob) else spec.store


def prepared_inputs(spec: Spec, dataset: Dataset, device: torch.device) -> tuple[Inputs, ViewPlan | None]:
    """What networks of ours are fed, and how training rows are seen. Seeds and searches change neither."""
    name = next(iter(dataset.inputs))
    transform, views = dataset.transforms[name], spec.training.views
    inputs = Inputs.prepare(dataset.inputs[name], transform, device)
    shape = course_of(spec).architecture.input_shape
    if views is None or shape is None:
        return inputs, None
    rows = dataset.splits["train"]
    if folds_of(spec) is not None:
        rows = torch.cat([rows, dataset.splits.get("validation", rows[:0])])
    return inputs, ViewPlan.of(views, inputs, rows, shape, transform)


def _with_views(targets: list[dict[str, Any]], faculty: Faculty) -> list[dict[str, Any]]:
    """Where teachers ran for views too, the passes of this attempt."""
    if faculty.plan is None:
        return targets
    return [use.model_dump(mode="json") for use in faculty.uses.values()]


@dataclass
class _Searched:
    winner: Candidate
    control: Settled | None
    report: SearchReport
    results: list[StageResult]
    seconds: float
    """Of candidates that trained as one step."""
    bit_exact: bool
    """Of those."""


class _Search:
    """Trains every candidate without a control, and as many controls; the validation rows choose."""

    def __init__(self, runner: StageRunner, plan: Plan) -> None:
        self._runner = runner
        self._plan = plan
        self._results: list[StageResult] = []
        self._seconds = 0.0
        self._bit_exact = True

    def run(self) -> _Searched:
        """The winner, the best control, and the whole curve."""
        plan = self._plan
        rows = plan.judges()
        by_fold = [self._fold(f"search-fold-{i}" if len(rows) > 1 else "search", *fold) for i, fold in enumerate(rows)]
        scores = [list(each) for each in zip(*by_fold, strict=True)]
        means = [sum(each) / len(each) for each in scores]
        best = means.index(max(means))
        trials = tuple(
            Trial(values=candidate.values, score=mean, folds=tuple(each) if len(each) > 1 else ())
            for candidate, mean, each in zip(plan.trials, means, scores, strict=True)
        )
        controls = [self._settled(stage, "control") for stage in plan.controls()]
        control = max(controls, key=lambda settled: settled.score or 0.0) if controls else None
        report = SearchReport(
            trials=trials,
            chosen=best,
            folds=folds_of(plan.spec),
            controls=tuple(settled.score or 0.0 for settled in controls),
        )
        return _Searched(plan.trials[best], control, report, self._results, self._seconds, self._bit_exact)

    def _fold(self, name: str, train: Tensor, validation: Tensor) -> list[float]:
        """Every candidate's score on some validation rows: trained as one step where that is possible."""
        stages = self._plan.candidates(name, train, validation)
        together = [replace(stage, offset=self._plan.offset) for stage in stages]
        found = self._runner.run_together(name, together)
        if found is None:
            return [self._settled(stage, "student").score or 0.0 for stage in stages]
        self._plan.offset += len(stages) * stages[0].schooling().steps
        self._seconds += found.seconds
        self._bit_exact = self._bit_exact and found.bit_exact
        return found.scores

    def _settled(self, stage: Stage, member: str) -> Settled:
        result = self._runner.run(replace(stage, offset=self._plan.offset))
        self._plan.offset += stage.schooling().steps
        self._results.append(result)
        return result.members[member]
