"""Models from files, folders, torch modules and state_dicts."""

import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

from stillhouse.errors import Unreadable
from stillhouse.sources.files import model_format, part_of
from stillhouse.sources.upload import JSON, Fields, FilePart, Upload, named

_ACTIVATIONS: Final[Mapping[str, str]] = {"ReLU": "relu", "GELU": "gelu", "Tanh": "tanh", "SiLU": "silu"}
_WITHOUT_WEIGHTS: Final = frozenset(("Flatten", "Dropout", "Identity", *_ACTIVATIONS))
Source = Any
"""A path, a binary file, a state_dict, or a torch module."""


def upload_of_model(
    source: Source,
    *,
    name: str | None,
    format: str | None,
    architecture: Mapping[str, Any] | None,
    outputs: Fields | None,
    fields: Mapping[str, Any],
) -> Upload:
    """A model with its manifest. `fields`: further ones of the manifest, which have the last word."""
    part, inferred = _read(source, format, architecture, named(outputs))
    shown = name or PurePosixPath(part.name).name.partition(".")[0]
    known = _outputs(named(outputs), inferred.get("architecture"))
    return Upload({"name": shown, **inferred, "outputs": known, **fields}, (part,))


def _read(
    source: Source, form: str | None, architecture: Mapping[str, Any] | None, outputs: Mapping[str, JSON] | None
) -> tuple[FilePart, JSON]:
    if isinstance(source, str | Path) or hasattr(source, "read"):
        part = part_of(source, "model")
        found: JSON = {"format": form or model_format(part.name)}
        return part, found | ({"architecture": dict(architecture)} if architecture else {})
    tensors, read = _tensors(source, architecture, outputs)
    return FilePart("model.safetensors", lambda: _safetensors(tensors)), {"format": "safetensors", **read}


def _tensors(
    source: Any, architecture: Mapping[str, Any] | None, outputs: Mapping[str, JSON] | None
) -> tuple[Mapping[str, Any], JSON]:
    """The tensors of a module or a state_dict, and what the module says of its architecture."""
    tensors = source.state_dict() if hasattr(source, "state_dict") else source
    if not isinstance(tensors, Mapping):
        kind = type(source).__name__
        raise Unreadable(
            f"expected a path, a binary file, a torch module or a state_dict, found {kind}: pass one of these"
        )
    if architecture is not None:
        return tensors, {"architecture": dict(architecture)}
    return tensors, _mlp(source, outputs)


def _mlp(module: Any, outputs: Mapping[str, JSON] | None) -> JSON:
    """The architecture of a torch.nn.Sequential of linear layers, which is the family `mlp`. Raises Unreadable."""
    layers = list(module.named_children()) if type(module).__name__ == "Sequential" else []
    linear = [(name, layer) for name, layer in layers if type(layer).__name__ == "Linear"]
    kinds = {type(layer).__name__ for _, layer in layers}
    activations = {_ACTIVATIONS[kind] for kind in kinds if kind in _ACTIVATIONS}
    if not linear or kinds - _WITHOUT_WEIGHTS - {"Linear"} or len(activations) > 1:
        raise Unreadable(
            "expected a Sequential of linear layers with one activation, or else `architecture`, found "
            f'{type(module).__name__}: say which family it is, such as architecture={{"family": "convnet", …}}'
        )
    sizes = [int(layer.out_features) for _, layer in linear]
    output = next(iter(outputs), "output") if outputs else "output"
    found: JSON = {
        "family": "mlp",
        "input_shape": [int(linear[0][1].in_features)],
        "hidden": sizes[:-1],
        "outputs": {output: sizes[-1]},
        "activation": next(iter(activations), "relu"),
    }
    rename = {name: f"layers.{i}" for i, (name, _) in enumerate(linear)}
    return {"architecture": found, "rename": rename}


def _outputs(outputs: Mapping[str, JSON] | None, architecture: Mapping[str, Any] | None) -> dict[str, JSON]:
    """The meaning of each output: classes, or a value where it is a single number, unless `outputs` says it."""
    sizes: Mapping[str, int] = (architecture or {}).get("outputs") or {}
    names: Sequence[str] = list(outputs or sizes or {"output": {}})
    said = outputs or {}
    return {name: {"kind": "value" if sizes.get(name) == 1 else "class", **said.get(name, {})} for name in names}


def _safetensors(tensors: Mapping[str, Any]) -> AbstractContextManager[BinaryIO]:
    try:
        from safetensors.torch import save
    except ModuleNotFoundError as missing:
        raise Unreadable(
            f"expected {missing.name} to write a module's weights, found none: pip install safetensors torch, or "
            "upload a file"
        ) from None
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return nullcontext(io.BytesIO(save(own)))
