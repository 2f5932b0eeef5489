"""What a model reads of the rows of a dataset, and the transform of each part."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resolving.data.inputs import inputs_read
from app.contracts.resources.facts import ModelFacts, OpenShape
from app.contracts.resources.manifests import InputTransform
from workers.engine.data.layout import IDENTITY, InputLayout, joined_transform, transformed
from workers.engine.data.transform import apply
from workers.engine.models.onnx_graph import Feeds


@dataclass(frozen=True)
class Reading:
    """The inputs that a model reads, in its order."""

    layout: InputLayout | None
    """Of the dataset's rows; None where they have a single input of any shape."""
    read: InputLayout | None
    """Of what the model reads; None as above."""
    transforms: Mapping[str, InputTransform]
    whole: InputTransform = IDENTITY
    """The transform of rows with a single input."""

    @classmethod
    def of(cls, model: ModelFacts, layout: InputLayout | None) -> "Reading":
        """Raises UserError as `inputs_read` finds problems."""
        if layout is None or len(layout.shapes) == 1:
            names, problem = inputs_read(model, layout.shapes) if layout is not None else ((), None)
            if problem is not None:
                raise UserError(problem.code, problem.detail)
            return cls(None, None if layout is None else layout, {}, _transform_of_single(model))
        names, problem = inputs_read(model, layout.shapes)
        if problem is not None:
            raise UserError(problem.code, problem.detail)
        return cls(layout, layout.only(names), model.inputs)

    def prepare(self, raw: Tensor) -> Tensor:
        """Raw rows of the dataset -> float32 rows as the model's first layer reads them, several inputs joined."""
        if self.layout is None or self.read is None:
            return apply(raw, self.whole)
        names = tuple(self.read.shapes)
        return transformed(self.layout.select(raw, names), self.read, self.transforms)


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
        rows = {model.graph_inputs[name]: _fed_shape(model.input_shapes[name], shape) for name, shape in read.items()}
        return Feeds(rows, model.constants)
    graph = next(iter(model.graph_inputs.values()), None)
    if graph is None:  # facts of an older version: a single input of a fixed shape
        return Feeds()
    if model.input_shape is not None:
        return Feeds({graph: model.input_shape}, model.constants)
    if not read:
        return Feeds({}, model.constants)
    shape = next(iter(read.values())) if len(read) == 1 else (sum(prod(each) for each in read.values()),)
    return Feeds({graph: shape}, model.constants)


def _fed_shape(expected: OpenShape, found: tuple[int, ...]) -> tuple[int, ...]:
    fixed = tuple(side for side in expected if side is not None)
    return fixed if len(fixed) == len(expected) else found
