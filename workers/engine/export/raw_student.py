"""A network with all that stands between it and a person: raw rows in, answers out.

Every export that a person runs without this service is made of a `RawStudent`: the rows of the file are made the
dataset's rows (`row_nodes`), and from there `AnsweringNetwork` runs the engine's own functions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from app.contracts.problems import UserError
from app.contracts.resolving.data.exports import refused_message
from app.contracts.resources.graph_names import all_answer_names, graph_input_names
from app.contracts.resources.manifests import InputTransform, OutputSpec
from app.contracts.resources.raw_rows import RawInput, form_of
from app.contracts.resources.row_layouts import channels_first
from app.contracts.resources.tables import InputEncoding
from workers.engine.data.rows.joined import InputLayout, Shape, joined, joined_transform
from workers.engine.data.transform import apply, apply_in_shape
from workers.engine.export.answers import answers
from workers.engine.models import Network


@dataclass(frozen=True)
class RawStudent:
    """A network, what it does to the rows of a dataset, how those stand in a file, and what its outputs mean.

    `inputs` are the transforms in the order in which the network reads the inputs, `shapes` those of one row of each
    as the transform takes it; `forms` say what a person sends.
    """

    network: Network
    inputs: Mapping[str, InputTransform]
    shapes: Mapping[str, Shape]
    forms: Mapping[str, RawInput]
    outputs: Mapping[str, OutputSpec]
    knows_file: bool = False
    """Whether the forms are those of a dataset's file."""

    @classmethod
    def of(
        cls,
        network: Network,
        inputs: Mapping[str, InputTransform],
        shapes: Mapping[str, Shape],
        outputs: Mapping[str, OutputSpec],
        forms: Mapping[str, RawInput] | None = None,
    ) -> "RawStudent":
        """`inputs` may be empty, for rows as the network reads them; forms that are not given follow from the
        transforms.
        """
        inputs = inputs or {"x": InputTransform()}
        known = forms or {}
        shapes = {name: shapes.get(name) or network.input_shape for name in inputs}
        # Rows of tokens may be narrower than the longest that the network reads.
        shapes |= {name: form.arranged for name, form in known.items() if form.tokens is not None}
        found = {name: known.get(name) or form_of(inputs[name], shapes[name]) for name in inputs}
        return cls(network, inputs, shapes, found, outputs, knows_file=set(known) >= set(inputs))

    def check_rows(self) -> None:
        """Raises UserError `rows_not_exportable` where no graph takes the rows of an input."""
        for name, form in self.forms.items():
            if form.refused is not None:
                raise UserError("rows_not_exportable", refused_message(name, form.refused))

    @property
    def rows_are(self) -> str:
        """What a card calls the rows that a person sends."""
        return "rows as they stand in the dataset's file" if self.knows_file else "rows as `inputs` describes them"

    @property
    def input_names(self) -> dict[str, str]:
        """The graph's name of each input: its own, unless an answer has it."""
        return graph_input_names(self.inputs, self.outputs)

    @property
    def answer_names(self) -> tuple[str, ...]:
        """The names of all answers, in order."""
        return all_answer_names(self.outputs)

    def row_shape(self, name: str) -> Shape:
        """The shape of one row of the dataset, after encoding."""
        return row_shape(self.forms[name], self.inputs[name].encoding)

    def as_rows(self, name: str, rows: Tensor) -> Tensor:
        """Rows [n, …] of a dataset, as rows of an input have them: in its shape, those of tokens in any width, and in
        its type.
        """
        form = self.forms[name]
        shaped = rows if form.tokens is not None else rows.reshape(len(rows), *self.row_shape(name))
        return shaped.to(getattr(torch, form.rows))


def row_shape(form: RawInput, encoding: InputEncoding | None) -> Shape:
    """The shape of one row of a dataset whose file has rows of this form."""
    if encoding is not None and encoding.categories is not None and encoding.encoding == "one_hot":
        return (sum(len(names) + 1 for names in encoding.categories),)
    if encoding is not None and encoding.missing == "indicator":
        return (2 * prod(form.arranged),)
    return channels_first(form.arranged) if form.channels_last else form.arranged


class AnsweringNetwork(nn.Module):
    """Rows of a dataset [n, *row_shape], one tensor for each input -> a tuple of answers, as `answer_names` has them.

    A row with NaN that nothing fills, or with a number that float32 does not hold, has answers of NaN, whatever the
    layers make of it: a dataset with such rows is refused.
    """

    def __init__(self, student: RawStudent) -> None:
        super().__init__()
        self.network = student.network
        self._student = student
        self._floats = [form.dtype.startswith("float") for form in student.forms.values()]

    def forward(self, *rows: Tensor) -> tuple[Tensor, ...]:
        x = self._prepared(rows)
        found = answers(self._student.outputs, self.network(x))
        floats = [each for each, is_float in zip(rows, self._floats, strict=True) if is_float]
        if not floats:
            return tuple(found.values())
        refused = joined([~each.float().flatten(1).isfinite() for each in floats]).any(dim=1, keepdim=True)
        return tuple(
            torch.where(refused[(..., *[None] * (answer.dim() - 2))], torch.nan, answer) for answer in found.values()
        )

    def _prepared(self, rows: tuple[Tensor, ...]) -> Tensor:
        student = self._student
        if len(rows) == 1:
            ((name, transform),) = student.inputs.items()
            return apply_in_shape(rows[0], transform, student.shapes[name])
        wide = any(each.dtype == torch.float64 for each in rows)
        same = [each.to(torch.float64 if wide else torch.float32) for each in rows]
        return apply(joined(same), joined_transform(student.inputs, InputLayout(student.shapes)))
