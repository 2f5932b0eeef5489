"""The runs of a training job, one after the other: a first run that estimates R, a search, the student, further
seeds, baselines.
"""

from typing import Any

from app.contracts.wire.events import WarningEvent
from workers.engine.balancing.relation.estimate import LEAST
from workers.engine.common.files import read_document, write_document
from workers.engine.jobs.baselines.planning import train_baselines
from workers.engine.jobs.job import Job
from workers.engine.jobs.load import JobData
from workers.engine.jobs.plan import Plan
from workers.engine.jobs.runs.results import RunResult, TrainedModel
from workers.engine.jobs.runs.run import Run
from workers.engine.jobs.runs.runner import Runner
from workers.engine.jobs.search import candidates
from workers.engine.jobs.search_runner import Searched, search
from workers.engine.jobs.trained import Trained
from workers.engine.tasks.build import BuiltTask, build_tasks, starting_weights
from workers.engine.tasks.run_spec import RunSpec
from workers.engine.teachers.teachers import Teachers


class TrainingRuns:
    """Built in the phase `teaching`: every teacher has run, or its outputs were found in the store."""

    def __init__(self, job: Job, data: JobData, teachers: Teachers) -> None:
        self._job = job
        self._data = data
        self._teachers = teachers
        trials = candidates(job.spec)
        run_spec = RunSpec.of(trials[0].spec if trials else job.spec)
        tasks = build_tasks(run_spec, teachers, job.emit)
        self._targets = self._first_uses()
        start = starting_weights(run_spec, teachers)
        self._plan = Plan(run_spec, tasks, data.dataset, trials, job.spec, self._build_again, start)
        self._runner = Runner(job.order, data, job.device, job.emit, job.stop, steps=self._plan.steps)

    def _build_again(self, run_spec: RunSpec) -> tuple[BuiltTask, ...]:
        """Tasks of another run of the same job: warnings about its teachers were given."""
        return build_tasks(run_spec, self._teachers, lambda event: None)

    def run(self) -> Trained:
        """Train everything, or take what an earlier attempt finished. Raises Stopped and UserError."""
        runner, plan = self._runner, self._plan
        first = plan.probe()
        probed = runner.run(first) if first is not None else None
        if probed is not None:
            plan = plan.after(probed)
            self._warn_of_few_measurements(probed.measured)
        searched = search(runner, plan) if plan.trials else None
        main = plan.main(plan.run_spec, plan.tasks) if searched is None else plan.main_of(searched.winner)
        seeds = (main, *plan.repeats(main))
        by_seed: list[list[RunResult]] = []
        for seed in seeds:
            by_seed.append([])
            for part in seed.parts:
                by_seed[-1].append(runner.run(part))
        singles = train_baselines(runner, seeds, seeds[-1].offset + len(seeds[-1].parts) * main.schedule().steps)
        results = [
            *([probed] if probed else ()),
            *(searched.results if searched else ()),
            *(result for of_seed in by_seed for result in of_seed),
            *(result for by_task in singles for result in by_task.values()),
        ]
        self._job.end_phase(sum(each.seconds for each in results) + (searched.seconds if searched else 0.0))
        student = by_seed[0][0]
        return self._trained(
            main,
            searched,
            by_seed,
            baselines=tuple({task: each.models["control"] for task, each in by_task.items()} for by_task in singles),
            measured=self._measured(main, probed, student),
            bit_exact=all(each.bit_exact for each in results) and (searched is None or searched.bit_exact),
        )

    def _trained(
        self,
        main: Run,
        searched: Searched | None,
        by_seed: list[list[RunResult]],
        *,
        baselines: tuple[dict[str, TrainedModel], ...],
        measured: dict[str, Any] | None,
        bit_exact: bool,
    ) -> Trained:
        models, result = _models(by_seed[0]), by_seed[0][0]
        repeats = [_models(results) for results in by_seed[1:]]
        control = models.get("control")
        if searched is not None and searched.control is not None:
            control = searched.control
        micro = self._runner.memory_policy.applied(main).training.micro_batch_size
        student = models["student"]
        return Trained(
            job=self._job,
            data=self._data,
            teachers=self._teachers,
            run_spec=main.run_spec,
            tasks=main.tasks,
            student=student,
            control=control,
            peers=tuple(model for name, model in result.models.items() if name.startswith("peer-")),
            repeats=tuple((each["student"], each.get("control")) for each in repeats),
            baselines=baselines,
            search=searched.report if searched else None,
            measured=measured,
            precision=result.precision,
            micro_batch_size=micro,
            exact_accumulation=micro is None or not student.network.has_batch_norm,
            bit_exact=bit_exact,
            targets=self._uses(),
        )

    def _first_uses(self) -> list[dict[str, Any]]:
        """How the targets came to be in the first attempt: a later one finds in the store what that one made."""
        path = self._job.checkpoints / "targets.json"
        uses: list[dict[str, Any]] | None = read_document(path)
        if uses is None:
            uses = [use.model_dump(mode="json") for use in self._teachers.uses.values()]
            write_document(path, uses)
        return uses

    def _uses(self) -> list[dict[str, Any]]:
        """With augmented rows teachers run in every epoch: then the passes of this attempt."""
        if self._data.augmentation is None:
            return self._targets
        return [use.model_dump(mode="json") for use in self._teachers.uses.values()]

    def _measured(self, main: Run, probed: RunResult | None, student: RunResult) -> dict[str, Any] | None:
        relation = main.run_spec.relation
        if probed is None and relation is not None and relation.follows is not None:
            self._warn_of_few_measurements(student.measured)
        return (probed or student).measured

    def _warn_of_few_measurements(self, measured: dict[str, Any] | None) -> None:
        count = measured["measured"] if measured is not None else 0
        if count < LEAST:
            message = (
                f"the tasks' gradients were measured {count} times, and an estimate needs {LEAST}: every task was "
                "taken to teach itself alone; set a smaller `relation.every`, or train for more steps"
            )
            self._job.emit(WarningEvent(code="relation_not_measured", message=message))


def _models(results: list[RunResult]) -> dict[str, TrainedModel]:
    """Student and control together, whichever run they are from."""
    return {name: model for result in results for name, model in result.models.items()}
