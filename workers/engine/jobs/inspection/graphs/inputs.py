"""Which inputs a graph has, what feeds each, and rows of plausible numbers for them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.inputs.forms import row_of
from app.contracts.resources.manifests import MAX_INPUTS, InputTransform, ModelInputSpec, ModelManifest
from app.contracts.resources.row_layouts import channels_behind, fed_shape
from workers.engine.data.rows.joined import InputLayout
from workers.engine.evaluation.examples import plain_rows
from workers.engine.jobs.inspection.family_models import check_row, check_transform
from workers.engine.jobs.inspection.graphs.errors import refuse
from workers.engine.jobs.inspection.trial import RowKind
from workers.engine.models.onnx_graph import Feeds, GraphInput, OnnxGraph
from workers.engine.models.onnx_types import check_constant, check_whole, row_dtype, whole_range

SIDES = (32, 64, 48, 224, 128, 16, 8, 4, 2, 1, 256)
"""Sizes that are tried for dimensions that neither the graph nor the manifest fixes, in this order."""
LARGEST = (256, 100, 30, 10, 2)
"""Whole numbers below these are tried for integer inputs: an index must be below the size of its table."""
SMALLEST_POSITIVE = 0.01
LARGE = 1e9
"""Magnitude of large numbers, where the input's type has them: a time in seconds, or any whole number of 32 bits."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_.\-]")


def plain_name(name: str) -> str:
    """A graph's name with the letters that names here may have: `Identity:0` becomes `Identity_0`."""
    plain = _UNSAFE.sub("_", name)[:64].lstrip("_.-")
    return plain or "x"


@dataclass(frozen=True)
class FedInput:
    """An input of the graph that rows are fed to. `name` is that of the dataset's input; `row` is None where open."""

    name: str
    source: GraphInput
    spec: ModelInputSpec
    row: tuple[int | None, ...]

    @property
    def is_open(self) -> bool:
        return None in self.row

    @property
    def is_integer(self) -> bool:
        return self.source.dtype.kind in "iub"

    def below(self, largest: int) -> int:
        """The bound of invented whole numbers: `largest`, or less where the type has fewer."""
        return min(largest, whole_range(self.source.dtype)[1] + 1)


@dataclass(frozen=True)
class GraphInputs:
    """The inputs of a graph: those fed with rows, in order, and those filled with one number."""

    fed: tuple[FedInput, ...]
    constants: Mapping[str, float]

    @classmethod
    def of(cls, graph: OnnxGraph, manifest: ModelManifest) -> "GraphInputs":
        """Match the manifest to the graph. Raises UserError `unreadable`, `unknown_input`, `shape_mismatch`,
        `bad_constant`.
        """
        if not graph.inputs:
            raise refuse("it has 0 inputs, expected at least one: export it with the rows as an input")
        names = names_here([source.name for source in graph.inputs], manifest)
        specs = _specs(names, manifest.inputs)
        constants = {
            graph_name: specs[name].constant for graph_name, name in names.items() if specs[name].constant is not None
        }
        sources = [source for source in graph.inputs if source.name not in constants]
        if not 1 <= len(sources) <= MAX_INPUTS:
            raise refuse(
                f"{len(sources)} inputs are read from the dataset, expected 1 to {MAX_INPUTS}: join them, or "
                "fill some by `constant`"
            )
        fed = tuple(_fed(names[source.name], source, specs[names[source.name]]) for source in sources)
        _check_batches(fed)
        numbers = {name: number for name, number in constants.items() if number is not None}
        for source in graph.inputs:
            if source.name in numbers:
                check_constant(source.name, source.dtype, numbers[source.name])
        return cls(fed, numbers)

    @property
    def open_names(self) -> list[str]:
        """The inputs of which the graph leaves a dimension open."""
        return [each.name for each in self.fed if each.is_open]

    def shapes(self) -> Iterator[dict[str, tuple[int, ...]]]:
        """Shapes of one row to try, by name: that of the graph, or each of SIDES in its open dimensions."""
        for side in SIDES if self.open_names else (1,):
            yield {each.name: tuple(side if size is None else size for size in each.row) for each in self.fed}

    def feeds(self, shapes: Mapping[str, tuple[int, ...]]) -> Feeds:
        """How rows of these shapes are fed."""
        return Feeds({each.source.name: shapes[each.name] for each in self.fed}, self.constants)

    def largest(self) -> tuple[int, ...]:
        """Bounds of whole numbers to try."""
        return LARGEST if any(each.is_integer for each in self.fed) else LARGEST[:1]

    @property
    def transforms(self) -> dict[str, InputTransform]:
        """The transform of each input that is fed with rows."""
        return {each.name: each.spec.transform for each in self.fed}

    def rows(self, kind: RowKind, count: int, shapes: Mapping[str, tuple[int, ...]], largest: int) -> Tensor:
        """Rows of plausible numbers below `largest` where they are whole: [count, *shape], several inputs joined."""
        parts = [_rows(each, kind, count, shapes[each.name], largest) for each in self.fed]
        if len(parts) == 1:
            return parts[0]
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def layout(self, shapes: Mapping[str, tuple[int, ...]]) -> InputLayout:
        """The layout of these rows."""
        return InputLayout({each.name: shapes[each.name] for each in self.fed})


