"""The inputs of a model's ONNX file, by their names, and the rows that it takes."""

from collections.abc import Mapping
from math import prod

from pydantic import Field

from app.contracts.base import Answer, left_out
from app.contracts.resources.facts import ModelFacts, OpenShape
from app.contracts.resources.graph_names import graph_input_names
from app.contracts.resources.inputs.audio import AudioForm
from app.contracts.resources.inputs.images import ImageForm
from app.contracts.resources.inputs.texts import TokenEncoding
from app.contracts.resources.manifests import InputTransform
from app.contracts.resources.raw_rows import RawInput, form_of
from app.contracts.resources.tables import Missing


class GraphInput(Answer):
    """One input of a model's ONNX file: a tensor [batch, *shape], any number of rows."""

    input: str = Field(description="Its name in the file.")
    dtype: str = Field(description="Type of its numbers, such as `float64` or `uint8`; `string` for text.")
    shape: OpenShape = Field(
        description="Shape of one row, without the batch; null for a side that the file leaves open."
    )
    columns: tuple[str, ...] | None = Field(
        default=None, description="The columns of a table that a row has, in order; null for other rows."
    )
    channels_last: bool = Field(default=False, description="Whether the last side of a row counts the channels.")
    image: ImageForm | None = Field(
        default=None,
        exclude_if=left_out,
        description="How image files become such rows: decoded, and brought to this size. Left out for other rows.",
    )
    audio: AudioForm | None = Field(
        default=None,
        exclude_if=left_out,
        description="How sound files become such rows: decoded, and brought to these features. Left out for "
        "other rows.",
    )
    tokens: TokenEncoding | None = Field(
        default=None,
        exclude_if=left_out,
        description="How texts become such rows: by the model's `tokenizer.json`. Left out for other rows.",
    )
    missing: Missing | None = Field(
        default=None, description="What fills NaN, of the training rows; null where NaN gives answers of NaN."
    )
    categories: tuple[tuple[str, ...], ...] | None = Field(
        default=None, description="Of each column of categories, those that the model knows; null for numbers."
    )
    spellings: tuple[dict[str, str | None], ...] = Field(
        default=(),
        description="Of each column of categories as text, what else may be written beside the usual ways of Python, "
        "numpy and data frames: text -> category, or null where it is none. The ONNX file cannot leave out spaces and "
        "tabs around a text: strip them before.",
    )
    transform_in_graph: bool = Field(
        description="Whether rows go in as they stand in the file. False for an uploaded graph, whose rows are first "
        "transformed as `inputs` says."
    )
    refused: str | None = Field(default=None, description="Why the model has no such file; else null.")


def graph_inputs(facts: ModelFacts) -> dict[str, GraphInput]:
    """The inputs of a ready model's ONNX file, by the names of the dataset's inputs."""
    if facts.architecture is None:
        return {
            name: GraphInput(
                input=graph, dtype=facts.input_types[name], shape=facts.input_shapes[name], transform_in_graph=False
            )
            for name, graph in facts.graph_inputs.items()
        }
    inputs = facts.inputs or {"x": InputTransform()}
    names = graph_input_names(inputs, {name: output.spec for name, output in facts.outputs.items()})
    return {name: _of_network(names[name], _form(facts, name, inputs), inputs[name], facts) for name in inputs}


def _form(facts: ModelFacts, name: str, inputs: Mapping[str, InputTransform]) -> RawInput:
    known = facts.raw_inputs.get(name)
    if known is not None:
        return known
    own = facts.input_shapes.get(name) if len(inputs) > 1 else None
    shape = own or facts.input_shape or ()
    return form_of(inputs[name], tuple(side for side in shape if side is not None))


def _of_network(name: str, form: RawInput, transform: InputTransform, facts: ModelFacts) -> GraphInput:
    encoding = transform.encoding
    columns = transform.columns or (encoding.columns if encoding is not None else ())
    return GraphInput(
        input=name,
        dtype=form.dtype,
        shape=form.shape if form.tokens is None else (None,),
        columns=columns if len(columns) == prod(form.shape) else None,
        channels_last=form.channels_last,
        image=form.image,
        audio=form.audio,
        tokens=form.tokens,
        missing=encoding.missing if encoding is not None else None,
        categories=encoding.categories if encoding is not None else None,
        spellings=form.spellings if form.dtype == "string" else (),
        transform_in_graph=True,
        refused=facts.export_refused or form.refused,
    )
