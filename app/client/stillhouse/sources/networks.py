"""Models from files, folders, torch modules and state_dicts."""

import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from stillhouse.errors import Unreadable
from stillhouse.sources.converting import reading
from stillhouse.sources.files import model_format, part_of
from stillhouse.sources.sequential import mlp_of
from stillhouse.sources.upload import JSON, Fields, FilePart, Upload, named

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
    with reading("the model"):
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
    _check_tensors(tensors)
    if architecture is not None:
        return tensors, {"architecture": dict(architecture)}
    return tensors, mlp_of(source, outputs)


def _check_tensors(tensors: Mapping[Any, Any]) -> None:
    """Raises Unreadable for a checkpoint, whose weights are one entry of several."""
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            raise Unreadable(f"expected tensors by name, found the name {name!r}: pass a state_dict")
        if isinstance(tensor, Mapping):
            raise Unreadable(
                f"expected tensors by name, found a checkpoint whose `{name}` is a mapping: pass that entry, such as "
                f"checkpoint[{name!r}], or save the checkpoint as a file and say `key`"
            )
        if not all(hasattr(tensor, part) for part in ("detach", "cpu", "dtype")):
            raise Unreadable(
                f"expected `{name}` to be a tensor, found {type(tensor).__name__}: leave out what is no tensor"
            )


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
    with reading("the weights"):
        own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        return nullcontext(io.BytesIO(save(own)))
