"""Where a download comes from, and where it goes."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from stillhouse.documents import ModelFields
from stillhouse.flows.downloads import MAKING_SECONDS
from stillhouse.flows.parts import real_target
from stillhouse.sources.converting import expanded

BUNDLE: Final = "bundle"
_SLASHES: Final = tuple({"/", os.sep})
_ENDINGS: Final[Mapping[str, str]] = {
    "safetensors": "safetensors", "onnx": "onnx", "int8": "int8.onnx", "fp16": "fp16.onnx", BUNDLE: "zip",
    "state_dict": "pt", "huggingface": "zip",
}  # fmt: skip


def download_params(model: str, form: str | None) -> tuple[str, dict[str, Any]]:
    """The path and the parameters by which a model is downloaded in a format, which is made if need be."""
    wait = f"{MAKING_SECONDS:.0f}"
    if form == BUNDLE:
        return f"/v1/models/{model}/bundle", {"wait": wait}
    return f"/v1/models/{model}/weights", {} if form is None else {"format": form, "wait": wait}


def file_name(model: ModelFields, form: str | None) -> str:
    """The name of a model's file where the caller says none: its id, and an ending for the format."""
    shown = form or model.format
    return f"{model.id}.{_ENDINGS.get(shown, shown)}"


def target_of(path: str | Path | None, name: str) -> Path:
    """The file to write: `path`, or in that folder (here, when left out) one of this name.

    A text that ends in a slash is a folder, which is made where there is none. Raises Unreadable for what must not be
    replaced by a file.
    """
    shown = Path(name).name  # whatever a server calls it, in this folder
    where = expanded(path) if path is not None else Path()
    folder = path is None or where.is_dir() or (isinstance(path, str) and path.endswith(_SLASHES))
    target = where / shown if folder else where
    real_target(target)
    return target
