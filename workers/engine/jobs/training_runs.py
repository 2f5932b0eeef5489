"""Executes the runs of a training job: estimate of R, search, student, further seeds, baselines."""

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import cache, partial

from app.contracts.problems import UserError
from app.contracts.reports.report import TargetUse
from app.contracts.resolving.recipe.weak_teacher import for_weak_teachers
from app.contracts.wire.events import WarningEvent
from workers.engine.balancing.relation.estimate import LEAST
from workers.engine.common.files import read_document, write_document
from workers.engine.evaluation.relation_report import RelationMeasurements
from workers.engine.evaluation.verdict.repeats import verdict_over_repeats
from workers.engine.jobs.baselines.planning import train_baselines
from workers.engine.jobs.job import Job
from workers.engine.jobs.load import JobData
from workers.engine.jobs.plan import Plan
from workers.engine.jobs.runs.beside import trains_beside_controls
from workers.engine.jobs.runs.decisions import Decisions
from workers.engine.jobs.runs.results import RunResult, TrainedModel
from workers.engine.jobs.runs.run import Run
from workers.engine.jobs.runs.runner import Runner
from workers.engine.jobs.runs.seeds import ControlOf, RunOf, SeedRuns, Seeds, WeightsByControls
from workers.engine.jobs.runs.weak_teachers import tasks_to_compare, weaker_teachers
from workers.engine.jobs.search import candidates
from workers.engine.jobs.search_runner import Searched, scorings, search
from workers.engine.jobs.trained import Trained
from workers.engine.tasks.build import BuiltTask, build_tasks, initial_weights, pretrained_weights, with_weights
from workers.engine.tasks.run_spec import RunSpec
from workers.engine.teachers.teachers import Teachers


