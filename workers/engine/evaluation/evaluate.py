"""Evaluation at the end of a job: predictions of every party on all splits, and metrics on the test split.

The test split is used nowhere else.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from app.contracts.reports.report import Fidelity, Verdict
from app.contracts.resources.manifests import MapOutput, OutputSpec, ValueOutput, VectorOutput
from app.contracts.resources.splits import SplitName
from workers.engine.data.dataset import TargetColumn
from workers.engine.evaluation.metrics.fidelity import task_fidelity
from workers.engine.evaluation.metrics.labels import reason_unmeasured
from workers.engine.evaluation.metrics.outputs import PartyOutputs, mean_outputs
from workers.engine.evaluation.metrics.task_metrics import Metrics, party_metrics, task_metrics
from workers.engine.evaluation.parties import BLOCK, EvaluatedTask, Outputs, QuantizedOutputs
from workers.engine.evaluation.predictions import PredictionsFiles
from workers.engine.evaluation.quantized import QuantizedEvaluation, evaluate_quantized
from workers.engine.evaluation.verdict.judge import not_applicable
from workers.engine.evaluation.verdict.repeats import verdict_over_repeats
from workers.engine.evaluation.warnings.constant import Comparison, compared
from workers.engine.losses.target_scaling import predicted_numbers
from workers.engine.models.families.map_head import as_map


@dataclass(frozen=True)
class Evaluation:
    """Everything measured on the test split, by task; `teachers` in the order of the task's teachers."""

    student: dict[str, Metrics] = field(default_factory=dict)
    control: dict[str, Metrics] = field(default_factory=dict)
    baselines: dict[str, Metrics] = field(default_factory=dict)
    teachers: dict[str, tuple[Metrics, ...]] = field(default_factory=dict)
    quantized: dict[str, QuantizedEvaluation] = field(default_factory=dict)
    """What each quantized file of the student does, by party."""
    fidelity: dict[str, Fidelity] = field(default_factory=dict)
    verdict: dict[str, Verdict] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)
    constants: dict[str, dict[str, Comparison]] = field(default_factory=dict)
    """Each party against a constant answer, by task and party; for warnings."""


@dataclass(frozen=True)
class Networks:
    """The outputs of a job's networks: students, controls and single-task baselines of all seeds.

    `student` and `control` are the indices of the exported ones.
    """

    students: Sequence[Outputs]
    controls: Sequence[Outputs] = ()
    student: int = 0
    control: int = 0
    baselines: Sequence[Outputs] = ()
    quantized: QuantizedOutputs = field(default_factory=QuantizedOutputs)

    @property
    def exported(self) -> "Networks":
        """The exported student and control, and the baselines of the first seed, without quantized files."""
        controls = [self.controls[self.control]] if self.controls else []
        return Networks([self.students[self.student]], controls, baselines=self.baselines[:1])


