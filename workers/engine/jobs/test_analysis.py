"""An analysis of the test rows once a job is trained: verdicts over repeats, classes one by one, calibration, and
quality on disturbed rows, each for teacher, student and control.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from app.contracts.reports.report import PerClass, ReliabilityBin, Robustness, Verdict
from workers.engine.common.eval_mode import evaluating
from workers.engine.data.transform import apply
from workers.engine.evaluation.metrics.outputs import PartyOutputs, mean_answers
from workers.engine.evaluation.metrics.per_class import per_class
from workers.engine.evaluation.metrics.reliability import reliability
from workers.engine.evaluation.parties import EvaluatedTask
from workers.engine.evaluation.robustness.corruptions import value_range
from workers.engine.evaluation.robustness.disturbed import Answering, robustness
from workers.engine.evaluation.verdict.repeats import judge_repeats
from workers.engine.jobs.trained import Trained
from workers.engine.models import Network

Parties = dict[str, PartyOutputs]
MOST_DISTURBED_ROWS = 2048
"""Every disturbance costs a pass of every party: that many test rows at most."""


@dataclass(frozen=True)
class TestAnalysis:
    """What the analysis of the test rows found, by task."""

    verdict: dict[str, Verdict] = field(default_factory=dict)
    per_class: dict[str, tuple[PerClass, ...]] = field(default_factory=dict)
    reliability: dict[str, dict[str, tuple[ReliabilityBin, ...]]] = field(default_factory=dict)
    robustness: dict[str, tuple[Robustness, ...]] = field(default_factory=dict)


def analyse_test_rows(trained: Trained, tasks: Sequence[EvaluatedTask]) -> TestAnalysis:
    """Analyse the test rows; nothing without a test split. Raises Stopped."""
    rows = trained.data.split("test")
    found = TestAnalysis()
    if len(rows) == 0:
        return found
    student = trained.outputs_of(trained.student)(rows)
    control = trained.outputs_of(trained.control)(rows) if trained.control is not None else None
    for task in tasks:
        if task.target is None or not bool(task.target.labelled[rows].any()):
            continue
        parties = _parties(task, student, control, rows)
        if task.spec.kind == "class":
            labels = task.target.values[rows]
            found.per_class[task.name] = per_class(parties, labels)
            found.reliability[task.name] = {
                name: reliability(said.values, said.spec, labels) for name, said in parties.items()
            }
    _judge_repeats(trained, tasks, student, control, rows, found)
    if control is not None or any(task.teachers for task in tasks):
        found.robustness.update(_robustness(trained, tasks, disturbed_rows(rows, len(trained.data.dataset.sources))))
    return found


def disturbed_rows(rows: Tensor, datasets: int) -> Tensor:
    """The first rows; of several datasets rows of each, in proportion."""
    if datasets == 1 or len(rows) <= MOST_DISTURBED_ROWS:
        return rows[:MOST_DISTURBED_ROWS]
    return rows[torch.arange(MOST_DISTURBED_ROWS) * len(rows) // MOST_DISTURBED_ROWS]


def _parties(
    task: EvaluatedTask, student: Mapping[str, Tensor], control: Mapping[str, Tensor] | None, rows: Tensor
) -> Parties:
    """Teacher (the weighted mean of several), student and control on one task."""
    found: Parties = {}
    if task.teachers:
        said = [PartyOutputs(by.outputs(rows), by.spec) for by in task.teachers]
        found["teacher"] = mean_answers(said, [by.weight for by in task.teachers])
    found["student"] = PartyOutputs(student[task.name], task.spec)
    if control is not None:
        found["control"] = PartyOutputs(control[task.name], task.spec)
    return found


def _judge_repeats(
    trained: Trained,
    tasks: Sequence[EvaluatedTask],
    student: Mapping[str, Tensor],
    control: Mapping[str, Tensor] | None,
    rows: Tensor,
    found: TestAnalysis,
) -> None:
    if not trained.repeats or control is None:
        return
    students = [student, *(trained.outputs_of(each)(rows) for each, _ in trained.repeats)]
    controls = [control, *(trained.outputs_of(each)(rows) for _, each in trained.repeats if each is not None)]
    for task in tasks:
        if task.target is not None and bool(task.target.labelled[rows].any()):
            found.verdict[task.name] = judge_repeats(
                [each[task.name] for each in students],
                [each[task.name] for each in controls],
                task.spec,
                task.target,
                rows,
            )


def _robustness(trained: Trained, tasks: Sequence[EvaluatedTask], rows: Tensor) -> dict[str, tuple[Robustness, ...]]:
    raw = trained.data.dataset.inputs[trained.data.input_name]
    low, high = value_range(raw[trained.data.split("train")])
    parties: dict[str, Answering] = {}
    if all(by.key in trained.teachers.opened for task in tasks for by in task.teachers) and any(
        task.teachers for task in tasks
    ):
        parties["teacher"] = _teachers(trained, tasks)
    parties["student"] = _network(trained, trained.student.network, tasks)
    if trained.control is not None:
        parties["control"] = _network(trained, trained.control.network, tasks)
    targets = {task.name: task.target for task in tasks if task.target is not None}
    seed, check = trained.run_spec.training.seed, trained.job.check_stop
    return robustness(parties, targets, raw, rows, seed, low, high, check)


def _network(trained: Trained, network: Network, tasks: Sequence[EvaluatedTask]) -> Answering:
    def answering(raw: Tensor) -> dict[str, PartyOutputs]:
        with evaluating(network):
            said = network(apply(raw.to(trained.job.device), trained.data.transform))
        return {task.name: PartyOutputs(said[task.name].float().cpu(), task.spec) for task in tasks}

    return answering


def _teachers(trained: Trained, tasks: Sequence[EvaluatedTask]) -> Answering:
    teachers = trained.teachers

    def answering(raw: Tensor) -> dict[str, PartyOutputs]:
        said = {key: teacher.predict(raw) for key, teacher in teachers.opened.items()}
        return {
            task.name: mean_answers(
                [PartyOutputs(said[by.key][by.output].cpu(), by.spec) for by in task.teachers],
                [by.weight for by in task.teachers],
            )
            for task in tasks
            if task.teachers
        }

    return answering
