"""Uploads of files and folders as they are."""

import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, cast

from stillhouse.errors import Unreadable
from stillhouse.sources.converting import expanded
from stillhouse.sources.upload import JSON, FilePart, Upload, Wishes, named

PathLike = str | Path
_SUFFIXES: Final[Mapping[str, str]] = {
    ".npz": "npz", ".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl",
}  # fmt: skip
_COMPRESSED: Final = (".gz", ".zst")
_ARCHIVES: Final = (".zip", ".tar", ".tgz")
_IMAGES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_SOUNDS: Final = (".wav", ".flac", ".ogg", ".mp3")
_SPLITS: Final = frozenset(("train", "training", "validation", "valid", "val", "dev", "test", "testing"))
_MODELS: Final[Mapping[str, str]] = {
    ".safetensors": "safetensors", ".onnx": "onnx", ".pt": "state_dict", ".pth": "state_dict", ".bin": "state_dict",
    ".zip": "huggingface",
}  # fmt: skip
IMAGE_SIDE: Final = 64
"""Height and width of images whose size the caller does not give."""


def part_of(source: PathLike | BinaryIO, default_name: str) -> FilePart:
    """A file by its path, a folder as a zip of it, or a binary file from its beginning."""
    if not isinstance(source, str | Path):
        return _of_file(source, default_name)
    path = expanded(source)
    if path.is_dir():
        return FilePart(f"{path.resolve().name}.zip", lambda: _zipped(path))
    if not path.is_file():
        raise Unreadable(f"expected a file or a folder, found none at {path}: check the path")
    return FilePart(path.name, lambda: path.open("rb"), path.stat().st_size)


def _of_file(source: BinaryIO, default_name: str) -> FilePart:
    if not hasattr(source, "read"):
        kind = type(source).__name__
        raise Unreadable(
            f"expected a path, a binary file, arrays, a frame or a module, found {kind}: pass one of these"
        )
    name = getattr(source, "name", None)
    shown = Path(name).name if isinstance(name, str) else default_name
    return FilePart(shown, lambda: _rereadable(source))


def _rereadable(source: BinaryIO) -> AbstractContextManager[BinaryIO]:
    """The file itself; of a pipe a copy, since a broken upload begins again."""
    return nullcontext(source) if source.seekable() else _copied(source)


@contextmanager
def _copied(source: BinaryIO) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(source, copy)
        copy.seek(0)
        yield cast(BinaryIO, copy)


@contextmanager
def _zipped(folder: Path) -> Iterator[BinaryIO]:
    """All files of a folder as a zip, without the folder's own name, uncompressed and always with the same bytes."""
    with tempfile.TemporaryFile() as target:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(each for each in folder.rglob("*") if each.is_file()):
                entry = zipfile.ZipInfo(path.relative_to(folder).as_posix())
                with path.open("rb") as file, archive.open(entry, "w", force_zip64=True) as member:
                    shutil.copyfileobj(file, member)
        target.seek(0)
        yield cast(BinaryIO, target)


def dataset_of_files(sources: Sequence[PathLike | BinaryIO], wishes: Wishes) -> Upload:
    """A dataset of files in one format. What tables contain is not looked at: `inputs` and `targets` say it."""
    files = tuple(part_of(each, "dataset") for each in sources)
    if not files:
        raise Unreadable("expected at least one file, found none: name the files of the dataset")
    form = wishes.format or wishes.manifest.get("format") or _format(files[0].name, sources[0])
    inferred: JSON = {"name": PurePosixPath(files[0].name).name.partition(".")[0], "format": form}
    if form in ("images", "sounds"):
        inferred |= _of_media(form, _entries(sources[0]))
    inferred |= {key: merged for key in ("inputs", "targets") if (merged := _merged(inferred, wishes, key)) is not None}
    manifest = wishes.completed(inferred)
    if "inputs" not in manifest and form != "predictions":
        raise Unreadable(
            f"expected `inputs` for the file {files[0].name}, found none: name what the models read, such as "
            'inputs={"x": {"kind": "array", "columns": ["a", "b"]}}, and what is learned as `targets`'
        )
    return Upload(manifest, files)


def _merged(inferred: JSON, wishes: Wishes, key: str) -> dict[str, Any] | None:
    said = named(wishes.inputs if key == "inputs" else wishes.targets)
    known: dict[str, Any] | None = inferred.get(key)
    if said is None:
        return known
    default = {"kind": "array"} if key == "inputs" else {}
    return {name: {**(known or {}).get(name, default), **spec} for name, spec in said.items()}


def _format(name: str, source: object) -> str:
    """The format of a dataset by the names of its files."""
    plain = PurePosixPath(name.lower())
    if plain.suffix in _COMPRESSED and PurePosixPath(plain.stem).suffix in _SUFFIXES:
        plain = PurePosixPath(plain.stem)
    if plain.suffix in _SUFFIXES:
        return _SUFFIXES[plain.suffix]
    entries = [PurePosixPath(each.lower()).suffix for each in _entries(source)]
    for form, suffixes in (("images", _IMAGES), ("sounds", _SOUNDS)):
        if any(each in suffixes for each in entries):
            return form
    raise Unreadable(
        f"expected a csv, jsonl, parquet or npz file, or a zip, tar or folder of images or sounds, found {name}: "
        "rename it, or say its `format`"
    )


def _entries(source: object) -> list[str]:
    """The names in a folder or an archive; none of other things."""
    if not isinstance(source, str | Path):
        return []
    path = expanded(source)
    if path.is_dir():
        return sorted(each.relative_to(path).as_posix() for each in path.rglob("*") if each.is_file())
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                return archive.namelist()
        except zipfile.BadZipFile:
            return []
    if path.suffix in _ARCHIVES or path.name.endswith((".tar.gz", ".tar.zst")):
        try:
            with tarfile.open(path) as archive:
                return archive.getnames()
        except (tarfile.TarError, EOFError, OSError, zlib.error):  # damaged
            return []
    return []


def _of_media(form: str, entries: Sequence[str]) -> JSON:
    """Inputs, targets and splits of a folder of images or sounds, by the convention of ImageFolder."""
    suffixes = _IMAGES if form == "images" else _SOUNDS
    paths = [PurePosixPath(each) for each in entries if each.lower().endswith(suffixes)]
    image = {"image": {"kind": "image", "size": [IMAGE_SIDE, IMAGE_SIDE]}}
    found: JSON = {"inputs": image if form == "images" else {"audio": {"kind": "audio", "seconds": 1.0}}}
    has_metadata = any(PurePosixPath(each).name.startswith("metadata.") for each in entries)
    classes = sorted({path.parts[-2] for path in paths if len(path.parts) > 1} - _SPLITS)
    if len(classes) > 1 and not has_metadata:
        found["targets"] = {"label": {"kind": "class", "classes": classes}}
    if paths and all(path.parts[0] in _SPLITS for path in paths):
        found["splits"] = {"column": "split"}
    return found


def model_format(name: str) -> str:
    """The format of a model by the name of its file."""
    suffix = PurePosixPath(name.lower()).suffix
    if suffix not in _MODELS:
        raise Unreadable(
            f"expected a .safetensors, .pt, .pth or .onnx file, or a folder of transformers, found {name}: rename it, "
            "or say its `format`"
        )
    return _MODELS[suffix]
