"""Weights from a file into an architecture: renamed, complete, of the right shapes, finite, in float32."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from app.contracts.problems import UserError, listed
from app.contracts.resources.manifests import ModelManifest
from app.contracts.specs.architectures import Architecture
from workers.engine.models.build import file_tensors
from workers.engine.models.ignored import ignored, ignored_notes
from workers.engine.models.parameter_names import COUNTER, MatchedNames, check_names, matched
from workers.engine.models.safetensors_header import WAY_OUT, TensorEntry, read_header
from workers.engine.models.weight_norm import folded

VARIANCE = "running_var"
"""Last part of the names of the variances that normalisation layers divide by."""
_SHOWN = 10


def _check_shapes(shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> None:
    wrong = [
        f"`{name}` expected {list(expected[name])}, found {list(shape)}"
        for name, shape in shapes.items()
        if shape != expected[name]
    ]
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise UserError("wrong_shape", "shapes do not fit the architecture: " + "; ".join(wrong[:_SHOWN]) + more)


def _shapes(header: Mapping[str, TensorEntry], found: MatchedNames) -> dict[str, tuple[int, ...]]:
    """The shapes of our tensors; a weight in two parts has that of its direction."""
    shapes = {ours: header[name].shape for name, ours in found.names.items()}
    weights = {weight: shapes[direction] for weight, (_, direction) in found.normed.items()}
    parts = {part for pair in found.normed.values() for part in pair}
    return {name: shape for name, shape in shapes.items() if name not in parts} | weights


def _as_float32(name: str, value: Tensor) -> Tensor:
    if name.endswith(COUNTER):
        return value.to(torch.int64)
    if not value.is_floating_point():
        raise UserError(
            "wrong_type", f"`{name}` holds {value.dtype}, expected floating-point numbers: convert it before saving"
        )
    converted = value.to(torch.float32)
    if not bool(converted.isfinite().all()):
        raise UserError("not_finite", f"`{name}` holds NaN or infinity (as float32): the model cannot be used")
    if name.endswith(VARIANCE) and bool((converted < 0.0).any()):
        raise UserError(
            "negative_variance",
            f"`{name}` has a variance of {float(converted.min()):.3g}, expected 0 or more: save the model again, or "
            "compute the statistics of its normalisation layers anew",
        )
    return converted


def _fold(tensors: dict[str, Tensor], found: MatchedNames) -> None:
    """Replace the parts of normed weights by the weights, computed in float32 or wider."""
    for weight, names in found.normed.items():
        parts = [tensors.pop(name) for name in names]
        dtype = torch.float64 if any(part.dtype == torch.float64 for part in parts) else torch.float32
        tensors[weight] = folded(weight, parts[0].to(dtype), parts[1].to(dtype))


def load_weights(path: Path, manifest: ModelManifest, architecture: Architecture) -> dict[str, Tensor]:
    """The state dict of `build(architecture)` from a safetensors file.

    Raises UserError: `unreadable`, `missing_parameters`, `unexpected_parameters`, `bad_rename`, `wrong_shape`,
    `wrong_type`, `not_finite`, `negative_variance`.
    """
    header = read_header(path)
    found = matched(header, manifest, architecture)
    check_names(found)
    ours = file_tensors(architecture)
    buffers, expected = ours.buffers, ours.shapes
    _check_shapes(_shapes(header, found), expected)
    try:
        tensors = {found.names[name]: value for name, value in load_file(path).items() if name in found.names}
    except SafetensorError as error:
        raise UserError("unreadable", f"not a sound safetensors file: {error}; {WAY_OUT}") from None
    _fold(tensors, found)
    counters = {name: torch.zeros((), dtype=torch.int64) for name in buffers if name.endswith(COUNTER)}
    zeros = {name: torch.zeros(expected[name]) for name in found.zero}
    loaded = counters | zeros
    loaded |= {name: value if name in ours.constants else _as_float32(name, value) for name, value in tensors.items()}
    return {ours.names.get(name, name): value for name, value in loaded.items()}


def loading_notes(path: Path, manifest: ModelManifest, architecture: Architecture) -> tuple[dict[str, str], ...]:
    """What `load_weights` does with a file beyond reading it, each with a stable `code` and a `message`."""
    header = read_header(path)
    found = matched(header, manifest, architecture)
    said = (
        (found.dropped, "prefix_dropped", f"names in the file begin with `{found.dropped}`, which was left out"),
        (found.normed, "weight_norm_folded", f"weight_norm was folded into {listed(found.normed)}"),
        (found.zero, "zero_biases", f"the file has no {listed(found.zero)}: zero, as `missing_biases` says"),
    )
    notes = tuple({"code": code, "message": message} for applies, code, message in said if applies)
    return notes + ignored_notes(ignored(header, manifest.ignore))