class TrainingRuns:
    """The runs of a job. Its constructor runs the teachers, or loads their outputs from the store."""

    def __init__(self, job: Job, data: JobData, teachers: Teachers) -> None:
        self._job = job
        self._data = data
        self._teachers = teachers
        trials = candidates(job.spec)
        run_spec = RunSpec.of(trials[0].spec if trials else job.spec)
        tasks = build_tasks(run_spec, teachers, job.emit)
        self._first_uses = self._uses_of_first_attempt()
        start = initial_weights(run_spec, teachers)
        pretrained = pretrained_weights(run_spec.architecture, job.order.models, tasks)
        chosen = job.chosen if job.compares_teachers else ()
        self._compared = tasks_to_compare(job.spec, chosen, tasks, data.dataset)
        first = bool(self._compared)
        plan = Plan(run_spec, tasks, data.dataset, trials, job.spec, self._build_tasks, start, 0, pretrained, first)
        self._runner = Runner(job.order, data, job.device, job.emit, job.stop)
        self._decisions = Decisions(job.checkpoints)
        beside = first and self._decisions.once("beside", lambda: trains_beside_controls(self._runner, *plan.first()))
        self._plan = replace(plan, beside_controls=beside)
        self._runner.steps = self._plan.steps

    def _build_tasks(self, run_spec: RunSpec) -> tuple[BuiltTask, ...]:
        """The tasks of a further run, without repeating the warnings about teachers."""
        return build_tasks(run_spec, self._teachers, lambda event: None)

    def run(self) -> Trained:
        """Execute all runs, or load the results of an earlier attempt. Raises Stopped and UserError."""
        runner, plan = self._runner, self._plan
        if plan.trials:
            scorings(plan)  # raises what would end the search before anything is trained
        probe_run = plan.probe()
        probe = runner.run(probe_run) if probe_run is not None else None
        if probe is not None:
            plan = plan.after_probe(probe)
            self._warn_of_few_measurements(probe.measured)
        searched = search(runner, plan) if plan.trials else None
        main = plan.main(plan.run_spec, plan.tasks) if searched is None else plan.main_of(searched.winner)
        run_of, control_of = _runs_of_seeds(plan, main)
        weights = self._weights(plan, main) if plan.controls_first else None
        seed_runs = SeedRuns(
            runner, run_of, control_of, self._is_undecided, self._decisions, weights, plan.beside_controls
        )
        for request in seed_runs.requests():
            with suppress(UserError) if request.is_trial else nullcontext():
                request.result = runner.run(request.run)
        seeds, main = seed_runs.seeds, seed_runs.run_of(0)
        with_baselines = [seed_runs.run_of(i) for i in range(main.run_spec.repeats)]
        runner.skip(plan.offset_after_seeds(main) - seed_runs.offset, seed_runs.offset, main.schedule().epochs)
        baselines = train_baselines(runner, with_baselines, seed_runs.offset)
        results = [
            *([probe] if probe else ()),
            *(searched.results if searched else ()),
            *seeds.results,
            *(result for by_task in baselines for result in by_task.values()),
        ]
        self._job.end_phase(sum(each.seconds for each in results) + (searched.seconds if searched else 0.0))
        return self._trained(
            main,
            searched,
            seeds,
            weakly_taught=frozenset(seed_runs.weaker),
            baselines=tuple({task: each.models["control"] for task, each in by_task.items()} for by_task in baselines),
            measured=self._measured(main, probe, seeds.students[0]),
            bit_exact=all(each.bit_exact for each in results) and (searched is None or searched.bit_exact),
        )

    def _weights(self, plan: Plan, main: Run) -> WeightsByControls:
        """The weights of a weak teacher where the controls say that a teacher is weak."""

        def runs(weaker: dict[str, str]) -> tuple[RunOf, ControlOf]:
            if not weaker:
                return _runs_of_seeds(plan, main)
            self._job.lower_weights(weaker)
            run_spec = RunSpec.of(for_weak_teachers(main.run_spec.spec, weaker))
            return _runs_of_seeds(plan, replace(main, run_spec=run_spec, tasks=with_weights(main.tasks, run_spec)))

        return WeightsByControls(partial(weaker_teachers, self._compared, main.tasks, self._data), runs)

    def _is_undecided(self, students: Sequence[TrainedModel], controls: Sequence[TrainedModel]) -> bool:
        """Whether the validation rows leave the difference of a task undecided, or say nothing."""
        rows = self._data.split("validation")
        if len(rows) == 0:
            return True
        ours, theirs = ([self._data.outputs_of(each.network)(rows) for each in group] for group in (students, controls))
        words = [
            verdict_over_repeats(
                [each[task.name] for each in ours], [each[task.name] for each in theirs], task.spec, task.target, rows
            ).verdict
            for task in (each.student for each in self._plan.tasks)
            if task.target is not None
        ]
        return not words or any(word in ("inconclusive", "not_applicable") for word in words)

    def _trained(
        self,
        main: Run,
        searched: Searched | None,
        seeds: Seeds,
        *,
        weakly_taught: frozenset[str],
        baselines: tuple[dict[str, TrainedModel], ...],
        measured: RelationMeasurements | None,
        bit_exact: bool,
    ) -> Trained:
        controls, result = tuple(seeds.controls), seeds.students[0]
        if searched is not None and searched.control is not None:
            controls = (searched.control, *controls)
        micro_batch_size = self._runner.memory_policy.applied(main).training.micro_batch_size
        return Trained(
            job=self._job,
            data=self._data,
            teachers=self._teachers,
            run_spec=main.run_spec,
            tasks=main.tasks,
            students=tuple(each.models["student"] for each in seeds.students),
            controls=controls,
            peers_by_seed=tuple(_peers(each) for each in seeds.students),
            baselines=baselines,
            search=searched.report if searched else None,
            weakly_taught=weakly_taught,
            measured=measured,
            precision=result.precision,
            micro_batch_size=micro_batch_size,
            exact_accumulation=micro_batch_size is None or not result.models["student"].network.has_batch_norm,
            bit_exact=bit_exact,
            targets=self._uses(),
        )

    def _uses_of_first_attempt(self) -> list[TargetUse]:
        """How the first attempt obtained the targets; later attempts find them in the store."""
        path = self._job.checkpoints / "targets.json"
        document = read_document(path)
        if document is not None:
            return [TargetUse.model_validate(use) for use in document]
        uses = list(self._teachers.uses.values())
        write_document(path, [use.model_dump(mode="json") for use in uses])
        return uses

    def _uses(self) -> list[TargetUse]:
        """The uses of the first attempt, but of this one with augmentation, where teachers run in every epoch."""
        return self._first_uses if self._data.augmentation is None else list(self._teachers.uses.values())

    def _measured(self, main: Run, probe: RunResult | None, student: RunResult) -> RelationMeasurements | None:
        relation = main.run_spec.relation
        if probe is None and relation is not None and relation.follows is not None:
            self._warn_of_few_measurements(student.measured)
        return (probe or student).measured

    def _warn_of_few_measurements(self, measured: RelationMeasurements | None) -> None:
        count = measured["measured"] if measured is not None else 0
        if count < LEAST:
            message = (
                f"the tasks' gradients were measured {count} times, and an estimate needs {LEAST}: the "
                "identity is used as R; set a smaller `relation.every`, or train for more steps"
            )
            self._job.emit(WarningEvent(code="relation_not_measured", message=message))


def _runs_of_seeds(plan: Plan, main: Run) -> tuple[RunOf, ControlOf]:
    """(run of a seed by its index, that of its control by itself)."""
    return cache(partial(plan.seed, main)), partial(plan.control_of_seed, main)


def _peers(result: RunResult) -> tuple[TrainedModel, ...]:
    return tuple(model for name, model in result.models.items() if name.startswith("peer-"))
