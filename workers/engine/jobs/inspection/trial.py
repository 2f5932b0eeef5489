"""A model tried as it will be used: the same function for graphs and networks, rows of several ranges, examples."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from time import monotonic
from typing import Literal

import torch
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.facts import Examples
from app.contracts.resources.manifests import InputTransform
from workers.engine.data.rows.joined import InputLayout, joined, transformed
from workers.engine.teachers.consistency import OF_SPREAD, check_consistency

RowKind = Literal["normal", "bytes", "plain"]
"""Standard normal numbers; whole numbers from 0 to 255, as of images; zeros, ones and a ramp."""
SHARE = 0.1
"""Share of the time of the inspection so far that the comparisons may take; three rows are always run."""
LEAST_SECONDS = 0.02
MAX_NUMBERS = 1 << 18
"""Maximum number of elements of a batch of more than three rows."""
MAX_ROW = 1 << 23
"""Rows of more elements are not tried in batches."""
MAX_SHOWN = 64


class TrialFailedError(Exception):
    """A model gave no outputs for rows that it may not take."""


@dataclass(frozen=True)
class TriedModel:
    """A model under inspection. `forward` takes float32 rows after the transform, several inputs joined."""

    layout: InputLayout
    transforms: Mapping[str, InputTransform]
    forward: Callable[[Tensor], dict[str, Tensor]]

    def predict(self, raw: Tensor) -> dict[str, Tensor]:
        """Raw rows, joined as in `layout` -> outputs [n, size]."""
        last = {name for name, transform in self.transforms.items() if transform.layout == "channels_last"}
        if not last:
            return self.forward(transformed(raw, self.layout, self.transforms))
        # Raw rows are as the file has them; transforms take the channels in front.
        parts = {name: self.layout.part(raw, name) for name in self.layout.shapes}
        parts = {name: part.movedim(-1, 1) if name in last else part for name, part in parts.items()}
        layout = InputLayout({name: tuple(part.shape[1:]) for name, part in parts.items()})
        return self.forward(transformed(joined(list(parts.values())), layout, self.transforms))

    @property
    def row_size(self) -> int:
        """Elements of a row."""
        return sum(prod(shape) for shape in self.layout.shapes.values())


def plain_rows(shape: tuple[int, ...], largest: int | None = None) -> Tensor:
    """Zeros, ones, and a ramp from 0 to below 1 over the elements of a row, or of whole numbers below `largest`."""
    size = prod(shape)
    ramp = torch.arange(size, dtype=torch.float32)
    ramp = ramp / size if largest is None else ramp % largest
    return torch.stack([torch.zeros(size), torch.ones(size), ramp]).reshape(3, *shape)


def rows_to_try(row_size: int) -> int:
    """How many rows fit into a batch of bounded memory: 3 to 64."""
    return max(3, min(64, MAX_NUMBERS // max(1, row_size)))


def try_out(
    model: TriedModel,
    rows: Callable[[RowKind, int], Tensor],
    elapsed: float,
    of_spread: float = OF_SPREAD,
) -> Mapping[str, Tensor]:
    """Run rows of every kind together, apart and in another order; returns the outputs for plain raw rows.

    `rows` gives raw rows, of kind `normal` rows after the transform. `elapsed` seconds bound how many rows are used.
    Raises UserError `not_deterministic`, `depends_on_batch`.
    """
    if model.row_size > MAX_ROW:
        return {}
    end = monotonic() + max(LEAST_SECONDS, SHARE * elapsed)
    outputs: Mapping[str, Tensor] = {}
    kinds: tuple[RowKind, ...] = ("plain", "normal", "bytes")
    for kind in kinds:
        left = end - monotonic()
        if kind != "plain" and left <= 0.0:
            break
        tried = rows(kind, rows_to_try(model.row_size) if kind == "normal" else 3)
        try:
            found = check_consistency(model.forward if kind == "normal" else model.predict, tried, of_spread, left / 2)
        except TrialFailedError as error:
            if kind == "normal":
                raise UserError("depends_on_batch", f"it runs on some rows and not on others: {error}") from None
            continue  # numbers that the model does not take, such as an index above the size of its table
        outputs = found if kind == "plain" else outputs
    return outputs


def examples_of(outputs: Mapping[str, Tensor]) -> Examples:
    """Outputs as they are shown: at most 64 numbers a row; those that are not finite are left out."""
    return {
        name: tuple(tuple(row[:MAX_SHOWN]) for row in values.tolist())
        for name, values in outputs.items()
        if bool(values.isfinite().all())
    }
