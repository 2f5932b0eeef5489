"""The loss of a task on its labels, with the class weights that its training rows give."""

from collections.abc import Sequence

import torch
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.manifests import OutputSpec
from app.contracts.specs.jobs import TaskSpec
from app.contracts.specs.supervision.metrics import CLASS_KINDS
from workers.engine.data.dataset import Dataset, TargetColumn
from workers.engine.data.rows.columns import Column
from workers.engine.data.rows.weights import with_mean_one
from workers.engine.losses.supervised_loss import SupervisedLoss


def supervised_loss(
    task: TaskSpec,
    target: TargetColumn,
    spec: OutputSpec,
    weight: float,
    smoothing: float,
    train: Tensor,
    device: torch.device,
    row_weights: Column | None = None,
) -> SupervisedLoss:
    """The term on labels of a task, the same for student, control and baseline. `train` are the training rows.

    Raises UserError `weights_sum_to_zero`.
    """
    weights = class_weights(task, target, train)
    return SupervisedLoss.of(target, spec, weight, smoothing, device, task.loss, weights, row_weights)


def row_weights_of(name: str | None, dataset: Dataset, counted: Tensor, device: torch.device) -> Column | None:
    """The row weights of this name, with the mean 1 over the training rows that a loss counts (bool [N]); None without
    a name. Raises UserError `weights_sum_to_zero`.
    """
    if name is None:
        return None
    train = dataset.splits["train"]
    return Column.on(device, with_mean_one(name, dataset.weights[name], train[counted[train]]))


def class_weights(task: TaskSpec, target: TargetColumn, train: Tensor) -> Tensor | None:
    """The class weights of a task, divided by their mean over the labels of the training rows; None without any.

    Classes: float32 [C]. Labels: float32 [2, L], of absent and present ones, with a mean of 1 for each label if they
    are balanced and of 1 in all otherwise. A class without rows weighs 1 where they are balanced. Raises UserError
    `weights_sum_to_zero` where no label of the training rows has a weight above 0.
    """
    if task.class_weights is None:
        return None
    counts = _counts(target, train)
    if task.class_weights == "balanced":
        return _balanced(counts).float()
    assert isinstance(task.class_weights, tuple), "resolved"
    weights = torch.tensor(task.class_weights, dtype=torch.float64)
    if target.kind == "multilabel":
        weights = torch.stack([torch.ones_like(weights), weights])
    total = float((weights * counts).sum())
    if total == 0.0:
        raise UserError(
            "weights_sum_to_zero",
            f"the classes of `{task.name}` that occur in the training split have a weight of 0: give one a weight",
        )
    return (weights * (float(counts.sum()) / total)).float()


def losses_on_labels(tasks: Sequence[TaskSpec]) -> dict[str, str]:
    """The losses on labels in words, by task; tasks with the default loss are left out."""
    return {task.name: words for task in tasks if (words := _in_words(task))}


def _in_words(task: TaskSpec) -> str:
    words = []
    if task.loss is not None:
        settings = task.loss.model_dump(exclude={"name"})
        words.append(" ".join([task.loss.name, *(f"({name} {value:g})" for name, value in settings.items())]))
    if task.class_weights is not None:
        words.append("balanced classes" if task.class_weights == "balanced" else "weighted classes")
    if task.row_weights is not None:
        words.append(f"rows weighted by {task.row_weights}")
    return ", ".join(words)


def weights_by_class(task: TaskSpec, target: TargetColumn, train: Tensor) -> dict[str, float]:
    """The class weights of a task by class (its name, or its number); of labels, presence relative to absence."""
    weights = class_weights(task, target, train)
    if weights is None:
        return {}
    by_class = weights if target.kind in CLASS_KINDS else weights[1] / weights[0]
    names = target.classes or [str(i) for i in range(len(by_class))]
    return dict(zip(names, by_class.tolist(), strict=True))


def _counts(target: TargetColumn, train: Tensor) -> Tensor:
    """Numbers of labels in the training rows, float64: [C], or [2, L] of absent and present labels."""
    values = target.values[train]
    if target.kind in CLASS_KINDS:
        return torch.bincount(values[values >= 0], minlength=target.size).double()
    valid = ~values.isnan()
    present = (valid & (values > 0.5)).sum(0).double()
    return torch.stack([valid.sum(0).double() - present, present])


def _balanced(counts: Tensor) -> Tensor:
    """The number of rows / (classes · rows of the class), over the classes that occur (scikit-learn's `balanced`)."""
    occurring = counts > 0
    shares = counts.sum(0) / (occurring.sum(0) * counts)
    return torch.where(occurring, shares, 1.0)
