"""Whether a job trains single-task baselines, and warnings about them."""

from collections.abc import Sequence

from app.contracts.resolving.data.targets import Goal
from app.contracts.resolving.findings import Findings, quoted
from app.contracts.resources.facts import DatasetFacts


def with_baselines(asked: bool | None, goals: Sequence[Goal], dataset: DatasetFacts, findings: Findings) -> bool:
    """Whether baselines are trained: as the spec says, else where several tasks can be compared with theirs."""
    if asked is None:
        return sum(goal.labelled > 0 for goal in goals) > 1 and bool(dataset.splits.get("test"))
    if asked:
        _check_baselines(goals, dataset, findings)
    return asked


def _check_baselines(goals: Sequence[Goal], dataset: DatasetFacts, findings: Findings) -> None:
    """Warn of tasks that no baseline can be trained for, and of a dataset that nothing can be compared on."""
    without = [goal.name for goal in goals if goal.labelled == 0]
    if without:
        findings.warn(
            "no_baseline", f"a baseline learns from labels, and there are none of {quoted(without)}: it has no baseline"
        )
    if not dataset.splits.get("test"):
        findings.warn(
            "no_test_split", "baselines are compared on the test split, and the dataset has none: Δm will be missing"
        )
