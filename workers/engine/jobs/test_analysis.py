"""Analysis of the test rows of a trained job: metrics by class, calibration, robustness; each for teacher, student and
control.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from app.contracts.base import digest_of
from app.contracts.reports.report import PerClass, ReliabilityBin, Robustness
from app.contracts.resources.manifests import MapOutput, PositionOutput
from workers.engine.common.eval_mode import evaluating
from workers.engine.data.dataset import TargetColumn
from workers.engine.data.transform import apply
from workers.engine.evaluation.metrics.outputs import PartyOutputs, mean_outputs
from workers.engine.evaluation.metrics.per_class import per_class
from workers.engine.evaluation.metrics.reliability import reliability
from workers.engine.evaluation.parties import EvaluatedTask
from workers.engine.evaluation.robustness.corrupted_rows import PredictRaw, measure_robustness
from workers.engine.evaluation.robustness.corruptions import value_range
from workers.engine.jobs.load import digest_of_rows
from workers.engine.jobs.trained import Trained
from workers.engine.models import Network

Parties = dict[str, PartyOutputs]
MAX_CORRUPTED_ROWS = 2048
"""Maximum number of test rows for robustness, as each corruption costs a pass of every party."""

_SEED = 0
"""Of the corruptions, whatever the seed of the training: jobs on the same rows can be compared."""


@dataclass(frozen=True)
class TestAnalysis:
    """The results of the analysis, by task."""

    per_class: dict[str, tuple[PerClass, ...]] = field(default_factory=dict)
    reliability: dict[str, dict[str, tuple[ReliabilityBin, ...]]] = field(default_factory=dict)
    robustness: dict[str, tuple[Robustness, ...]] = field(default_factory=dict)


def analyse_test_rows(trained: Trained, tasks: Sequence[EvaluatedTask]) -> TestAnalysis:
    """Analyse the test rows; the result is empty without a test split. Raises Stopped."""
    rows = trained.data.split("test")
    analysis = TestAnalysis()
    if len(rows) == 0:
        return analysis
    student = trained.outputs_of(trained.student)(rows)
    control = trained.outputs_of(trained.control)(rows) if trained.control is not None else None
    for task in tasks:
        if task.target is None or not bool(task.target.labelled[rows].any()):
            continue
        parties = _parties(task, student, control, rows)
        if task.spec.kind == "class":
            labels = task.target.values[rows]
            analysis.per_class[task.name] = per_class(parties, labels)
            analysis.reliability[task.name] = {name: _reliability(party, labels) for name, party in parties.items()}
        if isinstance(task.spec, PositionOutput):
            overlap = isinstance(task.spec, MapOutput)
            labels = task.target.values[rows]
            analysis.per_class[task.name] = _per_class_of_positions(parties, labels, overlap=overlap)
    if (control is not None or any(task.teachers for task in tasks)) and not_corruptible(trained) is None:
        corrupted = rows_to_corrupt(rows, len(trained.data.dataset.sources))
        analysis.robustness.update(_robustness(trained, tasks, corrupted))
    return analysis


def not_corruptible(trained: Trained) -> str | None:
    """Why robustness is not measured: noise makes rows that a teacher of integer inputs does not take, and no text."""
    if trained.data.dataset.tokens:
        return "its corruptions are noise and erased places, which no text has"
    models = trained.teachers.order.models
    own = sorted(models[key].manifest.name for key in trained.teachers.opened if trained.teachers.reads_files(key))
    if own:
        return f"the teacher `{own[0]}` reads files by its own `form`, and corrupted rows are none"
    whole = sorted(
        models[key].manifest.name
        for key in trained.teachers.opened
        if (facts := models[key].facts) is not None and facts.reads_whole_numbers
    )
    return f"the teacher `{whole[0]}` reads whole numbers, and corrupted rows have others" if whole else None


def rows_to_corrupt(rows: Tensor, datasets: int) -> Tensor:
    """The first rows; with several datasets evenly spaced ones, so that each has its share."""
    if datasets == 1 or len(rows) <= MAX_CORRUPTED_ROWS:
        return rows[:MAX_CORRUPTED_ROWS]
    return rows[torch.arange(MAX_CORRUPTED_ROWS) * len(rows) // MAX_CORRUPTED_ROWS]


def _parties(
    task: EvaluatedTask, student: Mapping[str, Tensor], control: Mapping[str, Tensor] | None, rows: Tensor
) -> Parties:
    """Teacher (the weighted mean of several), student and control on one task."""
    parties: Parties = {}
    if task.teachers:
        outputs = [PartyOutputs.of_teacher(teacher.outputs(rows), teacher.spec) for teacher in task.teachers]
        parties["teacher"] = mean_outputs(outputs, [teacher.weight for teacher in task.teachers])
    parties["student"] = PartyOutputs(student[task.name], task.spec)
    if control is not None:
        parties["control"] = PartyOutputs(control[task.name], task.spec)
    return parties


def _per_class_of_positions(parties: Parties, labels: Tensor, *, overlap: bool) -> tuple[PerClass, ...]:
    """Each labelled token or pixel counts as a row."""
    known = labels >= 0
    by_position = {name: party.of_positions(known) for name, party in parties.items()}
    return per_class(by_position, labels[known].long(), overlap=overlap)


def _reliability(party: PartyOutputs, labels: Tensor) -> tuple[ReliabilityBin, ...]:
    """The diagram of the rows that the party has outputs for."""
    known = party.positions
    return reliability(party.values[known], party.spec, labels[known])


def _robustness(trained: Trained, tasks: Sequence[EvaluatedTask], rows: Tensor) -> dict[str, tuple[Robustness, ...]]:
    raw = trained.data.dataset.raw
    low, high = value_range(raw, trained.data.split("train"))
    targets = {task.name: task.target for task in tasks if task.target is not None}
    check = trained.job.check_stop

    def measure(
        parties: Mapping[str, PredictRaw], of: Mapping[str, TargetColumn] = targets
    ) -> dict[str, tuple[Robustness, ...]]:
        return measure_robustness(parties, of, raw, rows, _SEED, low, high, check)

    students = {"student": _network(trained, trained.student.network, tasks)}
    if trained.control is not None:
        students["control"] = _network(trained, trained.control.network, tasks)
    teachers = [teacher for task in tasks for teacher in task.teachers]
    if not teachers or any(teacher.key not in trained.teachers.opened for teacher in teachers):
        return measure(students)
    taught = {task.name: targets[task.name] for task in tasks if task.teachers and task.target is not None}
    of_teachers = trained.figures.measured(
        _facts_of_teachers(trained, tasks, rows, torch.stack([low, high])),
        lambda: _as_json(measure({"teacher": _teachers(trained, tasks)}, taught)),
    )
    return {task: _beside(of_teachers.get(task, []), entries) for task, entries in measure(students).items()}


def _as_json(measured: Mapping[str, Sequence[Robustness]]) -> dict[str, list[dict[str, Any]]]:
    return {task: [each.model_dump(mode="json") for each in entries] for task, entries in measured.items()}


def _beside(of_teachers: Sequence[Mapping[str, Any]], entries: Sequence[Robustness]) -> tuple[Robustness, ...]:
    """The figures of students with those of teachers, which have the same corruptions in the same order."""
    parties: list[Mapping[str, float | None]] = [each["parties"] for each in of_teachers] or [{}] * len(entries)
    return tuple(
        each.model_copy(update={"parties": {**teacher, **each.parties}})
        for teacher, each in zip(parties, entries, strict=True)
    )


def _facts_of_teachers(
    trained: Trained, tasks: Sequence[EvaluatedTask], rows: Tensor, ends: Tensor
) -> dict[str, Any] | None:
    """What the teachers' figures on corrupted rows depend on. What each teaches on these rows stands for the choice and
    order of its classes.
    """
    taught = [
        {
            "teacher": trained.facts_of_teacher(teacher.key, "robustness"),
            "task": [task.name, task.spec.model_dump(mode="json")],
            "output": [teacher.output, teacher.weight, teacher.spec.model_dump(mode="json")],
            "values": digest_of_rows(teacher.outputs(rows), torch.arange(len(rows))),
            "labels": None if task.target is None else digest_of_rows(task.target.values, rows),
        }
        for task in tasks
        for teacher in task.teachers
    ]
    if any(each["teacher"] is None for each in taught):
        return None
    where = {"rows": digest_of(rows.tolist()), "ends": digest_of(ends.tolist())}
    return {**where, "seed": _SEED, "taught": taught}


def _network(trained: Trained, network: Network, tasks: Sequence[EvaluatedTask]) -> PredictRaw:
    def predict(raw: Tensor) -> dict[str, PartyOutputs]:
        with evaluating(network):
            outputs = network(apply(trained.data.select(raw).to(trained.job.device), trained.data.transform))
        return {task.name: PartyOutputs(outputs[task.name].float().cpu(), task.spec) for task in tasks}

    return predict


def _teachers(trained: Trained, tasks: Sequence[EvaluatedTask]) -> PredictRaw:
    def predict(raw: Tensor) -> dict[str, PartyOutputs]:
        outputs = {key: teacher.predict(raw) for key, teacher in trained.teachers.opened.items()}
        return {
            task.name: mean_outputs(
                [PartyOutputs(each.taught(outputs[each.key][each.output].cpu()), each.spec) for each in task.teachers],
                [each.weight for each in task.teachers],
            )
            for task in tasks
            if task.teachers
        }

    return predict
