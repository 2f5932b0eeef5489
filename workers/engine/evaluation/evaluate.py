"""Evaluation at the end of a job: predictions of every party on all splits, and metrics on the test split.

The test split is used nowhere else.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from app.contracts.reports.report import Fidelity, Verdict
from app.contracts.resources.manifests import OutputSpec, SplitName, ValueOutput, VectorOutput
from workers.engine.data.dataset import TargetColumn
from workers.engine.evaluation.metrics.fidelity import fidelity
from workers.engine.evaluation.metrics.labels import reason_unmeasured
from workers.engine.evaluation.metrics.outputs import PartyOutputs, in_target_units, is_wide, mean_outputs
from workers.engine.evaluation.metrics.task_metrics import Metrics, party_metrics, task_metrics
from workers.engine.evaluation.parties import BLOCK, EvaluatedTask, Outputs
from workers.engine.evaluation.predictions import PredictionsFiles
from workers.engine.evaluation.verdict.judge import judge, not_applicable
from workers.engine.evaluation.warnings.constant import Comparison, compared


@dataclass(frozen=True)
class Evaluation:
    """Everything measured on the test split, by task; `teachers` in the order of the task's teachers."""

    student: dict[str, Metrics] = field(default_factory=dict)
    control: dict[str, Metrics] = field(default_factory=dict)
    baselines: dict[str, Metrics] = field(default_factory=dict)
    teachers: dict[str, tuple[Metrics, ...]] = field(default_factory=dict)
    fidelity: dict[str, Fidelity] = field(default_factory=dict)
    verdict: dict[str, Verdict] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)
    constants: dict[str, dict[str, Comparison]] = field(default_factory=dict)
    """Each party against a constant answer, by task and party; for warnings."""


def evaluate(
    tasks: Sequence[EvaluatedTask],
    student: Outputs,
    control: Outputs | None,
    splits: Mapping[SplitName, Tensor],
    predictions: PredictionsFiles,
    check: Callable[[], None] = lambda: None,
    baselines: Outputs | None = None,
) -> Evaluation:
    """Write the predictions of every split, and measure the test split.

    `splits` maps names to dataset rows (int64). `check` is called before every block and may raise. Without teachers
    (kind `train`) fidelity and verdict are empty. `baselines` gives outputs for the tasks that have a baseline.
    """
    test_blocks = []
    for split, rows in splits.items():
        for block in _blocks(tasks, student, control, baselines, rows, check):
            predictions.append(split, block.rows, _predictions(tasks, block))
            if split == "test":
                test_blocks.append(block)
    test = _concatenate(test_blocks) if test_blocks else None
    evaluation = _measure(tasks, test)
    for task in tasks:
        if test is not None and task.target is not None:
            evaluation.constants[task.name] = _constants(task, test, task.target, splits.get("train", test.rows[:0]))
    return evaluation


@dataclass(frozen=True)
class _Block:
    """The outputs of every party for some rows, by task; `control` is None without one."""

    rows: Tensor
    student: dict[str, Tensor]
    control: dict[str, Tensor] | None
    baselines: dict[str, Tensor]
    teachers: dict[str, tuple[Tensor, ...]]


def _blocks(
    tasks: Sequence[EvaluatedTask],
    student: Outputs,
    control: Outputs | None,
    baselines: Outputs | None,
    rows: Tensor,
    check: Callable[[], None],
) -> Iterator[_Block]:
    for part in torch.split(rows, BLOCK) if len(rows) else ():
        check()
        yield _Block(
            rows=part,
            student=dict(student(part)),
            control=dict(control(part)) if control is not None else None,
            baselines=dict(baselines(part)) if baselines is not None else {},
            teachers={task.name: tuple(by.outputs(part) for by in task.teachers) for task in tasks},
        )


def _concatenate(blocks: list[_Block]) -> _Block:
    first = blocks[0]
    controls = [block.control for block in blocks if block.control is not None]
    return _Block(
        rows=torch.cat([block.rows for block in blocks]),
        student={name: torch.cat([block.student[name] for block in blocks]) for name in first.student},
        control={name: torch.cat([part[name] for part in controls]) for name in controls[0]} if controls else None,
        baselines={name: torch.cat([block.baselines[name] for block in blocks]) for name in first.baselines},
        teachers={
            name: tuple(torch.cat(parts) for parts in zip(*(block.teachers[name] for block in blocks), strict=True))
            for name in first.teachers
        },
    )