def names_here(graph: list[str], manifest: ModelManifest) -> dict[str, str]:
    """Names of the dataset's inputs by those of the graph's: renamed, else with other letters replaced.

    Raises UserError `bad_rename`.
    """
    names = {name: manifest.rename.get(name) or plain_name(name) for name in graph}
    doubled = sorted({name for name in names.values() if list(names.values()).count(name) > 1})
    if doubled:
        raise UserError(
            "bad_rename", f"several inputs of the graph are called {doubled} here: tell them apart by `rename`"
        )
    left = [graph_name for graph_name, name in names.items() if name not in manifest.inputs]
    surplus = [name for name in manifest.inputs if name not in names.values()]
    fed = [name for name in surplus if manifest.inputs[name].constant is None]
    if len(left) == len(surplus) == len(fed) == 1:  # the only one that is left has the manifest's name
        names[left[0]] = surplus[0]
    return names


def _specs(names: Mapping[str, str], inputs: Mapping[str, ModelInputSpec]) -> dict[str, ModelInputSpec]:
    """The manifest's inputs by name. Raises UserError `unknown_input` for others than the graph's."""
    surplus = [name for name in inputs if name not in names.values()]
    if surplus:
        raise UserError(
            "unknown_input",
            f"`inputs` names {sorted(surplus)}, the graph's inputs are {sorted(names.values())}: use these names, or "
            "map them with `rename`",
        )
    return {name: inputs.get(name, ModelInputSpec()) for name in names.values()}


def _fed(name: str, source: GraphInput, spec: ModelInputSpec) -> FedInput:
    if not source.shape:
        raise UserError(
            "open_shape",
            f"input `{name}` of the graph has no batch dimension (it is one number for all rows): fill it with "
            f'"inputs": {{"{name}": {{"constant": …}}}}',
        )
    row = source.row
    if spec.shape is not None:
        if len(spec.shape) != len(row) or any(a is not None and a != b for a, b in zip(row, spec.shape, strict=True)):
            shown = ", ".join("any" if side is None else str(side) for side in row)
            raise UserError(
                "shape_mismatch",
                f"`inputs.{name}.shape` is {list(spec.shape)}, and rows of the graph's input are [{shown}]: give its "
                "shape without the batch dimension",
            )
        row = spec.shape
    elif spec.form is not None:
        row = fed_shape(row, channels_behind(spec.transform, row_of(spec.form))) or row
    return FedInput(name, source, spec, row)


def _check_batches(fed: tuple[FedInput, ...]) -> None:
    sizes = {each.name: each.source.shape[0] for each in fed}
    fixed = {name: side for name, side in sizes.items() if isinstance(side, int) and side > 0}
    if fixed and (len(fixed) < len(sizes) or len(set(fixed.values())) > 1):
        raise UserError(
            "open_shape",
            f"the first dimension of every input is the batch, and here they differ: {sizes}. Fill inputs that do not "
            'come from the dataset, such as a state, with "constant"',
        )


def check_shapes(inputs: GraphInputs, shapes: Mapping[str, tuple[int, ...]], batch: int) -> None:
    """Check sizes and transforms before anything is allocated.

    Raises UserError `shape_mismatch`, and `not_whole_numbers` where the transform of an integer input makes fractions
    of whole numbers.
    """
    check_row((sum(prod(shape) for shape in shapes.values()),), batch)
    for each in inputs.fed:
        check_transform({each.name: each.spec.transform}, shapes[each.name])
        if each.is_integer:
            _check_no_fractions(each)


def _check_no_fractions(fed: FedInput) -> None:
    """Transforms are linear: where they make whole numbers of 0 and 1, they do so of all whole numbers."""
    transform = fed.spec.transform
    mean, std = np.asarray(transform.mean, np.float64), np.asarray(transform.std, np.float64)
    for number in (0.0, 1.0):
        check_whole(fed.name, fed.source.dtype, np.atleast_1d((number * transform.scale - mean) / std))


def _rows(fed: FedInput, kind: RowKind, count: int, shape: tuple[int, ...], largest: int) -> Tensor:
    draw = np.random.default_rng(0)
    size = (count, *shape)
    if kind in ("large", "negative"):
        return _large(fed, draw.uniform(0.5, 1.0, size), positive=kind == "large")
    if kind == "plain":
        return plain_rows(shape, fed.below(largest) if fed.is_integer else None, row_dtype([fed.source.dtype]))
    if fed.is_integer:
        if "mask" in fed.name.lower():
            return torch.ones(size)
        return torch.from_numpy(draw.integers(0, fed.below(largest), size).astype(np.float32))
    if kind == "bytes":
        return torch.from_numpy(draw.integers(0, 256, size).astype(np.float32))
    if kind == "positive":
        return torch.from_numpy(draw.standard_exponential(size=size, dtype=np.float32)) + SMALLEST_POSITIVE
    flat = draw.standard_normal(size=(count, prod(shape)), dtype=np.float32)
    return torch.from_numpy(flat.reshape(size))


def _large(fed: FedInput, shares: NDArray[np.float64], *, positive: bool) -> Tensor:
    """These shares of the largest number, or of the smallest one."""
    if fed.is_integer:
        least, most = map(float, whole_range(fed.source.dtype))
    else:
        most = float(np.finfo(fed.source.dtype).max) / 2
        least = -most
    numbers = shares * (min(LARGE, most) if positive else max(-LARGE, least))
    return torch.from_numpy((np.trunc(numbers) if fed.is_integer else numbers).astype(np.float32))
