"""One pass over the splits at the end of a job: predictions of every party, and from the test split the measures.

The test split is used here and nowhere else.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from app.contracts.reports.report import Fidelity, Verdict
from app.contracts.resources.manifests import OutputSpec, SplitName, ValueOutput, VectorOutput
from workers.engine.evaluation.metrics.fidelity import fidelity
from workers.engine.evaluation.metrics.labels import why_unmeasured
from workers.engine.evaluation.metrics.outputs import PartyOutputs, in_own_units, mean_answers
from workers.engine.evaluation.metrics.task_metrics import Metrics, task_metrics
from workers.engine.evaluation.parties import BLOCK, EvaluatedTask, Outputs
from workers.engine.evaluation.predictions import PredictionsFiles
from workers.engine.evaluation.verdict.judge import judge, not_applicable


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


def evaluate(
    tasks: Sequence[EvaluatedTask],
    student: Outputs,
    control: Outputs | None,
    splits: Mapping[SplitName, Tensor],
    predictions: PredictionsFiles,
    check: Callable[[], None] = lambda: None,
    baselines: Outputs | None = None,
) -> Evaluation:
    """Write the predictions of every split and measure the test split.

    `splits` maps names to dataset rows (int64). `check` is called before every block and may raise, to stop. Without
    any teacher (kind `train`) fidelity and verdict stay empty. `baselines` answer on the tasks that have one.
    """
    tested = []
    for split, rows in splits.items():
        for block in _blocks(tasks, student, control, baselines, rows, check):
            predictions.append(split, block.rows, _members(tasks, block))
            if split == "test":
                tested.append(block)
    return _measure(tasks, _joined(tested) if tested else None)


@dataclass(frozen=True)
class _Block:
    """What every party said about some rows, by task; `control` is None where there is none."""

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


def _joined(blocks: list[_Block]) -> _Block:
    """Blocks of the same parties as one."""
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


def _taught(task: EvaluatedTask, block: _Block) -> PartyOutputs:
    """The weighted mean of a task's teachers."""
    outputs = zip(task.teachers, block.teachers[task.name], strict=True)
    return mean_answers([PartyOutputs(values, by.spec) for by, values in outputs], [by.weight for by in task.teachers])


def _members(tasks: Sequence[EvaluatedTask], block: _Block) -> dict[str, dict[str, Tensor]]:
    """The block as members of a predictions file."""
    members: dict[str, dict[str, Tensor]] = {}
    for task in tasks:
        parties = members.setdefault(task.name, {})
        if task.target is not None:
            parties["label"] = task.target.values[block.rows]
        if task.teachers:
            taught = _taught(task, block)
            parties["teacher"] = _told(taught.values, taught.spec)
        parties["student"] = _told(block.student[task.name], task.spec)
        if block.control is not None:
            parties["control"] = _told(block.control[task.name], task.spec)
        if task.name in block.baselines:
            parties["baseline"] = _told(block.baselines[task.name], task.spec)
    return members


def _told(values: Tensor, spec: OutputSpec) -> Tensor:
    """Scores as they are; numbers in the units of their labels."""
    return in_own_units(values, spec).float() if isinstance(spec, ValueOutput | VectorOutput) else values


def _measure(tasks: Sequence[EvaluatedTask], test: _Block | None) -> Evaluation:
    evaluation = Evaluation()
    rows = test.rows if test is not None else torch.empty(0, dtype=torch.int64)
    for task in tasks:
        why = why_unmeasured(task.name, "test", task.target, rows)
        if why is not None:
            evaluation.not_measured[task.name] = why
        elif test is not None:
            _measure_quality(task, test, evaluation)
        if test is not None and task.teachers:
            student = PartyOutputs(test.student[task.name], task.spec)
            evaluation.fidelity[task.name] = fidelity(_taught(task, test), student)
    compared = test is not None and test.control is not None
    if compared or any(task.teachers for task in tasks):
        evaluation.verdict.update({task.name: _verdict(task, test, evaluation) for task in tasks})
    return evaluation


def _measure_quality(task: EvaluatedTask, test: _Block, into: Evaluation) -> None:
    """Metrics of every party on a task that has labels."""
    name, target = task.name, task.target
    assert target is not None
    into.student[name] = task_metrics(test.student[name], task.spec, target, test.rows)
    if test.control is not None:
        into.control[name] = task_metrics(test.control[name], task.spec, target, test.rows)
    if name in test.baselines:
        into.baselines[name] = task_metrics(test.baselines[name], task.spec, target, test.rows)
    into.teachers[name] = tuple(
        task_metrics(values, by.spec, target, test.rows)
        for by, values in zip(task.teachers, test.teachers[name], strict=True)
    )


def _verdict(task: EvaluatedTask, test: _Block | None, evaluation: Evaluation) -> Verdict:
    why = evaluation.not_measured.get(task.name)
    if why is not None or test is None or task.target is None:
        return not_applicable(why or "the dataset has no test split")
    if test.control is None:
        return not_applicable("the job trained no control to compare with")
    return judge(test.student[task.name], test.control[task.name], task.spec, task.target, test.rows)
