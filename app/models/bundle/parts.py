"""The files of a bundle. What another kind of input or network needs beside them (tokenizers, labels of images) is one
more function in `PARTS`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from app.http.ranges import Span
from app.models.bundle.bundled import BundledModel
from app.models.bundle.card import card
from app.models.bundle.config import configuration
from app.models.bundle.libraries import HUGGINGFACE_FOLDER, TIMM_FOLDER, huggingface_files, timm_config
from app.resources.blob_parts import BlobSpan

Members = Mapping[str, bytes | BlobSpan]
_PROGRAMS: Final = Path(__file__).parent / "program"


def _stored(model: BundledModel) -> Members:
    """The model's own files."""
    return {name: BlobSpan(file.sha256, Span(0, file.bytes)) for name, file in model.files.items()}


def _described(model: BundledModel) -> Members:
    """What the files are, for programs and for people."""
    return {"config.json": configuration(model), "README.md": card(model)}


def _program(model: BundledModel) -> Members:
    """What reads a person's file and prints the answers."""
    return {"predict.py": (_PROGRAMS / "predict.py").read_bytes()}


def _images(model: BundledModel) -> Members:
    """What makes rows of image files, for a model that reads nothing but images."""
    return {"images.py": (_PROGRAMS / "images.py").read_bytes()} if model.reads_images else {}


def _sounds(model: BundledModel) -> Members:
    """What makes rows of sound files, for a model that reads nothing but sounds."""
    return {"sounds.py": (_PROGRAMS / "sounds.py").read_bytes()} if model.reads_sounds else {}


def _texts(model: BundledModel) -> Members:
    """What makes rows of texts, for a model that reads nothing but texts."""
    return {"texts.py": (_PROGRAMS / "texts.py").read_bytes()} if model.reads_texts else {}


def _ids(model: BundledModel) -> Members:
    """What makes rows of lists of ids, for a model that reads nothing else."""
    return {"ids.py": (_PROGRAMS / "ids.py").read_bytes()} if model.reads_ids else {}


def _library(model: BundledModel) -> Members:
    """A folder that timm or transformers loads by itself, for a network of that library."""
    weights = model.files.get("student.safetensors")
    if weights is None:
        return {}
    config = timm_config(model)
    files = huggingface_files(model) if config is None else {"config.json": config}
    if files is None:
        return {}
    folder = HUGGINGFACE_FOLDER if config is None else TIMM_FOLDER
    stored = {"model.safetensors": weights, "tokenizer.json": model.files.get("tokenizer.json")}
    found: dict[str, bytes | BlobSpan] = {
        name: BlobSpan(file.sha256, Span(0, file.bytes)) for name, file in stored.items() if file is not None
    }
    return {f"{folder}/{name}": each for name, each in (found | dict(files)).items()}


PARTS: Final[tuple[Callable[[BundledModel], Members], ...]] = (
    _stored,
    _described,
    _program,
    _images,
    _sounds,
    _texts,
    _ids,
    _library,
)


def members_of(model: BundledModel) -> dict[str, bytes | BlobSpan]:
    """All files of a bundle by name, in the order of their names."""
    found = {name: content for part in PARTS for name, content in part(model).items()}
    return dict(sorted(found.items()))
