"""Which of some rows have a label, and why nothing can be measured where none has."""

from torch import Tensor

from workers.engine.data.dataset import TargetColumn


def labelled_part(target: TargetColumn, rows: Tensor) -> tuple[Tensor, Tensor]:
    """(positions, labels): where in `rows` (int64 [n]) a label stands, and those labels.

    `positions` is int64 [m] into `rows`; the labels are [m] or [m, size]. Elements of a multilabel row may
    still be missing (NaN).
    """
    positions = target.labelled[rows].nonzero().reshape(-1)
    return positions, target.values[rows[positions]]


def why_unmeasured(task: str, split: str, target: TargetColumn | None, rows: Tensor) -> str | None:
    """Why there are no metrics of a task on these rows of a split; None where there are some."""
    if len(rows) == 0:
        return f"the dataset has no {split} split"
    if target is None:
        return f"the dataset has no labels for `{task}`"
    if not bool(target.labelled[rows].any()):
        return f"none of the {len(rows)} rows of the {split} split has a label for `{task}`"
    return None
