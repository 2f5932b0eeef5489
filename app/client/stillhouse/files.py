"""Where a download comes from, and where it goes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from stillhouse.documents import ModelFields
from stillhouse.flows.downloads import MAKING_SECONDS

BUNDLE: Final = "bundle"
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


def target_of(path: str | Path | None, model: ModelFields, form: str | None) -> Path:
    """The file to write: `path`, or in that folder (here, when left out) one with the model's id as name."""
    where = Path(path).expanduser() if path is not None else Path()
    if path is not None and not where.is_dir():
        return where
    shown = form or model.format
    return where / Path(f"{model.id}.{_ENDINGS.get(shown, shown)}").name  # whatever a server calls it, in this folder
