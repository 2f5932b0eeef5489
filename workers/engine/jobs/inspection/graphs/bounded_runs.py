"""Runs of a graph on invented rows, bounded in time and memory by what its first rows took.

A graph that branches or loops on the number or the values of its rows takes for some of them any time and any memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from app.contracts.problems import UserError
from workers.engine.common.memory import address_space_bounded, is_out_of_memory
from workers.engine.jobs.inspection.graphs.errors import first_line
from workers.engine.jobs.inspection.trial import TrialFailedError
from workers.engine.models.onnx_graph import OnnxGraph

ROOM_BYTES = 1 << 30
ROOM_SECONDS = 10.0
"""What any run may take: other processes make a busy machine slow."""
SLACK = 4.0
"""A run may take so many times what the first rows took for each row, where that is more."""


@dataclass(frozen=True)
class RowCost:
    """Seconds and bytes of address space for each row, as measured on a few: at least what more rows take."""

    seconds: float
    bytes: float

    def most_seconds(self, rows: int) -> float:
        """The time that so many rows may take."""
        return max(ROOM_SECONDS, SLACK * self.seconds * rows)

    def most_bytes(self, rows: int) -> int:
        """The memory that so many rows may take."""
        return ROOM_BYTES + int(SLACK * self.bytes * rows)


@dataclass(frozen=True)
class BoundedRuns:
    """A graph with bounds; `names`: the graph's outputs by those of the manifest."""

    graph: OnnxGraph
    names: Mapping[str, str]
    cost: RowCost

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Rows after the transform -> outputs [n, size] by the manifest's names.

        Raises UserError `cost_depends_on_rows`, and TrialFailedError where the graph fails otherwise.
        """
        seconds, size = self.cost.most_seconds(len(x)), self.cost.most_bytes(len(x))
        rows = f"{len(x)} row{'s' if len(x) > 1 else ''}"
        try:
            with address_space_bounded(size):
                arrays = self.graph.try_out(x.numpy(), seconds)
        except UserError:
            raise
        except TimeoutError:
            raise _refused(f"found {rows} without an answer after {seconds:.0f} s") from None
        except Exception as error:  # ONNX Runtime's own errors share no base class but Exception
            if is_out_of_memory(error):
                raise _refused(f"found {rows} that need more than {size:,} bytes") from None
            raise TrialFailedError(f"the graph fails on {rows}: {first_line(str(error))}") from None
        return {name: torch.from_numpy(arrays[own]).float().reshape(len(x), -1) for name, own in self.names.items()}


def _refused(found: str) -> UserError:
    return UserError(
        "cost_depends_on_rows",
        f"expected time and memory that follow the number of rows, as the first ones take them, {found}: export the "
        "model without loops, branches and shapes that depend on the number or the values of its rows",
    )
