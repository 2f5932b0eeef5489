"""Evaluation of a trained job: predictions, metrics, verdicts, analysis of the test rows, costs."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from app.contracts.layouts.summary import parameter_count
from app.contracts.reports.baselines import BaselineReport
from app.contracts.reports.report import Latency
from app.contracts.resources.splits import SplitName
from workers.engine.common.eval_mode import evaluating
from workers.engine.data.transform import apply
from workers.engine.evaluation.cost.flops import count_flops
from workers.engine.evaluation.cost.latency import Timed, measure_latencies
from workers.engine.evaluation.evaluate import Evaluation, Networks, evaluate
from workers.engine.evaluation.metrics.task_metrics import Metrics
from workers.engine.evaluation.parties import EvaluatedTask, QuantizedOutputs
from workers.engine.evaluation.predictions import PredictionsFiles
from workers.engine.evaluation.report import Cost, TeacherPart
from workers.engine.evaluation.verdict.by_seed import figures_by_seed
from workers.engine.evaluation.verdict.negative_transfer import negative_transfer
from workers.engine.evaluation.warnings.found import Ended, Learned, warnings_of
from workers.engine.jobs.baselines.comparing import compare, outputs_of_baselines
from workers.engine.jobs.test_analysis import TestAnalysis, analyse_test_rows, not_corruptible
from workers.engine.jobs.trained import Trained
from workers.engine.teachers.teacher import Teacher
from workers.engine.training.updates.lr_schedules import factor

_EXAMPLES = 64
"""Number of rows on which latency is measured."""
_NEARLY_ZERO = 0.01
"""Last learning rate, as a share of the highest, up to which a schedule ends at 0."""


@dataclass(frozen=True)
class Evaluated:
    """The results of the evaluation, and the costs of teachers and student."""

    tasks: list[EvaluatedTask]
    evaluation: Evaluation
    predictions: tuple[SplitName, ...]
    """The splits with a predictions file."""
    analysis: TestAnalysis
    baselines: BaselineReport | None
    seeds: dict[str, tuple[Metrics, ...]]
    """The metrics of each seed's student by task; empty where there is one seed."""
    teachers: list[TeacherPart]
    cost: Cost
    """The cost of the student, and of its control, which has the same architecture."""


def evaluate_trained(trained: Trained, quantized: QuantizedOutputs) -> Evaluated:
    """Evaluate teachers, student, its quantized files, control and baselines, and write the predictions files. Raises
    Stopped.
    """
    tasks = [each.evaluated for each in trained.tasks]
    evaluation, predictions = _evaluation(trained, tasks, quantized)
    baselines = compare(trained, tasks, evaluation)
    for warning in negative_transfer(baselines, trained.measured):
        trained.job.emit(warning)
    students = [trained.outputs_of(each) for each in trained.students]
    seeds = figures_by_seed(tasks, students, trained.data.split("test"))
    analysis = analyse_test_rows(trained, tasks)
    reason = not_corruptible(trained)
    if reason is not None:
        evaluation.not_measured["robustness"] = reason
    for warning in warnings_of(_ended(trained, tasks, evaluation)):
        trained.job.emit(warning)
    teachers, cost = _costs(trained)
    return Evaluated(tasks, evaluation, predictions, analysis, baselines, seeds, teachers, cost)


def _ended(trained: Trained, tasks: list[EvaluatedTask], evaluation: Evaluation) -> Ended:
    training = trained.run_spec.training
    models = {"student": trained.student, "control": trained.control}
    return Ended(
        tasks=tasks,
        learners=[
            Learned(name, model.history, trained.outputs_of(model))
            for name, model in models.items()
            if model is not None
        ],
        controls=[trained.outputs_of(each) for each in trained.controls[: trained.run_spec.repeats]],
        weighed=trained.weakly_taught,
        splits=trained.data.dataset.splits,
        ends_at_zero=training.early_stopping is None and factor(training.schedule, 1.0) <= _NEARLY_ZERO,
        by_score=training.select_by not in ("loss", "last"),
        constants=evaluation.constants,
    )


def _evaluation(
    trained: Trained, tasks: list[EvaluatedTask], quantized: QuantizedOutputs
) -> tuple[Evaluation, tuple[SplitName, ...]]:
    """(evaluation, splits with predictions)."""
    dataset = trained.data.dataset
    networks = Networks(
        [trained.outputs_of(each) for each in trained.students],
        [trained.outputs_of(each) for each in trained.controls],
        trained.exported,
        trained.exported_control,
        outputs_of_baselines(trained),
        quantized,
    )
    firsts = [source.first for source in dataset.sources] if len(dataset.sources) > 1 else ()
    with PredictionsFiles(trained.job.outputs, firsts) as predictions:
        evaluation = evaluate(tasks, networks, dataset.splits, predictions, trained.job.check_stop)
    return evaluation, predictions.splits


def _costs(trained: Trained) -> tuple[list[TeacherPart], Cost]:
    """(the teachers with their costs, the cost of the student)."""
    network, opened = trained.student.network, trained.teachers.opened
    rows = apply(trained.data.raw[:_EXAMPLES].to(trained.job.device), trained.data.transform)
    trained.job.check_stop()
    parts = [
        _teacher_part(trained, key, opened[key])
        if key in opened
        else TeacherPart(key=key, name=trained.teachers.uses[key].teacher)
        for key in trained.teachers.uses
    ]
    with evaluating(network):
        timed = {None: Timed(network, rows)}
        latency = measure_latencies(timed, trained.job.device, trained.job.check_stop)[None]
    flops = count_flops(network, rows[:1])
    return parts, Cost(parameters=parameter_count(network.architecture), flops=flops, latency=latency)


def _teacher_part(trained: Trained, key: str, teacher: Teacher) -> TeacherPart:
    facts = trained.facts_of_teacher(key, "cost", threads=trained.job.order.threads)
    figures = trained.figures.measured(facts, partial(_cost_of, trained, key, teacher), _is_steady)
    latency = {size: Latency(**each) for size, each in figures["latency"].items()}
    cost = Cost(parameters=teacher.parameters, bytes=teacher.bytes, flops=figures["flops"], latency=latency)
    model = trained.job.order.models[key].id
    return TeacherPart(key=key, name=teacher.name, cost=cost, model=model, digest=teacher.sha256)


def _cost_of(trained: Trained, key: str, teacher: Teacher) -> dict[str, Any]:
    """FLOPs and latencies of a teacher, as JSON."""
    prepared = teacher.prepare(trained.teachers.first_rows(key, _EXAMPLES))
    flops = count_flops(teacher.network, prepared[:1]) if teacher.network is not None else None
    timed = {key: Timed(teacher.forward, prepared)}
    latency = measure_latencies(timed, trained.job.device, trained.job.check_stop)[key]
    return {"flops": flops, "latency": {size: each.model_dump(mode="json") for size, each in latency.items()}}


def _is_steady(figures: dict[str, Any]) -> bool:
    """Whether the machine was quiet enough for later jobs to compare with these times."""
    return all(each["steady"] for each in figures["latency"].values())
