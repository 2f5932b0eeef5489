"""The assessment of a teacher before training, the same in a job and in its preflight, for models and for columns.

Its outputs are compared with the labels of the training split. Where these cannot tell (none, too few, all the same),
the outputs must at least differ between rows, and a warning says that they could not be compared.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never

import torch
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.manifests import PositionOutput
from app.contracts.wire.events import ChildEvent, WarningEvent
from workers.engine.data.dataset import PADDING, TargetColumn
from workers.engine.losses.teacher_mix import TeacherOutputs
from workers.engine.teachers.agreement import Agreement, label_agreement, number_agreement
from workers.engine.teachers.degenerate import degenerate
from workers.engine.teachers.sanity_check import (
    TeacherScore,
    class_order_warning,
    mismatch_error,
    ranking_warning,
    score,
)

MAX_ROWS = 50_000
"""Rows that are compared at most, evenly spaced; classes are compared on all rows."""
MAX_POSITIONS = 1 << 23
"""Tokens or pixels that are compared at most."""
_CHECKS = (
    "check the `inputs` that it expects (scale, mean, std), the order of the dataset's dimensions and columns, and "
    "`mean` and `std` of its output"
)
_ADVICE = f"{_CHECKS}, or set `distillation.allow_chance_teacher`"
_ADD_LABELS = "add labels to the training split"


@dataclass(frozen=True)
class Assessment:
    """`error`: why the job is refused, unless `allow_chance_teacher`; `score`: of a class task with labels."""

    error: UserError | None = None
    warnings: tuple[WarningEvent, ...] = ()
    score: TeacherScore | None = None

    def allowing(self, allow_chance: bool) -> "Assessment":
        """The same with its error as a warning, where the job allows a teacher at chance."""
        if self.error is None or not allow_chance:
            return self
        warning = WarningEvent(code=self.error.code, message=self.error.message)
        return Assessment(None, (warning, *self.warnings), self.score)


def assess(task: str, name: str, outputs: TeacherOutputs, target: TargetColumn | None, train: Tensor) -> Assessment:
    """Assess the outputs of teacher `name` on the rows `train`, int64 [n]."""
    if isinstance(outputs.spec, PositionOutput) and target is not None:
        outputs, target, train = _by_position(outputs, outputs.spec, target, train)
    available = train[outputs.available[train]]
    target = None if target is None or target.kind == "teacher" else target
    labelled = available[:0] if target is None else available[target.labelled[available]]
    if target is None or len(labelled) == 0:
        reason, way_out = _nothing_in_common(available, target, train)
        return _unchecked(task, name, outputs, available, reason, way_out)
    result = _scored(task, name, outputs, target, labelled)
    if result is not None:
        return result
    found = _agreement(outputs, target, _spaced(labelled))
    if found.unknown is not None:
        return _unchecked(task, name, outputs, available, found.unknown)
    if found.weak is not None:
        weak = WarningEvent(code="teacher_weak", message=f"teacher `{name}` of `{task}` {found.weak}: {_CHECKS}")
        return Assessment(warnings=(weak,))
    return Assessment(None if found.problem is None else _mismatch(task, name, found.problem))


def _by_position(
    outputs: TeacherOutputs, spec: PositionOutput, target: TargetColumn, train: Tensor
) -> tuple[TeacherOutputs, TargetColumn, Tensor]:
    """The positions of training rows as rows of a class task; of evenly spaced rows, at most MAX_ROWS of them and about
    MAX_POSITIONS positions.
    """
    rows = _spaced(train[outputs.available[train]], max(1, min(MAX_ROWS, MAX_POSITIONS // target.values.shape[1])))
    labels = target.values[rows]
    is_position = labels != PADDING
    values = labels[is_position].clamp_min(-1).long()
    column = TargetColumn("class", target.size, values, values >= 0, target.classes)
    each = replace(outputs, values=outputs.at(rows)[is_position], spec=spec.of_a_position)
    return each, column, torch.arange(len(values))


def _nothing_in_common(available: Tensor, target: TargetColumn | None, train: Tensor) -> tuple[str, str]:
    """(why no training row has both an output of the teacher and a label, what can be done about it)."""
    if len(available) == 0:
        return "it has no output for any training row", "give it outputs for training rows"
    if target is None or not bool(target.labelled[train].any()):
        return "the training split has no label of it", _ADD_LABELS
    return (
        f"none of the {len(available)} training rows that it has an output for has a label",
        "give it outputs for training rows with labels",
    )


def _scored(task: str, name: str, outputs: TeacherOutputs, target: TargetColumn, labelled: Tensor) -> Assessment | None:
    """The assessment of a class teacher; None for other kinds."""
    found = score(outputs, target, labelled)
    if found is None:
        return None
    if not found.decidable and not found.knows_by_ranking:
        right = round(found.accuracy * found.rows)
        unknown = (
            f"it is right on {right} of {found.rows} training labels, too few, or of too few classes, to tell it from "
            "chance"
        )
        unchecked = _unchecked(task, name, outputs, labelled, unknown)
        return Assessment(unchecked.error, unchecked.warnings, found)
    warnings = (class_order_warning(task, name, found), ranking_warning(task, name, found))
    error = mismatch_error(task, name, found) if found.at_chance else None
    return Assessment(error, tuple(each for each in warnings if each is not None), found)


def _agreement(outputs: TeacherOutputs, target: TargetColumn, rows: Tensor) -> Agreement:
    match target.kind:
        case "value" | "vector":
            return number_agreement(outputs, target, rows)
        case "multilabel":
            return label_agreement(outputs, target, rows)
        case "class" | "token_class" | "map" | "teacher":
            raise TypeError(f"a target of kind `{target.kind}` is not compared here")
        case _:
            assert_never(target.kind)


def _unchecked(
    task: str, name: str, outputs: TeacherOutputs, rows: Tensor, reason: str, way_out: str = _ADD_LABELS
) -> Assessment:
    fault = degenerate(outputs.at(_spaced(rows)), outputs.spec) if len(rows) else None
    warning = WarningEvent(
        code="teacher_unchecked",
        message=f"teacher `{name}` could not be compared with labels of `{task}`: {reason}. Nothing shows that it fits "
        f"these rows: compare some of its answers yourself, or {way_out}",
    )
    return Assessment(None if fault is None else _mismatch(task, name, fault), (warning,))


def _mismatch(task: str, name: str, fault: str) -> UserError:
    return UserError("teacher_mismatch", f"teacher `{name}` of `{task}` {fault}: {_ADVICE}")


def _spaced(rows: Tensor, most: int = MAX_ROWS) -> Tensor:
    """At most so many of these rows, evenly spaced."""
    if len(rows) <= most:
        return rows
    return rows[torch.linspace(0, len(rows) - 1, most, dtype=torch.float64).long()]


def check_teacher(
    task: str,
    name: str,
    teacher_outputs: TeacherOutputs,
    target: TargetColumn | None,
    train: Tensor,
    allow_chance: bool,
    emit: Callable[[ChildEvent], None],
) -> None:
    """Assess a teacher before training.

    Raises UserError `teacher_mismatch`, which with `allow_chance` is a warning; emits the warnings
    `class_order_suspected`, `teacher_weak` and `teacher_unchecked`.
    """
    found = assess(task, name, teacher_outputs, target, train).allowing(allow_chance)
    if found.error is not None:
        raise found.error
    for warning in found.warnings:
        emit(warning)
