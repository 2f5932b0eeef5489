"""What a model reads of the rows of a dataset, and the transform of each part."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resolving.data.inputs import inputs_read
from app.contracts.resolving.data.texts import tokens_of
from app.contracts.resources.facts import ModelFacts
from app.contracts.resources.inputs.encoded_names import own_name
from app.contracts.resources.inputs.texts import TokenEncoding, reads_same_tokens
from app.contracts.resources.manifests import InputTransform
from app.contracts.resources.row_layouts import channels_behind, fed_shape, rows_shape
from workers.engine.data.rows.joined import IDENTITY, InputLayout, joined_transform, transformed
from workers.engine.data.transform import apply_in_shape
from workers.engine.models.onnx_graph import Feeds

_SINGLE = ""
"""The name of the input where there is one, whatever it is called."""


@dataclass(frozen=True)
class Reading:
    """The inputs that a model reads, in its order."""

    layout: InputLayout | None
    """Of the dataset's rows; None where they have a single input of any shape."""
    read: InputLayout | None
    """Of what the model reads, as the dataset has it; None as above."""
    rows: InputLayout
    """Of what the model reads, in the shapes that the transforms take: their statistics are those of the model's
    channels, not of the numbers of a flat row. Empty where there is a single input.
    """
    transforms: Mapping[str, InputTransform]
    shape: tuple[int, ...] | None = None
    """Of a single input, where the model fixes it."""

    @classmethod
    def of(cls, model: ModelFacts, layout: InputLayout | None) -> "Reading":
        """Raises UserError as `inputs_read` finds problems, and `input_mismatch` for texts that are not read for it."""
        if tokens_of(model) is not None:
            return cls._of_tokens(model, layout)
        names, problem = inputs_read(model, layout.own_shapes) if layout is not None else ((), None)
        if problem is not None:
            raise UserError(problem.code, problem.detail)
        if layout is None or len(layout.shapes) == 1:
            shape = model.input_shape if len(model.inputs) < 2 else None
            return cls(None, layout, InputLayout({}), {_SINGLE: _transform_of_single(model)}, shape)
        read = layout.only(names)
        rows = {name: _rows_shape(model, name, shape) for name, shape in read.shapes.items()}
        return cls(layout, read, InputLayout(rows), model.inputs)

    @classmethod
    def _of_tokens(cls, model: ModelFacts, layout: InputLayout | None) -> "Reading":
        """Of a model that reads ids of tokens, which its transform leaves as they are."""
        if layout is None:
            return cls(None, None, InputLayout({}), {_SINGLE: _transform_of_single(model)})
        encoding = tokens_of(model)
        assert encoding is not None
        names = [name for name, tokens in layout.tokens.items() if tokens == encoding]
        names = names or [name for name, tokens in layout.tokens.items() if _reads(encoding, tokens)]
        if len(names) > 1:
            names = [name for name in names if own_name(name) in model.inputs]
        if len(names) != 1:
            raise UserError(
                "input_mismatch",
                "a teacher reads texts by its own tokenizer, and these rows are not made by it: name another teacher",
            )
        read = layout.only(names)
        if len(layout.shapes) == 1:
            return cls(None, read, InputLayout({}), {_SINGLE: IDENTITY})
        return cls(layout, read, InputLayout(read.shapes), {})

    @property
    def tokens(self) -> int | None:
        """Tokens of a row, for a model of texts and rows of a dataset; else None."""
        if self.read is None or not self.read.tokens:
            return None
        ((name, _),) = self.read.tokens.items()
        return self.read.shapes[name][0]

    @property
    def encoding(self) -> TokenEncoding | None:
        """What the ids are that are read of the rows of a dataset; None where they are numbers."""
        return next(iter(self.read.tokens.values()), None) if self.read is not None else None

    def prepare(self, raw: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Raw rows of the dataset -> rows of `dtype` as the model's first layer reads them, several inputs joined."""
        if self.layout is None or self.read is None:
            return apply_in_shape(raw, self.transforms[_SINGLE], self.shape, dtype)
        return transformed(self.layout.select(raw, tuple(self.read.shapes)), self.rows, self.transforms, dtype)


def _reads(model: TokenEncoding, rows: TokenEncoding) -> bool:
    """Whether rows that are made for another model are those that this one reads, and not too long for it."""
    return reads_same_tokens(model, rows) and rows.length <= model.length


def _rows_shape(model: ModelFacts, name: str, found: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in which the model's transform takes one of several inputs: its own where the model fixes it."""
    expected = model.input_shapes.get(name) or (model.input_shape if len(model.inputs) == 1 else None)
    fixed = tuple(side for side in expected or () if side is not None)
    if expected is None or len(fixed) < len(expected) or prod(fixed) != prod(found):
        return found
    return rows_shape(model.inputs.get(name, IDENTITY), fixed)


def _transform_of_single(model: ModelFacts) -> InputTransform:
    """The transform of rows that are one tensor: that of the only input, or those of several, side by side."""
    if len(model.inputs) < 2:
        return next(iter(model.inputs.values()), IDENTITY)
    shapes = {name: tuple(side or 1 for side in model.input_shapes[name]) for name in model.inputs}
    return joined_transform(model.inputs, InputLayout({name: (prod(shape),) for name, shape in shapes.items()}))


def feeds_of(model: ModelFacts, reading: Reading) -> Feeds:
    """How the rows of `reading` are fed to a graph: open dimensions are those of the dataset."""
    read = reading.read.shapes if reading.read is not None else {}
    if model.reads_several_tensors:
        rows = {
            model.graph_inputs[name]: _fed_shape(model, name, shape, model.inputs.get(name, IDENTITY))
            for name, shape in read.items()
        }
        return Feeds(rows, model.constants)
    graph = next(iter(model.graph_inputs.values()), None)
    if graph is None:  # facts of an older version: a single input of a fixed shape
        return Feeds()
    if model.input_shape is not None:
        return Feeds({graph: model.input_shape}, model.constants)
    if not read:
        return Feeds({}, model.constants)
    if len(read) > 1:
        return Feeds({graph: (sum(prod(each) for each in read.values()),)}, model.constants)
    ((name, shape),) = read.items()
    transform = reading.transforms.get(name) or reading.transforms.get(_SINGLE) or IDENTITY
    return Feeds({graph: _fed_shape(model, next(iter(model.graph_inputs)), shape, transform)}, model.constants)


def _fed_shape(model: ModelFacts, name: str, found: tuple[int, ...], transform: InputTransform) -> tuple[int, ...]:
    """The shape in which the graph's input `name` is fed rows of shape `found`, which `inputs_read` let pass."""
    moved = channels_behind(transform, found)
    fed = fed_shape(model.input_shapes.get(name, moved), moved)
    return moved if fed is None else fed
