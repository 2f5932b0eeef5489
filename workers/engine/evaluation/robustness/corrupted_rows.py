"""Metrics of every party on corrupted test rows."""

import itertools
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from app.contracts.reports.report import Robustness
from workers.engine.data.dataset import TargetColumn
from workers.engine.data.formats.files.encoded import RawRows, parts_of
from workers.engine.evaluation.metrics.outputs import PartyOutputs
from workers.engine.evaluation.metrics.task_metrics import COMPARED, task_metrics
from workers.engine.evaluation.parties import BLOCK
from workers.engine.evaluation.robustness.corruptions import SEVERITIES, corrupted, corruptions_of

PredictRaw = Callable[[Tensor], Mapping[str, PartyOutputs]]
"""Raw rows [n, *row] -> a party's outputs for each of its tasks."""


def measure_robustness(
    parties: Mapping[str, PredictRaw],
    targets: Mapping[str, TargetColumn],
    raw: RawRows,
    rows: Tensor,
    seed: int,
    low: Tensor | float,
    high: Tensor | float,
    check: Callable[[], None] = lambda: None,
) -> dict[str, tuple[Robustness, ...]]:
    """Accuracy (class, multilabel) or rmse of every party on the rows `rows` of `raw` ([N, *row]), by task.

    Each applicable corruption at each severity costs one pass of every party over the rows. Tasks without labels in
    these rows are omitted; a party without outputs for a task is omitted there. `low` and `high`: `value_range` of the
    training rows. `check` is called before every block and may raise.
    """
    labelled = {task: target for task, target in targets.items() if bool(target.labelled[rows].any())}
    results: dict[str, list[Robustness]] = {task: [] for task in labelled}
    if not labelled:
        return {}

    def corrupt(name: str, severity: int) -> Iterator[Tensor]:
        parts = torch.split(rows, BLOCK)
        for part, values in zip(parts, parts_of(raw, parts), strict=True):
            check()
            yield corrupted(values, name, severity, seed, part, low, high)

    for name, severity in itertools.product(corruptions_of(raw), SEVERITIES):
        outputs = _outputs(parties, corrupt(name, severity))
        for task, target in labelled.items():
            results[task].append(_measure(name, severity, outputs, task, target, rows))
    return {task: tuple(entries) for task, entries in results.items()}


def _outputs(
    parties: Mapping[str, PredictRaw], corrupted_blocks: Iterator[Tensor]
) -> dict[str, dict[str, PartyOutputs]]:
    """Every party's outputs by task; each block is corrupted once for all of them."""
    blocks: dict[str, list[Mapping[str, PartyOutputs]]] = {party: [] for party in parties}
    for x in corrupted_blocks:
        for party, predict in parties.items():
            blocks[party].append(predict(x))
    return {
        party: {
            task: PartyOutputs(torch.cat([block[task].values for block in party_blocks]), first.spec)
            for task, first in party_blocks[0].items()
        }
        for party, party_blocks in blocks.items()
    }


def _measure(
    name: str,
    severity: int,
    outputs: Mapping[str, Mapping[str, PartyOutputs]],
    task: str,
    target: TargetColumn,
    rows: Tensor,
) -> Robustness:
    kinds = [tasks[task].spec.kind for tasks in outputs.values() if task in tasks]
    metric = COMPARED[kinds[0]]
    figures = {
        party: task_metrics(tasks[task].values, tasks[task].spec, target, rows, ranking=False).get(metric)
        for party, tasks in outputs.items()
        if task in tasks
    }
    return Robustness(corruption=name, severity=severity, metric=metric, parties=figures)
