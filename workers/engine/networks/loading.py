"""Weights from a file into an architecture: renamed, complete, of the right shapes, finite, in float32."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from app.contracts.architectures import Architecture
from app.contracts.layouts import buffer_shapes, parameter_shapes
from app.contracts.manifests import ModelManifest
from app.contracts.problems import UserError
from workers.engine.intake.safetensors_header import read_header

_SHOWN = 10
_COUNTER = "num_batches_tracked"


def renamed(name: str, rename: Mapping[str, str]) -> str:
    """A file's parameter name as ours: the longest prefix of `rename` that ends at a dot (or the end) is replaced."""
    for prefix in sorted(rename, key=len, reverse=True):
        if name == prefix or name.startswith(f"{prefix}."):
            return rename[prefix] + name[len(prefix) :]
    return name


def _listed(names: Iterable[str]) -> str:
    ordered = list(names)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(f"`{name}`" for name in ordered[:_SHOWN]) + more


def _check_names(found: Iterable[str], expected: Mapping[str, tuple[int, ...]]) -> None:
    have = set(found)
    missing = [name for name in expected if name not in have and not name.endswith(_COUNTER)]
    unexpected = sorted(have - set(expected))
    if not missing and not unexpected:
        return
    parts = [f"missing: {_listed(missing)}"] if missing else []
    parts += [f"unexpected: {_listed(unexpected)}"] if unexpected else []
    hint = (
        "; if these are the same layers under other names, map the file's prefixes to ours in the manifest's `rename`"
        if missing and unexpected
        else "; make `architecture` say what the file holds"
    )
    code = "missing_parameters" if missing else "unexpected_parameters"
    raise UserError(code, f"the file does not fit the architecture: {'; '.join(parts)}{hint}")


def _check_shapes(tensors: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]) -> None:
    wrong = [
        f"`{name}` expected {list(expected[name])}, found {list(value.shape)}"
        for name, value in tensors.items()
        if tuple(value.shape) != expected[name]
    ]
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise UserError("wrong_shape", "shapes do not fit the architecture: " + "; ".join(wrong[:_SHOWN]) + more)


def _as_float32(name: str, value: Tensor) -> Tensor:
    if name.endswith(_COUNTER):
        return value.to(torch.int64)
    if not value.is_floating_point():
        raise UserError("wrong_type", f"`{name}` holds {value.dtype}, expected floating-point numbers")
    converted = value.to(torch.float32)
    if not bool(converted.isfinite().all()):
        raise UserError("not_finite", f"`{name}` holds NaN or infinity (as float32): the model cannot be used")
    return converted


def load_weights(path: Path, manifest: ModelManifest, architecture: Architecture) -> dict[str, Tensor]:
    """The state dict of `build(architecture)` from a safetensors file.

    Raises UserError: `unreadable`, `missing_parameters`, `unexpected_parameters`, `wrong_shape`, `wrong_type`,
    `not_finite`.
    """
    names = {name: renamed(name, manifest.rename) for name in read_header(path)}
    if len(set(names.values())) != len(names):
        doubled = sorted({ours for ours in names.values() if list(names.values()).count(ours) > 1})
        raise UserError("bad_rename", f"`rename` maps several parameters of the file to {_listed(doubled)}")
    buffers = buffer_shapes(architecture)
    expected = {**parameter_shapes(architecture), **buffers}
    _check_names(names.values(), expected)
    tensors = {names[name]: value for name, value in load_file(path).items()}
    _check_shapes(tensors, expected)
    counters = {name: torch.zeros((), dtype=torch.int64) for name in buffers if name.endswith(_COUNTER)}
    return counters | {name: _as_float32(name, value) for name, value in tensors.items()}
