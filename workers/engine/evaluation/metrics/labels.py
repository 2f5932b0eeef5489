"""The labelled ones of some rows, and the reason why a task cannot be measured."""

from torch import Tensor

from workers.engine.data.dataset import TargetColumn


def labelled_part(target: TargetColumn, rows: Tensor) -> tuple[Tensor, Tensor]:
    """(positions, labels): the indices of labelled rows in `rows` (int64 [n]), and their labels.

    `positions` is int64 [m], the labels are [m] or [m, size]. Elements of a multilabel row may still be missing (NaN).
    """
    positions = target.labelled[rows].nonzero().reshape(-1)
    return positions, target.values[rows[positions]]


def reason_unmeasured(task: str, split: str, target: TargetColumn | None, rows: Tensor) -> str | None:
    """Why a task has no metrics on these rows of a split; None if it has."""
    if len(rows) == 0:
        return f"the dataset has no {split} split"
    if target is None:
        return f"the dataset has no labels for `{task}`"
    if not bool(target.labelled[rows].any()):
        return f"none of the {len(rows)} rows of the {split} split has a label for `{task}`"
    return None
