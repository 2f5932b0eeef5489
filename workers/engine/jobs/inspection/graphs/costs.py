"""Batches of the sizes, and numbers of the magnitudes, that a graph meets later: in jobs, and in predictions."""

from collections.abc import Mapping, Set
from contextlib import suppress
from time import monotonic

import onnx
import torch
from torch import Tensor

from app.contracts.problems import UserError
from workers.engine.evaluation.examples import RawModel
from workers.engine.jobs.inspection.graphs.first_trial import ROWS, FirstTrial
from workers.engine.jobs.inspection.graphs.walk import graphs_of
from workers.engine.jobs.inspection.trial import RowKind, TrialFailedError, run_of
from workers.engine.teachers.consistency import check_block

SIZES = (1, 64, 256, 1024)
"""Batches of the engine: one row, a comparison, a pass of a teacher, an evaluation."""
MAGNITUDES: tuple[RowKind, ...] = ("large", "negative")
MAX_NUMBERS = 1 << 24
"""Numbers of a batch."""
LEAST_SECONDS, SHARE = 1.0, 0.1
"""What larger batches may be expected to take: a share of the inspection so far, or this if that is less. Graphs of
which a pass is fast are tried in all of them, also on a machine that is busy.
"""
BRANCHING: Set[str] = {"If", "Loop", "Scan"}
BRANCHING_SECONDS = 10.0
"""The same for a graph that can do something else for other rows."""


def operators_of(model: onnx.ModelProto) -> set[str]:
    """The operators of a graph, also inside branches and loops."""
    return {node.op_type for graph in graphs_of(model) for node in graph.node}


def check_costs(
    model: RawModel,
    trial: FirstTrial,
    outputs: Mapping[str, Tensor],
    operators: Set[str],
    elapsed: float,
    of_spread: float,
) -> None:
    """Run a model on a few rows of each magnitude, then on batches of each size that time allows; `outputs`: those of
    the first trial. `BoundedRuns` bounds what each run may take.

    Raises UserError `cost_depends_on_rows`, `depends_on_batch`.
    """
    for kind in MAGNITUDES:
        with suppress(TrialFailedError):  # numbers that the model does not take, such as an index above its table
            run_of(model, kind)(trial.rows.of_kind(kind, ROWS))
    seconds = BRANCHING_SECONDS if operators & BRANCHING else max(LEAST_SECONDS, SHARE * elapsed)
    _check_sizes(model, trial, outputs, of_spread, monotonic() + seconds)


def _check_sizes(
    model: RawModel, trial: FirstTrial, outputs: Mapping[str, Tensor], of_spread: float, end: float
) -> None:
    """Run the first trial's rows, repeated, in one batch of each size that is expected to answer before `end`."""
    few, run, each = trial.rows.of_kind(trial.kind, ROWS), run_of(model, trial.kind), 0.0
    for size in (SIZES[0], *SIZES):  # the first call of a size takes longer, and one row tells what the others may take
        begun = monotonic()
        if size * model.row_size > MAX_NUMBERS or begun + each * size > end:
            return
        rows = few[torch.arange(size) % len(few)]
        try:
            block = run(rows)
            each = (monotonic() - begun) / size
            check_block(run, rows, block, {name: values[:size] for name, values in outputs.items()}, of_spread)
        except TrialFailedError as error:
            raise UserError("depends_on_batch", f"it runs on some rows and not on others: {error}") from None