def _mean_teacher(task: EvaluatedTask, block: _Block) -> PartyOutputs:
    """The weighted mean of a task's teachers."""
    return mean_outputs(_teacher_outputs(task, block), [by.weight for by in task.teachers])


def _teacher_outputs(task: EvaluatedTask, block: _Block) -> list[PartyOutputs]:
    """The outputs of each of a task's teachers."""
    pairs = zip(task.teachers, block.teachers[task.name], strict=True)
    return [PartyOutputs.of_teacher(values, by.spec) for by, values in pairs]


def _predictions(tasks: Sequence[EvaluatedTask], block: _Block) -> dict[str, dict[str, Tensor]]:
    """The columns of a predictions file for a block, by task and party."""
    by_task: dict[str, dict[str, Tensor]] = {}
    for task in tasks:
        parties = by_task.setdefault(task.name, {})
        if task.target is not None:
            parties["label"] = task.target.values[block.rows]
        if task.teachers:
            teacher = _mean_teacher(task, block)
            parties["teacher"] = _predicted(teacher.values, teacher.spec)
        parties["student"] = _predicted(block.student[task.name], task.spec)
        if block.control is not None:
            parties["control"] = _predicted(block.control[task.name], task.spec)
        if task.name in block.baselines:
            parties["baseline"] = _predicted(block.baselines[task.name], task.spec)
    return by_task


def _predicted(values: Tensor, spec: OutputSpec) -> Tensor:
    """Raw scores of classes and labels; values and vectors in the units of their labels."""
    if not isinstance(spec, ValueOutput | VectorOutput):
        return values
    numbers = in_target_units(values, spec)
    return numbers if is_wide(values, spec) else numbers.float()


def _measure(tasks: Sequence[EvaluatedTask], test: _Block | None) -> Evaluation:
    evaluation = Evaluation()
    rows = test.rows if test is not None else torch.empty(0, dtype=torch.int64)
    for task in tasks:
        reason = reason_unmeasured(task.name, "test", task.target, rows)
        if reason is not None:
            evaluation.not_measured[task.name] = reason
        elif test is not None:
            _measure_quality(task, test, evaluation)
        if test is not None and task.teachers:
            student = PartyOutputs(test.student[task.name], task.spec)
            evaluation.fidelity[task.name] = fidelity(_mean_teacher(task, test), student)
    has_control = test is not None and test.control is not None
    if has_control or any(task.teachers for task in tasks):
        evaluation.verdict.update({task.name: _verdict(task, test, evaluation) for task in tasks})
    return evaluation


def _measure_quality(task: EvaluatedTask, test: _Block, evaluation: Evaluation) -> None:
    """Add the metrics of every party on a task with labels."""
    name, target = task.name, task.target
    assert target is not None
    evaluation.student[name] = task_metrics(test.student[name], task.spec, target, test.rows)
    if test.control is not None:
        evaluation.control[name] = task_metrics(test.control[name], task.spec, target, test.rows)
    if name in test.baselines:
        evaluation.baselines[name] = task_metrics(test.baselines[name], task.spec, target, test.rows)
    teachers = _teacher_outputs(task, test)
    evaluation.teachers[name] = tuple(party_metrics(each, target, test.rows) for each in teachers)


def _constants(task: EvaluatedTask, test: _Block, target: TargetColumn, train: Tensor) -> dict[str, Comparison]:
    parties = {"student": PartyOutputs(test.student[task.name], task.spec)}
    if test.control is not None:
        parties["control"] = PartyOutputs(test.control[task.name], task.spec)
    if task.teachers:
        parties["teacher"] = _mean_teacher(task, test)
    found = {name: compared(party, target, test.rows, train) for name, party in parties.items()}
    return {name: each for name, each in found.items() if each is not None}


def _verdict(task: EvaluatedTask, test: _Block | None, evaluation: Evaluation) -> Verdict:
    reason = evaluation.not_measured.get(task.name)
    if reason is not None or test is None or task.target is None:
        return not_applicable(reason or "the dataset has no test split")
    if test.control is None:
        return not_applicable("the job trained no control to compare with")
    return judge(test.student[task.name], test.control[task.name], task.spec, task.target, test.rows)
