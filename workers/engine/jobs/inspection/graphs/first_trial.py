"""The first rows that a graph runs on: of which kind, of which size where dimensions are open, of which range."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from time import monotonic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.reference import Reference
from workers.engine.common.memory import address_space
from workers.engine.evaluation.examples import RawModel, prepared
from workers.engine.jobs.inspection.graphs.bounded_runs import RowCost
from workers.engine.jobs.inspection.graphs.errors import first_line, refuse
from workers.engine.jobs.inspection.graphs.inputs import GraphInputs, check_shapes
from workers.engine.jobs.inspection.reference import reference_rows
from workers.engine.jobs.inspection.trial import AFTER_TRANSFORM, RowKind, TrialFailedError, run_of
from workers.engine.models.onnx_graph import OnnxGraph

ROWS = 4
TRIAL_SECONDS = 20.0
"""Time limit for the first rows, in case a graph loops forever."""
KINDS: tuple[RowKind, ...] = ("normal", "positive", "bytes", "plain", "reference")
"""In the order in which they are tried."""
Outputs = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class TrialRows:
    """Rows to try: `shapes` of one row by input, whole numbers below `largest`."""

    inputs: GraphInputs
    reference: Reference | None
    shapes: Mapping[str, tuple[int, ...]]
    largest: int

    def of_kind(self, kind: RowKind, count: int) -> Tensor:
        """Rows of a kind, joined; `plain` ones are always three."""
        if kind != "reference":
            return self.inputs.rows(kind, count, self.shapes, self.largest)
        assert self.reference is not None
        rows = reference_rows(self.reference, self.inputs.layout(self.shapes), self.inputs.open_names)
        return rows[torch.arange(count) % len(rows)]

    def run(self, graph: OnnxGraph, kind: RowKind, count: int, deadline: float) -> Outputs:
        """Run rows of a kind. Raises the errors of ONNX Runtime, which share no base class but Exception."""
        graph.feeds = self.inputs.feeds(self.shapes)
        rows = self.of_kind(kind, count)
        if kind not in AFTER_TRANSFORM:
            rows = prepared(rows, self.inputs.layout(self.shapes), self.inputs.transforms, graph.row_dtype)
        return graph.try_out(rows.numpy(), max(0.1, deadline - monotonic()))


@dataclass(frozen=True)
class FirstTrial:
    """The rows that a graph has run on first, and its outputs."""

    rows: TrialRows
    kind: RowKind
    outputs: Outputs
    cost: RowCost
    deadline: float

    @classmethod
    def of(cls, graph: OnnxGraph, inputs: GraphInputs, reference: Reference | None) -> "FirstTrial":
        """Run rows of the first kind, size and range of numbers that the graph takes.

        Raises UserError `unreadable`, `open_shape`, `shape_mismatch`, `depends_on_batch`.
        """
        deadline = monotonic() + TRIAL_SECONDS
        first_kind_failure: Exception | None = None
        before = address_space()
        for kind in _kinds(reference):
            for rows in _sizes(graph, inputs, reference):
                begun = monotonic()
                try:
                    outputs = rows.run(graph, kind, ROWS, deadline)
                    cost = RowCost((monotonic() - begun) / ROWS, max(0, address_space() - before) / ROWS)
                    return cls(rows, kind, outputs, cost, deadline)
                except TimeoutError as error:
                    raise refuse(f"it fails on random rows: {error}") from None
                except Exception as error:  # see TrialRows.run
                    failure = error
            first_kind_failure = first_kind_failure or failure
        raise _failed(graph, inputs, str(first_kind_failure), deadline)

    @property
    def count(self) -> int:
        """The number of the rows."""
        return len(self.rows.of_kind(self.kind, ROWS))

    def named(self, names: Mapping[str, str]) -> dict[str, Tensor]:
        """The outputs [n, size] by the manifest's names."""
        return {
            name: torch.from_numpy(np.asarray(self.outputs[own])).reshape(self.count, -1) for name, own in names.items()
        }

    def samples(self, model: RawModel, names: Mapping[str, str]) -> Iterator[tuple[RowKind, Mapping[str, Tensor]]]:
        """The outputs [n, size] by the manifest's names for each kind of rows that the model takes, the first trial's
        first. Raises UserError where the reference rows do not fit the model.
        """
        yield self.kind, self.named(names)
        for kind in _kinds(self.rows.reference):
            try:
                if kind != self.kind:
                    yield kind, run_of(model, kind)(self.rows.of_kind(kind, ROWS))
            except TrialFailedError:
                continue
            except UserError as error:
                if error.code != "not_whole_numbers":
                    raise

    def check_open_sizes(self, graph: OnnxGraph, names: Mapping[str, str]) -> None:
        """Where dimensions are open, outputs must have as many numbers for rows of another size.

        Raises UserError `open_shape`.
        """
        inputs = self.rows.inputs
        if not inputs.open_names:
            return
        for shapes in inputs.shapes():
            if shapes == self.rows.shapes:
                continue
            others = TrialRows(inputs, self.rows.reference, shapes, self.rows.largest)
            try:
                found = others.run(graph, self.kind, 1, self.deadline)
            except Exception:  # this size does not fit: another may
                continue
            for name, graph_name in names.items():
                first, size = (prod(each[graph_name].shape[1:]) for each in (self.outputs, found))
                if size != first:
                    raise self._other_size(name, first, size, shapes)
            return

    def _other_size(self, name: str, size: int, other: int, shapes: Mapping[str, tuple[int, ...]]) -> UserError:
        source = self.rows.inputs.open_names[0]
        return UserError(
            "open_shape",
            f"`{name}` has {size} numbers for rows of shape {list(self.rows.shapes[source])} and {other} for "
            f'{list(shapes[source])}: fix the shape by "inputs": {{"{source}": {{"shape": […]}}}}, without the batch '
            "dimension",
        )


def _kinds(reference: Reference | None) -> tuple[RowKind, ...]:
    return KINDS if reference is not None else KINDS[:-1]


def _sizes(graph: OnnxGraph, inputs: GraphInputs, reference: Reference | None) -> Iterator[TrialRows]:
    """Every size and range that is tried. Raises UserError as `check_shapes` does."""
    for shapes in inputs.shapes():
        check_shapes(inputs, shapes, graph.fixed_batch or 1)
        for largest in inputs.largest():
            yield TrialRows(inputs, reference, shapes, largest)


def _failed(graph: OnnxGraph, inputs: GraphInputs, error: str, deadline: float) -> UserError:
    """The rejection of a graph that ran on no rows; it says so where it runs on a single one."""
    if inputs.open_names:
        shown = {each.name: list(each.source.shape) for each in inputs.fed if each.is_open}
        declared = next(iter(shown.values())) if len(shown) == 1 else shown
        return UserError(
            "open_shape",
            f"the shape of a row is not fixed ({declared}), and the graph runs on none of the sizes that were tried: "
            f'give it as "inputs": {{"{inputs.open_names[0]}": {{"shape": […]}}}}, without the batch dimension. The '
            f"last error: {first_line(error)}",
        )
    for rows in _sizes(graph, inputs, None):
        try:
            rows.run(graph, "normal", 1, deadline)
        except Exception:  # see TrialRows.run
            continue
        return UserError(
            "depends_on_batch",
            f"the graph runs on one row and fails on {ROWS} ({first_line(error)}): its batch size was fixed when it "
            "was exported. Export it with a dynamic batch dimension",
        )
    return refuse(f"it fails on random normal rows: {first_line(error)}")
