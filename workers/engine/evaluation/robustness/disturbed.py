"""Every party on disturbed test rows."""

import itertools
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from app.contracts.reports.report import Robustness
from workers.engine.data.dataset import TargetColumn
from workers.engine.evaluation.metrics.outputs import PartyOutputs
from workers.engine.evaluation.metrics.task_metrics import task_metrics
from workers.engine.evaluation.parties import BLOCK
from workers.engine.evaluation.robustness.corruptions import SEVERITIES, corrupted, corruptions_of

Answering = Callable[[Tensor], Mapping[str, PartyOutputs]]
"""Raw rows ([n, *row] as the dataset has them) -> what a party says about each of its tasks, n rows each."""


def robustness(
    parties: Mapping[str, Answering],
    targets: Mapping[str, TargetColumn],
    raw: Tensor,
    rows: Tensor,
    seed: int,
    low: Tensor | float,
    high: Tensor | float,
    check: Callable[[], None] = lambda: None,
) -> dict[str, tuple[Robustness, ...]]:
    """Accuracy (class, multilabel) or rmse of every party on the rows `rows` of `raw` ([N, *row]), by task.

    Each corruption that suits the rows at each severity costs one pass of every party over the rows. A task without a
    label in these rows is left out; a party that is silent on a task (a teacher of another one) is not named there.
    `low` and `high`: `corruptions.value_range` of the training rows. `check` is called before every block and may
    raise, to stop.
    """
    labelled = {task: target for task, target in targets.items() if bool(target.labelled[rows].any())}
    found: dict[str, list[Robustness]] = {task: [] for task in labelled}
    if not labelled:
        return {}

    def disturbed(name: str, severity: int, part: Tensor) -> Tensor:
        check()
        return corrupted(raw[part], name, severity, seed, part, low, high)

    for name, severity in itertools.product(corruptions_of(raw), SEVERITIES):
        said = _said(parties, rows, partial(disturbed, name, severity))
        for task, target in labelled.items():
            found[task].append(_measured(name, severity, said, task, target, rows))
    return {task: tuple(entries) for task, entries in found.items()}


def _said(
    parties: Mapping[str, Answering], rows: Tensor, disturbed: Callable[[Tensor], Tensor]
) -> dict[str, dict[str, PartyOutputs]]:
    """Every party's answers by task; each block is disturbed once for all of them."""
    blocks: dict[str, list[Mapping[str, PartyOutputs]]] = {party: [] for party in parties}
    for part in torch.split(rows, BLOCK):
        x = disturbed(part)
        for party, answering in parties.items():
            blocks[party].append(answering(x))
    return {
        party: {
            task: PartyOutputs(torch.cat([block[task].values for block in answers]), first.spec)
            for task, first in answers[0].items()
        }
        for party, answers in blocks.items()
    }


def _measured(
    name: str,
    severity: int,
    said: Mapping[str, Mapping[str, PartyOutputs]],
    task: str,
    target: TargetColumn,
    rows: Tensor,
) -> Robustness:
    metric = "accuracy" if target.kind in ("class", "multilabel") else "rmse"
    figures = {
        party: task_metrics(tasks[task].values, tasks[task].spec, target, rows, ranking=False).get(metric)
        for party, tasks in said.items()
        if task in tasks
    }
    return Robustness(corruption=name, severity=severity, metric=metric, parties=figures)