def evaluate(
    tasks: Sequence[EvaluatedTask],
    networks: Networks,
    splits: Mapping[SplitName, Tensor],
    predictions: PredictionsFiles,
    check: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Write the predictions of every split, and measure the test split, on which all seeds predict.

    `splits` maps names to dataset rows (int64). `check` is called before every block and may raise. Without teachers
    (kind `train`) fidelity and verdict are empty.
    """
    test_blocks = []
    for split, rows in splits.items():
        predicting = networks if split == "test" else networks.exported
        for block in _blocks(tasks, predicting, rows, check):
            predictions.append(split, block.rows, _predictions(tasks, block, each_teacher=split == "test"))
            if split == "test":
                test_blocks.append(block)
    test = _concatenate(test_blocks) if test_blocks else None
    evaluation = _measure(tasks, test)
    for task in tasks:
        if test is not None and task.target is not None:
            evaluation.constants[task.name] = _constants(task, test, task.target, splits.get("train", test.rows[:0]))
    return evaluation


ByTask = dict[str, Tensor]


@dataclass(frozen=True)
class _Block:
    """The outputs of every party for some rows, by task; `controls` and `baselines` are empty without such networks."""

    rows: Tensor
    students: tuple[ByTask, ...]
    controls: tuple[ByTask, ...]
    exported: tuple[int, int]
    """The indices of the exported student and control."""
    baselines: tuple[ByTask, ...]
    teachers: dict[str, tuple[Tensor, ...]]
    quantized: dict[str, ByTask]
    simulated: dict[str, ByTask]

    @property
    def student(self) -> ByTask:
        """The outputs of the exported student."""
        return self.students[self.exported[0]]

    @property
    def control(self) -> ByTask | None:
        """The outputs of the exported control; None without one."""
        return self.controls[self.exported[1]] if self.controls else None

    @property
    def baseline(self) -> ByTask:
        """The outputs of the baselines of the first seed; empty without one."""
        return self.baselines[0] if self.baselines else {}


def _blocks(
    tasks: Sequence[EvaluatedTask], networks: Networks, rows: Tensor, check: Callable[[], None]
) -> Iterator[_Block]:
    for part in torch.split(rows, BLOCK) if len(rows) else ():
        check()
        yield _Block(
            rows=part,
            students=tuple(dict(student(part)) for student in networks.students),
            controls=tuple(dict(control(part)) for control in networks.controls),
            exported=(networks.student, networks.control),
            baselines=tuple(dict(baselines(part)) for baselines in networks.baselines),
            teachers={task.name: tuple(by.outputs(part) for by in task.teachers) for task in tasks},
            quantized={party: dict(outputs(part)) for party, outputs in networks.quantized.parties.items()},
            simulated={party: dict(outputs(part)) for party, outputs in networks.quantized.simulated.items()},
        )


def _concatenate(blocks: list[_Block]) -> _Block:
    first = blocks[0]
    return replace(
        first,
        rows=torch.cat([block.rows for block in blocks]),
        students=tuple(map(_joined, zip(*(block.students for block in blocks), strict=True))),
        controls=tuple(map(_joined, zip(*(block.controls for block in blocks), strict=True))),
        baselines=tuple(map(_joined, zip(*(block.baselines for block in blocks), strict=True))),
        teachers={
            name: tuple(torch.cat(parts) for parts in zip(*(block.teachers[name] for block in blocks), strict=True))
            for name in first.teachers
        },
        quantized={party: _joined([block.quantized[party] for block in blocks]) for party in first.quantized},
        simulated={party: _joined([block.simulated[party] for block in blocks]) for party in first.simulated},
    )


def _joined(parts: Sequence[ByTask]) -> ByTask:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _mean_teacher(task: EvaluatedTask, block: _Block) -> PartyOutputs:
    """The weighted mean of a task's teachers."""
    return mean_outputs(_teacher_outputs(task, block), [by.weight for by in task.teachers])


def _teacher_outputs(task: EvaluatedTask, block: _Block) -> list[PartyOutputs]:
    """The outputs of each of a task's teachers."""
    pairs = zip(task.teachers, block.teachers[task.name], strict=True)
    return [PartyOutputs.of_teacher(values, by.spec) for by, values in pairs]


def _predictions(tasks: Sequence[EvaluatedTask], block: _Block, *, each_teacher: bool) -> dict[str, dict[str, Tensor]]:
    """The columns of a predictions file for a block, by task and party; `each_teacher`: also each of several."""
    by_task: dict[str, dict[str, Tensor]] = {}
    for task in tasks:
        parties = by_task.setdefault(task.name, {})
        if task.target is not None:
            parties["label"] = _labels(task.target, block.rows)
        if task.teachers:
            teacher = _mean_teacher(task, block)
            parties["teacher"] = _predicted(teacher.values, teacher.spec)
        if each_teacher and len(task.teachers) > 1:
            each = enumerate(_teacher_outputs(task, block))
            parties |= {f"teacher-{i}": _predicted(outputs.values, outputs.spec) for i, outputs in each}
        parties["student"] = _predicted(block.student[task.name], task.spec)
        if block.control is not None:
            parties["control"] = _predicted(block.control[task.name], task.spec)
        if task.name in block.baseline:
            parties["baseline"] = _predicted(block.baseline[task.name], task.spec)
        parties |= {name: _predicted(each[task.name], task.spec) for name, each in block.quantized.items()}
        groups = {"students": block.students, "controls": block.controls, "baselines": block.baselines}
        for name, networks in groups.items():
            if len(networks) > 1 and task.name in networks[0]:
                columns = [_predicted(outputs[task.name], task.spec) for outputs in networks]
                parties[name] = torch.stack(columns, dim=1)
    return by_task


def _labels(target: TargetColumn, rows: Tensor) -> Tensor:
    """The labels of rows; those of maps [n, height, width]."""
    values = target.values[rows]
    return values if target.shape is None else values.reshape(len(rows), *target.shape)


def _predicted(values: Tensor, spec: OutputSpec) -> Tensor:
    """Raw scores of classes and labels, of pixels [n, classes, height, width]; values and vectors in the units of
    their labels.
    """
    if isinstance(spec, MapOutput):
        return as_map(values, spec.shape)
    return predicted_numbers(values, spec) if isinstance(spec, ValueOutput | VectorOutput) else values


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
            evaluation.fidelity[task.name] = _fidelity(task, test)
    if test is not None:
        for name, outputs in test.quantized.items():
            compared_to = test.student, test.simulated.get(name)
            evaluation.quantized[name] = evaluate_quantized(tasks, test.rows, outputs, *compared_to)
    has_control = test is not None and test.control is not None
    if has_control or any(task.teachers for task in tasks):
        evaluation.verdict.update({task.name: _verdict(task, test, evaluation) for task in tasks})
    return evaluation


def _fidelity(task: EvaluatedTask, test: _Block) -> Fidelity:
    teacher, student = _mean_teacher(task, test), PartyOutputs(test.student[task.name], task.spec)
    return task_fidelity(teacher, student, task.target, test.rows)


def _measure_quality(task: EvaluatedTask, test: _Block, evaluation: Evaluation) -> None:
    """Add the metrics of every party on a task with labels."""
    name, target = task.name, task.target
    assert target is not None
    evaluation.student[name] = task_metrics(test.student[name], task.spec, target, test.rows)
    if test.control is not None:
        evaluation.control[name] = task_metrics(test.control[name], task.spec, target, test.rows)
    if name in test.baseline:
        evaluation.baselines[name] = task_metrics(test.baseline[name], task.spec, target, test.rows)
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
    if not test.controls:
        return not_applicable("the job trained no control to compare with")
    students, controls = ([each[task.name] for each in group] for group in (test.students, test.controls))
    verdict = verdict_over_repeats(students, controls, task.spec, task.target, test.rows)
    if len(students) == 1 or verdict.metric is None:
        return verdict
    return verdict.model_copy(update={"exported": evaluation.student[task.name][verdict.metric]})
