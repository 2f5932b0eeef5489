"""Format checks of uploads by declared name and by first bytes, without loading anything.

Formats whose loading can run code, and those without a safe parser, are refused by name; the error names what to send
instead. Files that pass are inspected in depth later, in a sandbox.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.contracts.resources.inputs.audio import SOUND_SUFFIXES
from app.contracts.resources.inputs.images import IMAGE_SUFFIXES
from app.contracts.resources.manifests import DATASET_SIGNATURES, TEXT_FORMATS
from app.http.errors import Invalid
from app.resources.zip_files import members

COMPRESSED_TEXT: Final = ("gzip", "zstd")
"""Kinds of compression that are read where the content is text."""
HEAD_BYTES: Final = 512
"""How many bytes `kind_of_head` needs."""

HUGGINGFACE_FOLDER: Final = "huggingface"
"""A zip of the folder that `save_pretrained` of transformers writes."""
ARCHIVES: Final[Mapping[str, tuple[str, ...]]] = {"images": IMAGE_SUFFIXES, "sounds": SOUND_SUFFIXES}
"""Formats of archives of files, and how the names of these end."""
ONNX_FOLDER: Final = "onnx_folder"
"""A zip with an ONNX graph, and its weights beside it."""
_LONGEST_NAME: Final = 100
_WEIGHTS: Final = "save the weights alone: safetensors.torch.save_file(model.state_dict(), 'model.safetensors')"
_ARRAYS: Final = "save plain arrays or columns: numpy.savez('data.npz', x=x, y=y), or parquet, csv, jsonl"


@dataclass(frozen=True)
class Refused:
    """A kind of file that is never accepted: why, and what to send instead."""

    kind: str
    why: str
    way_out: str

    def problem(self) -> Invalid:
        """The error for such a file."""
        return Invalid.at("/format", "refused_format", f"{self.kind} is refused: {self.why}. Way out: {self.way_out}")


_CODE = "loading it can run code"
REFUSED: Final[Mapping[str, Refused]] = {
    "pickle": Refused("pickle", _CODE, _WEIGHTS),
    "torch_legacy": Refused("the torch.save format before 1.6", f"it is a bare pickle, and {_CODE}", _WEIGHTS),
    "joblib": Refused("joblib", f"it is a pickle inside, and {_CODE}", _WEIGHTS),
    "torchscript": Refused("TorchScript", f"it carries a program, and {_CODE}", _WEIGHTS),
    "pt2": Refused("torch.export (.pt2)", f"its loader unpickles parts of it, and {_CODE}", _WEIGHTS),
    "tar": Refused("tar", "archives are not unpacked here", f"send one file; {_WEIGHTS}"),
    "compressed": Refused(
        "a compressed file",
        "its size when unpacked is unknown",
        "send it uncompressed, or csv or jsonl as gzip or zstd",
    ),
    "hdf5": Refused("HDF5 / Keras", "Keras files can carry code, and HDF5 has no parser that is safe here", _WEIGHTS),
    "keras": Refused("Keras", f"its layers can carry functions, and {_CODE}", "export it to ONNX"),
    "savedmodel": Refused("a TensorFlow SavedModel", f"it carries a program, and {_CODE}", "export it to ONNX"),
    "tflite": Refused("TensorFlow Lite", "there is no parser for it that is safe here", "export it to ONNX"),
    "gguf": Refused("GGUF", "quantised weights cannot be read here", _WEIGHTS),
    "arrow": Refused("Feather / Arrow IPC", "its parser trusts the sizes in the file", "write parquet instead"),
    "npy": Refused("npy", "one array has no name", "numpy.savez('data.npz', x=array) names it"),
    "spreadsheet": Refused("a spreadsheet", "its cells have no fixed types", "save the sheet as csv"),
    "executable": Refused("a program", "nothing that is uploaded is ever run", _WEIGHTS),
    "zip": Refused("a zip archive of other files", "archives are not unpacked here", f"{_WEIGHTS}; or {_ARRAYS}"),
}

_NAMES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("pickle", "pkl", "cloudpickle", "dill"), "pickle"),
    **dict.fromkeys(("torchscript", "torch_script", "jit", "torch.jit", "script"), "torchscript"),
    **dict.fromkeys(("pt2", "torch.export", "torch_export", "exported_program"), "pt2"),
    **dict.fromkeys(("tar", "tar.gz", "tgz"), "tar"),
    **dict.fromkeys(("gz", "gzip", "bz2", "xz", "zst", "zip"), "compressed"),
    **dict.fromkeys(("hdf5", "h5", "hdf"), "hdf5"),
    **dict.fromkeys(("savedmodel", "saved_model", "tensorflow", "pb"), "savedmodel"),
    **dict.fromkeys(("feather", "arrow", "ipc"), "arrow"),
    **dict.fromkeys(("xlsx", "xls", "ods"), "spreadsheet"),
    **{name: name for name in ("joblib", "keras", "tflite", "gguf", "npy")},
}
_INSTEAD: Final[Mapping[str, str]] = {
    **dict.fromkeys(("pt", "pth", "pytorch", "torch", "bin", "ckpt"), "state_dict"),
    **dict.fromkeys(("json", "ndjson", "json_lines"), "jsonl"),
    **dict.fromkeys(("tsv", "text", "txt"), "csv"),
}

_ZIP: Final = DATASET_SIGNATURES["npz"]
_SIGNATURES: Final[Sequence[tuple[int, bytes, str]]] = (
    (0, _ZIP, "zip"),
    (0, b"PK\x05\x06", "zip"),
    (0, b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "torch_legacy"),
    *((0, bytes((0x80, protocol)), "pickle") for protocol in range(2, 6)),
    (0, b"\x89HDF\r\n\x1a\n", "hdf5"),
    (0, b"ARROW1\x00\x00", "arrow"),
    (0, b"FEA1", "arrow"),
    *((0, signature, name) for name, signature in DATASET_SIGNATURES.items() if signature != _ZIP),
    (0, b"\x93NUMPY", "npy"),
    (0, b"GGUF", "gguf"),
    (4, b"TFL3", "tflite"),
    (257, b"ustar", "tar"),
    (0, b"\x1f\x8b", "gzip"),
    (4, b"1AY&SY", "compressed"),
    (0, b"\xfd7zXZ\x00", "compressed"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"ZF0x", "joblib"),
    *((0, bytes((0x78, level)), "compressed") for level in (0x01, 0x9C, 0xDA)),
    (0, b"\x7fELF", "executable"),
)


def refuse_named(manifest: Any, accepted: Sequence[str]) -> None:
    """Refuse a manifest whose `format` is never accepted. Misspelt names are left to validation."""
    name = manifest.get("format") if isinstance(manifest, dict) else None
    if not isinstance(name, str) or name in accepted:
        return
    plain = name.strip().lower().lstrip(".")
    if plain in _NAMES:
        raise REFUSED[_NAMES[plain]].problem()
    if _INSTEAD.get(plain) in accepted:
        raise Invalid.at(
            "/format", "unknown_value", f"expected one of {list(accepted)}: did you mean {_INSTEAD[plain]}?"
        )


def kind_of_head(head: bytes) -> str | None:
    """The kind of a file by its first bytes: a key of REFUSED, `zip`, `gzip`, `zstd`, `parquet`, `safetensors`, or None
    (unknown).
    """
    for offset, signature, kind in _SIGNATURES:
        if head.startswith(signature, offset):
            return kind
    if len(head) > 8 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") < 1 << 32:
        return "safetensors"
    return None


def refuse_head(head: bytes, formats: Collection[str]) -> None:
    """Refuse a file as soon as its first bytes have arrived, where it is accepted by none of these formats: those that
    its manifest may declare, one if that came before.
    """
    kind = kind_of_head(head)
    if kind is None or kind == "zip" or kind not in REFUSED:
        return
    if not any(_is_archive_of_files(kind, each) for each in formats):
        raise REFUSED[kind].problem()


def _is_archive_of_files(kind: str | None, declared: str) -> bool:
    """Whether a file may be what a dataset of images or sounds is in; its inspection looks at what the archive has."""
    return declared in ARCHIVES and kind in (declared, "tar")


def kind_of_file(path: Path) -> str | None:
    """As `kind_of_head`, and by the member names of a zip: `state_dict`, `npz`, or a refused kind. Raises Invalid."""
    with path.open("rb") as file:
        kind = kind_of_head(file.read(HEAD_BYTES))
        if kind == "zip":
            return _kind_of_zip(list(members(file)))
        if kind == "parquet":
            file.seek(-4, 2)
            return kind if file.read() == b"PAR1" else None  # a table may have a column named PAR1
        return kind


def _kind_of_zip(names: Sequence[str]) -> str:
    steps = {step for name in names for step in name.split("/")[:-1]}
    files = {name.rpartition("/")[2] for name in names}
    if "archive_format" in files or any(name.endswith("exported_program.json") for name in files):
        return "pt2"
    if "constants.pkl" in files or "code" in steps:
        return "torchscript"
    if "data.pkl" in files:
        return "state_dict"
    if "model.weights.h5" in files:
        return "keras"
    if "[Content_Types].xml" in files:
        return "spreadsheet"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    if any(name.endswith(".onnx") for name in files):
        return ONNX_FOLDER
    if "config.json" in files and any(name.endswith(".safetensors") for name in files):
        return HUGGINGFACE_FOLDER
    arrays = [name for name in names if name.endswith(".npy")]
    of_files = (kind for kind, suffixes in ARCHIVES.items() if any(name.lower().endswith(suffixes) for name in files))
    kind = next(of_files, None)
    if kind is None and arrays:
        raise _foreign_member(next(name for name in names if name not in arrays))
    return kind or "zip"


def _foreign_member(name: str) -> Invalid:
    shown = "".join(each for each in name if each.isprintable())[:_LONGEST_NAME]
    why = f"expected arrays alone, found `{shown}` between them"
    return Refused("an npz with other files in it", why, "write it by numpy.savez('data.npz', x=x, y=y)").problem()


def check_format(declared: str, kind: str | None, expected: Mapping[str, str | None], field: str = "format") -> None:
    """Refuse a file whose kind differs from the declared format, which `field` of the manifest says.

    `expected` maps a format to the kind of its files, None for formats without a signature.
    """
    if _is_archive_of_files(kind, declared):
        return
    if kind is not None and kind in REFUSED:
        raise REFUSED[kind].problem()
    if kind in COMPRESSED_TEXT:
        if declared in TEXT_FORMATS:
            return
        raise REFUSED["compressed"].problem()
    if kind == expected[declared] or (kind == ONNX_FOLDER and declared == "onnx"):
        return
    if kind == ONNX_FOLDER or (kind in ARCHIVES and kind not in expected):
        raise REFUSED["zip"].problem()
    if kind is None and None in expected.values():
        text = " or ".join(f"`{each}`" for each, accepted in expected.items() if accepted is None)
        detail = (
            "the first bytes of the file are text. Is it the file that you meant (`curl -F file=@name` needs the "
            f"`@`)? If so, declare {text}"
        )
    elif kind in expected.values():
        name = next(name for name, accepted in expected.items() if accepted == kind)
        detail = f"the file is {name}: change `{field}` accordingly"
    else:
        detail = f"the file is {kind}" if kind else f"its first bytes are not those of {declared}, so write it again"
    raise Invalid.at(f"/{field}", "format_mismatch", f"the manifest declares {declared}: {detail}")
