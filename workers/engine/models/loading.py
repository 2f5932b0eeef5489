"""Weights from a file into an architecture: renamed, complete, of the right shapes, finite, in float32."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from app.contracts.layouts.summary import buffer_shapes, parameter_shapes
from app.contracts.problems import UserError
from app.contracts.resources.manifests import ModelManifest
from app.contracts.specs.architectures import Architecture
from workers.engine.models.safetensors_header import TensorEntry, read_header

_SHOWN = 10
_COUNTER = "num_batches_tracked"


def renamed(name: str, rename: Mapping[str, str]) -> str:
    """A file's parameter name as ours: the longest prefix of `rename` that ends at a dot (or the end) is replaced."""
    end = len(name)
    while end > 0:
        if name[:end] in rename:
            return rename[name[:end]] + name[end:]
        end = name.rfind(".", 0, end)
    return name


def _listed(names: Iterable[str]) -> str:
    ordered = list(names)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(f"`{name}`" for name in ordered[:_SHOWN]) + more


def _check_names(names: Iterable[str], expected: Mapping[str, tuple[int, ...]]) -> None:
    have = set(names)
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


def _check_shapes(entries: Mapping[str, TensorEntry], expected: Mapping[str, tuple[int, ...]]) -> None:
    wrong = [
        f"`{name}` expected {list(expected[name])}, found {list(entry.shape)}"
        for name, entry in entries.items()
        if entry.shape != expected[name]
    ]
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise UserError("wrong_shape", "shapes do not fit the architecture: " + "; ".join(wrong[:_SHOWN]) + more)


def _as_float32(name: str, value: Tensor) -> Tensor:
    if name.endswith(_COUNTER):
        return value.to(torch.int64)
    if not value.is_floating_point():
        raise UserError(
            "wrong_type", f"`{name}` holds {value.dtype}, expected floating-point numbers: convert it before saving"
        )
    converted = value.to(torch.float32)
    if not bool(converted.isfinite().all()):
        raise UserError("not_finite", f"`{name}` holds NaN or infinity (as float32): the model cannot be used")
    return converted


def load_weights(path: Path, manifest: ModelManifest, architecture: Architecture) -> dict[str, Tensor]:
    """The state dict of `build(architecture)` from a safetensors file.

    Raises UserError: `unreadable`, `missing_parameters`, `unexpected_parameters`, `wrong_shape`, `wrong_type`,
    `not_finite`.
    """
    header = read_header(path)
    names = {name: renamed(name, manifest.rename) for name in header}
    doubled = sorted(ours for ours, count in Counter(names.values()).items() if count > 1)
    if doubled:
        raise UserError(
            "bad_rename",
            f"`rename` maps several parameters of the file to {_listed(doubled)}: give each a name of its own",
        )
    buffers = buffer_shapes(architecture)
    expected = {**parameter_shapes(architecture), **buffers}
    _check_names(names.values(), expected)
    _check_shapes({names[name]: entry for name, entry in header.items()}, expected)
    try:
        tensors = {names[name]: value for name, value in load_file(path).items()}
    except SafetensorError as error:
        raise UserError("unreadable", f"not a sound safetensors file: {error}") from None
    counters = {name: torch.zeros((), dtype=torch.int64) for name in buffers if name.endswith(_COUNTER)}
    return counters | {name: _as_float32(name, value) for name, value in tensors.items()}
