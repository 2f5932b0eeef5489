"""Checks a model of a known architecture against its manifest: names, shapes, values, outputs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from time import monotonic
from typing import assert_never

import torch
from torch import Tensor

from app.contracts.layouts.summary import layers, parameter_count
from app.contracts.problems import UserError
from app.contracts.resolving.multitask.sharing import sharing_misfits
from app.contracts.resources.facts import ModelFacts, OutputFacts
from app.contracts.resources.manifests import (
    ClassOutput,
    InputTransform,
    MapOutput,
    ModelManifest,
    MultilabelOutput,
    OutputSpec,
    PositionOutput,
    TokenClassOutput,
    ValueOutput,
    VectorOutput,
)
from app.contracts.resources.row_layouts import rows_shape, statistics_misfit
from app.contracts.specs.architectures import Architecture, Convnet, HuggingFace
from app.contracts.specs.families.convnet import map_misfits
from workers.engine.data.quality.meaning import check_meaning
from workers.engine.data.rows.joined import IDENTITY, InputLayout
from workers.engine.evaluation.examples import RawModel, examples_of, outputs_as_in_files, plain_rows
from workers.engine.jobs.inspection.reference import check_reference
from workers.engine.jobs.inspection.trial import RowKind, try_out
from workers.engine.models.build import build
from workers.engine.models.loading import load_weights, loading_notes
from workers.engine.models.network import Network

TRIAL_ROWS = 8
TRIAL_TOKENS = 32
"""Tokens of a row of a trial."""
MAX_TRIAL_NUMBERS = 1 << 20
MAX_NUMBERS = 1 << 28
"""Maximum number of elements of a row, or of a batch for graphs with a fixed batch size."""


def check_transform(inputs: Mapping[str, InputTransform], row: tuple[int, ...]) -> None:
    """Check that `mean` and `std` have as many numbers as a transform of rows of this shape may have.

    Raises UserError `shape_mismatch`.
    """
    for name, transform in inputs.items():
        if transform.layout == "channels_last" and len(row) < 2:
            detail = f"`inputs.{name}.layout`: rows of shape {list(row)} have no channels, leave it out"
            raise UserError("shape_mismatch", detail)
        wrong = statistics_misfit(transform, rows_shape(transform, row))
        if wrong is not None:
            raise UserError("shape_mismatch", f"`inputs.{name}`: {wrong}")


def check_output(name: str, spec: OutputSpec, size: int) -> OutputFacts:
    """The facts of an output. Raises UserError `wrong_output` if its size does not fit its kind or class names."""
    match spec:
        case ClassOutput():
            if size < 2:
                raise UserError(
                    "wrong_output",
                    f"`{name}` is of kind class and needs at least 2 scores, found {size}: is it of kind `value`? One "
                    "score z of the second of two classes is the logits [0, z]: put a row of zeros before the last "
                    "layer's weight and bias, or upload an ONNX graph, whose single score is taken as log-odds "
                    "(`logits`) or as a probability (`probabilities`)",
                )
            if spec.classes is not None and len(spec.classes) != size:
                raise UserError(
                    "wrong_output", f"`{name}` names {len(spec.classes)} classes for {size} scores: name each"
                )
        case TokenClassOutput() | MapOutput():
            _check_scores_of_positions(name, spec, size)
        case MultilabelOutput():
            pass
        case ValueOutput():
            if size != 1:
                raise UserError(
                    "wrong_output",
                    f"`{name}` is of kind value and has one number a row, found {size}: is it a `vector`?",
                )
        case VectorOutput():
            if spec.mean is not None and len(spec.mean) != size:
                detail = f"`{name}` has {size} numbers a row, and its `mean` and `std` {len(spec.mean)}"
                raise UserError("wrong_output", detail)
        case _:
            assert_never(spec)
    return OutputFacts(spec=spec, size=size)


def _check_scores_of_positions(name: str, spec: PositionOutput, size: int) -> None:
    named = size if spec.classes is None else len(spec.classes)
    if size < 2 or named != size:
        raise UserError(
            "wrong_output",
            f"`{name}` has {size} scores for each token or pixel and names for {named} classes, expected 2 or more, "
            "all of them named or none: correct `classes`",
        )


def check_answers(architecture: Architecture, outputs: Mapping[str, OutputSpec]) -> None:
    """Check that a network answers for tokens and pixels where its outputs do, and that an encoder has vectors.

    Raises UserError `wrong_output`.
    """
    is_encoder = isinstance(architecture, HuggingFace) and architecture.embedding is not None
    of_tokens = isinstance(architecture, HuggingFace) and architecture.answers == "tokens"
    for name, spec in outputs.items():
        if is_encoder and (not isinstance(spec, VectorOutput) or spec.mean is not None):
            raise UserError(
                "wrong_output",
                f"`{name}` is of kind {spec.kind}, expected a `vector` without `mean` and `std` of an encoder with "
                "`embedding`: declare it so, or leave `embedding` out",
            )
        if isinstance(spec, TokenClassOutput) != of_tokens:
            found = "each token" if of_tokens else "each row"
            raise UserError(
                "wrong_output",
                f"`{name}` is of kind {spec.kind}, and the network answers for {found}: declare another kind, or set "
                "`answers` of a network of transformers",
            )
        shape = spec.shape if isinstance(spec, MapOutput) else None
        if shape != architecture.map_shapes.get(name):
            raise UserError(
                "wrong_output",
                f"`{name}` is of kind {spec.kind}, with maps of shape {shape}, and `maps` of the network has "
                f"{architecture.map_shapes.get(name)} for it: declare the kind `map` with the `shape` of `maps`, of a "
                "convnet",
            )


def inspect_family_model(path: Path, manifest: ModelManifest) -> ModelFacts:
    """Load the weights into the architecture, which is measured where a library builds it, and run one row.

    Raises UserError with the reason of the rejection.
    """
    architecture = manifest.architecture
    begun = monotonic()
    assert architecture is not None
    assert architecture.input_shape is not None
    assert architecture.outputs is not None
    _check_buildable(architecture, architecture.input_shape)
    check_answers(architecture, manifest.outputs)
    layout = InputLayout(_input_shapes(manifest, architecture.input_shape))
    for name, shape in layout.shapes.items():
        check_transform({name: manifest.inputs.get(name, IDENTITY)}, shape)
    outputs = {name: check_output(name, manifest.outputs[name], size) for name, size in architecture.outputs.items()}
    weights = load_weights(
        path, manifest, architecture
    )  # before `build`: a manifest alone must not allocate a large network
    network = build(architecture)
    network.load_state_dict(weights)
    network.eval()
    transforms = {name: spec.transform for name, spec in manifest.inputs.items()}
    tried = RawModel(layout, transforms, partial(outputs_as_in_files, network))
    if not all(bool(values.isfinite().all()) for values in tried.forward(network.example()).values()):
        raise UserError(
            "not_finite",
            "the model's outputs are NaN or infinite for a row of zeros, expected finite numbers: check its weights "
            "and that its normalisation layers have their statistics",
        )
    trial = _Trial.of(architecture, layout)
    _check_trial_rows(network, trial, outputs)
    examples = try_out(replace(tried, layout=trial.layout), trial.rows, monotonic() - begun)
    check_reference(manifest, tried)
    return ModelFacts(
        architecture=architecture,
        input_shape=architecture.input_shape,
        inputs=transforms,
        input_shapes=dict(layout.shapes),
        outputs=outputs,
        parameters=parameter_count(architecture),
        layers=layers(architecture),
        warnings=loading_notes(path, manifest, architecture),
        examples=examples_of(examples),
    )


@dataclass(frozen=True)
class _Trial:
    """Rows on which a model is tried: of plausible numbers, several inputs joined, or of tokens."""

    layout: InputLayout
    shape: tuple[int, ...]
    vocabulary: int | None
    """Ids of tokens are below it; None where rows are numbers."""

    @classmethod
    def of(cls, architecture: Architecture, layout: InputLayout) -> "_Trial":
        """Rows as the network takes them; of texts short ones, which it takes as well."""
        assert architecture.input_shape is not None
        match architecture.reads:
            case "numbers":
                return cls(layout, architecture.input_shape, None)
            case "tokens":
                assert isinstance(architecture, HuggingFace)
                assert architecture.measured is not None
                width = min(architecture.input_shape[0], TRIAL_TOKENS)
                short = InputLayout(dict.fromkeys(layout.shapes, (width,)))
                return cls(short, (width,), architecture.measured.vocabulary)
            case _:
                assert_never(architecture.reads)

    def rows(self, kind: RowKind, count: int) -> Tensor:
        """Rows of a kind; of tokens all kinds but `plain` are random."""
        size = sum(prod(each) for each in self.layout.shapes.values())
        shape = (size,) if len(self.layout.shapes) > 1 else next(iter(self.layout.shapes.values()))
        if kind == "plain":
            return plain_rows(shape, self.vocabulary)
        return self._drawn(shape, count) if kind == "normal" else self._drawn_bytes(shape, count)

    def drawn(self, count: int) -> Tensor:
        """Standard normal numbers, or ids [count, *shape], after the transform."""
        return self._drawn(self.shape, count)

    def _drawn(self, shape: tuple[int, ...], count: int) -> Tensor:
        draw = torch.Generator().manual_seed(0)
        if self.vocabulary is None:
            return torch.randn(count, *shape, generator=draw)
        return torch.randint(0, self.vocabulary, (count, *shape), generator=draw).float()

    def _drawn_bytes(self, shape: tuple[int, ...], count: int) -> Tensor:
        draw = torch.Generator().manual_seed(0)
        return torch.randint(0, min(256, self.vocabulary or 256), (count, *shape), generator=draw).float()


def _check_trial_rows(network: Network, trial: _Trial, outputs: Mapping[str, OutputFacts]) -> None:
    """Run random rows and check what the outputs mean. Large rows are left to the first job on real ones."""
    if prod(trial.shape) * TRIAL_ROWS > MAX_TRIAL_NUMBERS:
        return
    rows = trial.drawn(TRIAL_ROWS)
    for name, values in outputs_as_in_files(network, rows).items():
        check_meaning(name, outputs[name].spec, values.double().numpy())


def _input_shapes(manifest: ModelManifest, row: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The shape of each input that a network reads, by name; `x` where the manifest names none."""
    if len(manifest.inputs) < 2:
        return {next(iter(manifest.inputs), "x"): row}
    return {name: spec.shape or row for name, spec in manifest.inputs.items()}


def check_row(shape: tuple[int, ...], rows: int = 1) -> None:
    """Check the size of a row or batch before it is allocated. Raises UserError `shape_mismatch`."""
    if prod(shape) * rows > MAX_NUMBERS:
        unit = "rows" if rows == 1 else f"batches of {rows} rows"
        raise UserError(
            "shape_mismatch", f"{unit} of {prod(shape)} numbers are larger than the service accepts: use smaller rows"
        )


def _check_buildable(architecture: Architecture, shape: tuple[int, ...]) -> None:
    expected = architecture.sides_misfit(shape)
    if expected is not None:
        raise UserError(
            "shape_mismatch",
            f"a {architecture.family} needs `input_shape` {expected}, found {list(shape)}: correct it",
        )
    check_row(shape)
    of_maps = map_misfits(architecture, architecture.outputs or {}) if isinstance(architecture, Convnet) else []
    for problem in (*architecture.misfits(shape), *sharing_misfits(architecture), *of_maps):
        raise UserError(problem.code, problem.detail)
