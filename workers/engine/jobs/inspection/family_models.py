"""Does a model hold what its manifest says? Names, shapes, values, outputs."""

from math import prod
from pathlib import Path

import torch

from app.contracts.layouts.layouts import layers, parameter_count
from app.contracts.problems import UserError
from app.contracts.resolving.multitask.sharing import sharing_misfits
from app.contracts.resolving.students.transformers import misfits
from app.contracts.resources.facts import ModelFacts, OutputFacts
from app.contracts.resources.manifests import InputTransform, ModelManifest, OutputSpec
from app.contracts.specs.architectures import Architecture, Convnet, Resnet, Transformer, row_sides
from workers.engine.models.build import build
from workers.engine.models.loading import load_weights

MOST_NUMBERS = 1 << 28
"""Most numbers in one row, or in one batch where a graph fixes its size."""


def check_transform(inputs: dict[str, InputTransform], row: tuple[int, ...]) -> None:
    """Statistics are one number, or one for each element of a row's first dimension."""
    for name, transform in inputs.items():
        for word, statistic in (("mean", transform.mean), ("std", transform.std)):
            if isinstance(statistic, tuple) and len(statistic) != row[0]:
                raise UserError(
                    "shape_mismatch",
                    f"`inputs.{name}.{word}` has {len(statistic)} numbers, expected 1 or {row[0]} (rows: {list(row)})",
                )


def check_output(name: str, spec: OutputSpec, size: int) -> OutputFacts:
    """An output's size must fit its kind and its class names."""
    if spec.kind == "class":
        if size < 2:
            raise UserError("wrong_output", f"`{name}` is of kind class and needs at least 2 scores, found {size}")
        if spec.classes is not None and len(spec.classes) != size:
            raise UserError("wrong_output", f"`{name}` names {len(spec.classes)} classes for {size} scores")
    if spec.kind == "value" and size != 1:
        raise UserError("wrong_output", f"`{name}` is of kind value and has one number a row, found {size}")
    if spec.kind == "vector" and spec.mean is not None and len(spec.mean) != size:
        raise UserError("wrong_output", f"`{name}` has {size} numbers a row, and its `mean` and `std` {len(spec.mean)}")
    return OutputFacts(spec=spec, size=size)


def inspect_family_model(path: Path, manifest: ModelManifest) -> ModelFacts:
    """Load the weights into the architecture and try one row. Raises UserError with the reason of refusal."""
    architecture = manifest.architecture
    assert architecture is not None
    assert architecture.input_shape is not None
    assert architecture.outputs is not None
    _check_buildable(architecture, architecture.input_shape)
    check_transform(manifest.inputs, architecture.input_shape)
    outputs = {name: check_output(name, manifest.outputs[name], size) for name, size in architecture.outputs.items()}
    weights = load_weights(path, manifest, architecture)  # first: a manifest alone may not make the network large
    network = build(architecture)
    network.load_state_dict(weights)
    network.eval()
    with torch.no_grad():
        found = network(network.example())
    if not all(bool(values.isfinite().all()) for values in found.values()):
        raise UserError("not_finite", "the model puts out NaN or infinity for a row of zeros")
    return ModelFacts(
        architecture=architecture,
        input_shape=architecture.input_shape,
        inputs=manifest.inputs,
        outputs=outputs,
        parameters=parameter_count(architecture),
        layers=layers(architecture),
    )


def check_row(shape: tuple[int, ...], rows: int = 1) -> None:
    """Rows are bounded before one is made. Raises UserError `shape_mismatch`."""
    if prod(shape) * rows > MOST_NUMBERS:
        many = "rows" if rows == 1 else f"batches of {rows} rows"
        raise UserError("shape_mismatch", f"{many} of {prod(shape)} numbers are beyond what the service takes")


def _check_buildable(architecture: Architecture, shape: tuple[int, ...]) -> None:
    sides = row_sides(architecture)
    if sides is not None and len(shape) != len(sides):
        raise UserError(
            "shape_mismatch",
            f"a {architecture.family} needs `input_shape` [{', '.join(sides)}], found {list(shape)}",
        )
    check_row(shape)
    if isinstance(architecture, Convnet) and min(shape[1:]) >> len(architecture.channels) == 0:
        raise UserError(
            "too_many_stages",
            f"{len(architecture.channels)} stages halve {shape[1]}x{shape[2]} to nothing: at most "
            f"{min(shape[1:]).bit_length() - 1} stages fit",
        )
    if isinstance(architecture, Resnet) and (architecture.depth - 2) % 6:
        raise UserError("bad_depth", f"a resnet's depth is 6n+2 (8, 14, 20, 26, …), found {architecture.depth}")
    for problem in misfits(architecture, tokens=shape[0]) if isinstance(architecture, Transformer) else ():
        raise UserError(problem.code, problem.detail)
    for problem in sharing_misfits(architecture):
        raise UserError(problem.code, problem.detail)
