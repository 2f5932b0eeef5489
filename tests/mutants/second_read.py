"""What an inspection took for sound is read again, by other code: numbers, labels, pixels and weights must be the same.

Runs in the child after the inspection. Packages are imported where they are used: Arrow starts a thread at import.
"""

import csv
import gzip
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.contracts.resources.facts import DatasetFacts, ModelFacts
from app.contracts.resources.inputs.arrays import ArrayInput
from app.contracts.resources.inputs.images import ImageInput
from app.contracts.resources.inputs.maps import MapTarget
from app.contracts.resources.inputs.texts import TextInput
from app.contracts.resources.manifests import ClassTarget, DatasetManifest, ModelManifest
from app.contracts.wire.orders import DataFile, InspectionOutcome, Order
from workers.engine.data.dataset import Dataset
from workers.engine.data.reading import read_dataset
from workers.engine.evaluation.examples import network_outputs, plain_rows
from workers.engine.models.build import build
from workers.engine.models.loading import load_weights
from workers.engine.models.network import Network

NULLS = ("", "null", "NULL", "NaN", "nan", "NA", "N/A", "<NA>", "None")
_BOOLEANS = {"true": 1.0, "false": 0.0}
_TENSOR_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8"}
Columns = Mapping[str, Any]


class Differs(Exception):
    """What was read is not what the file has."""


def _require(holds: object, what: str) -> None:
    if not holds:
        raise Differs(what)


def read_again(order: Order, outcome: InspectionOutcome) -> None:
    """Compare the facts of an upload with the file. Raises Differs."""
    outputs = Path(order.attempt_dir) / "outputs"
    if outcome.dataset is not None:
        given = next(iter(order.datasets.values()))
        tokenizers = [outputs / file.path for file in outcome.files if file.role == "tokenizer"]
        _dataset(given.parts, given.manifest, outcome.dataset, tokenizers)
    elif outcome.model is not None:
        model = next(iter(order.models.values()))
        converted = [file.path for file in outcome.files if file.role == "converted"]
        weights = Path(order.attempt_dir) / "outputs" / converted[0] if converted else Path(model.path)
        _model(Path(model.path), weights, model.manifest, outcome.model)
    else:
        raise Differs("neither facts nor a rejection")


def _dataset(files: Sequence[DataFile], manifest: DatasetManifest, facts: DatasetFacts, tokenizers: list[Path]) -> None:
    found = read_dataset(files, manifest)
    paths = [Path(each.path) for each in files]
    _require(facts.rows == found.rows == sum(facts.splits.values()) > 0, "the splits are not the rows")
    for name, rows in found.inputs.items():
        _require(tuple(rows.shape) == (facts.rows, *facts.inputs[name].shape), f"another shape of `{name}`")
        _require(bool(torch.isfinite(rows.double()).all()), f"`{name}` has numbers that are not finite")
    for name, target in found.targets.items():
        if target.kind in ("class", "map"):
            _require(int(target.values.min()) >= -1 and int(target.values.max()) < target.size, f"labels of `{name}`")
    if manifest.format == "images":
        _images([dict(_members(path)) for path in paths], manifest, found)
    elif manifest.format != "sounds":  # whose features are floats of any kind: finite, and as many as the facts say
        columns = _joined([_read(path, manifest) for path in paths])
        _columns_alike(columns, manifest, found)
        _texts_alike(columns, manifest, found, tokenizers)


def _joined(parts: Sequence[Columns]) -> Columns:
    """The rows of one file after those of the other; a column that no row of a file has is null in each."""
    if len(parts) == 1:
        return parts[0]
    counts = [max(map(len, part.values())) for part in parts]
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: [each for part, n in zip(parts, counts, strict=True) for each in part.get(name, [None] * n)]
        for name in names
    }


def _read(path: Path, manifest: DatasetManifest) -> Columns:
    if manifest.format == "npz":
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            return {name: _array(archive.read(members[name])) for name in members.keys() & _wanted(manifest)}
    if manifest.format == "parquet":
        import pyarrow.parquet

        file = pyarrow.parquet.ParquetFile(path)
        kinds = {name: str(file.schema_arrow.field(name).type) for name in _wanted(manifest)}
        leaves = {name: f"{name}.bytes" if kind.startswith("struct") else name for name, kind in kinds.items()}
        return {name: file.read(columns=[leaf]).column(0).to_pylist() for name, leaf in leaves.items()}
    content = path.read_bytes()
    content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    text = content.decode("utf-8-sig", "surrogateescape")  # columns that are not read may be no text
    if manifest.format == "jsonl":
        rows = [json.loads(line) for line in io.StringIO(text, newline=None) if line.strip()]
        return {name: [row.get(name) for row in rows] for name in {key for row in rows for key in row}}
    header, *cells = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    return {name: [row[place] for row in cells] for place, name in enumerate(header)}


def _wanted(manifest: DatasetManifest) -> set[str]:
    named = [spec.columns or (name,) for name, spec in manifest.inputs.items()]
    kinds = (ClassTarget, MapTarget)
    labels = [spec.column or name for name, spec in manifest.targets.items() if isinstance(spec, kinds)]
    return {*(column for columns in named for column in columns), *labels}


def _array(content: bytes) -> Any:
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield name, archive.read(name)
        return
    with tarfile.open(path, "r:") as tar:
        for entry in tar:
            file = tar.extractfile(entry) if entry.isfile() else None
            yield entry.name, file.read() if file is not None else b""


def _images(archives: Sequence[Mapping[str, bytes]], manifest: DatasetManifest, found: Dataset) -> None:
    shown = [content for files in archives for content in _shown(files)]
    _require(len(shown) == found.rows, f"{len(shown)} images in the archive, {found.rows} rows")
    for name, spec in manifest.inputs.items():
        if isinstance(spec, ImageInput):
            _pixels_alike(shown, spec, found.inputs[name])


def _shown(files: Mapping[str, bytes]) -> list[bytes]:
    """The images of an archive in the order of their names."""
    names = [name.removeprefix("./") for name in files]
    shown = {
        name: content
        for name, content in zip(names, files.values(), strict=True)
        if name.lower().endswith((".png", ".jpg", ".jpeg", ".webp", ".bmp"))
        and not any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
    }
    return [shown[each] for each in sorted(shown)]


def _pixels_alike(images: list[bytes], spec: ImageInput, rows: torch.Tensor) -> None:
    from PIL import Image

    for row, content in enumerate(images):
        with Image.open(io.BytesIO(content)) as image:
            plain = image.mode in ("RGB", "L", "RGBA") and not image.getexif()
            if plain and (image.height, image.width) == spec.size:
                expected = np.asarray(image.convert("RGB" if spec.channels == 3 else "L")).reshape(spec.pixels)
                _require(np.array_equal(rows[row].movedim(0, -1).numpy(), expected), f"the pixels of row {row}")


def _columns_alike(columns: Columns, manifest: DatasetManifest, found: Dataset) -> None:
    for name, spec in manifest.inputs.items():
        if isinstance(spec, ImageInput):
            values = columns[spec.column]
            _pixels_alike(
                [each["bytes"] if isinstance(each, dict) else each for each in values], spec, found.inputs[name]
            )
        elif isinstance(spec, ArrayInput) and spec.shape is None and spec.layout is None and spec.missing is None:
            expected = np.stack(
                [_numbers(columns[each]).reshape(found.rows, -1) for each in spec.columns or (name,)], axis=1
            )
            rows = found.inputs[name].double().numpy()
            with np.errstate(over="ignore"):
                same = np.allclose(rows.ravel(), expected.ravel(), rtol=1e-6, atol=1e-37)
            _require(same, f"the numbers of `{name}`")
    for name, target in manifest.targets.items():
        if isinstance(target, ClassTarget) and isinstance(target.classes, int):
            labels = np.nan_to_num(_numbers(columns[target.column or name]), nan=-1.0)
            _require(np.array_equal(labels.ravel(), found.targets[name].values.numpy()), f"the labels of `{name}`")
        elif isinstance(target, MapTarget):
            _maps_alike(name, target, columns[target.column or name], found)


def _maps_alike(name: str, target: MapTarget, values: Any, found: Dataset) -> None:
    """Arrays of numbers, or PNG files where they have the size of the map; -1 where a pixel has no label."""
    shape = found.targets[name].shape
    if not isinstance(values, np.ndarray):
        masks = [_mask(each, shape) for each in values]
        if any(mask.shape != shape for mask in masks):
            return
        values = np.stack(masks)
    labels = values.reshape(found.rows, -1).astype(np.int64)
    without = (labels == -100) | (labels == -1) | (labels == (-1 if target.ignore is None else target.ignore))
    same = np.array_equal(np.where(without, -1, labels), found.targets[name].values.numpy())
    _require(same, f"the map `{name}`")


def _mask(content: Any, shape: tuple[int, int] | None) -> Any:
    from PIL import Image

    assert shape is not None
    if content is None:
        return np.full(shape, -1)
    return np.asarray(Image.open(io.BytesIO(content["bytes"] if isinstance(content, dict) else content))).astype(int)


def _texts_alike(columns: Columns, manifest: DatasetManifest, found: Dataset, tokenizers: list[Path]) -> None:
    """The ids are those of the stored tokenizer, by its library alone."""
    from tokenizers import Tokenizer

    texts = {name: spec for name, spec in manifest.inputs.items() if isinstance(spec, TextInput)}
    _require(len(tokenizers) == len(texts), "a tokenizer for each input of texts")
    for (name, spec), path in zip(texts.items(), tokenizers, strict=True):
        tokenizer = Tokenizer.from_file(str(path))
        rows = found.inputs[name]
        tokenizer.enable_truncation(spec.length)
        tokenizer.enable_padding(length=rows.shape[1], pad_id=0)
        parts = [[each or "" for each in columns[column]] for column in spec.columns or (name,)]
        given = parts[0] if len(parts) == 1 else list(zip(*parts, strict=True))
        expected = np.array([each.ids for each in tokenizer.encode_batch(given)])
        _require(np.array_equal(rows.numpy(), expected), f"the tokens of `{name}`")


def _numbers(values: Any) -> Any:
    if isinstance(values, np.ndarray):
        return values.astype(np.float64)
    return np.array([_number(value) for value in values], dtype=np.float64)


def _number(value: Any) -> Any:
    if isinstance(value, str):
        text = value.strip()
        return (
            float("nan") if text in NULLS else _BOOLEANS.get(text.lower()) if text.lower() in _BOOLEANS else float(text)
        )
    if isinstance(value, list):
        return [_number(each) for each in value]
    return float("nan") if value is None else float(value)


def _model(upload: Path, weights: Path, manifest: ModelManifest, facts: ModelFacts) -> None:
    for name, rows in facts.examples.items():
        _require(np.isfinite(rows).all(), f"examples of `{name}` are not finite")
        _require(len(rows) == 3 and len(rows[0]) == min(64, facts.outputs[name].size), f"examples of `{name}`")
    if manifest.format == "onnx":
        _graph(upload, facts)
    else:
        _weights(upload, weights, manifest, facts)


def _weights(upload: Path, weights: Path, manifest: ModelManifest, facts: ModelFacts) -> None:
    architecture = facts.architecture
    assert architecture is not None
    loaded = load_weights(weights, manifest, architecture)
    network = build(architecture)
    network.load_state_dict(loaded)
    _require(facts.parameters == sum(each.numel() for each in network.parameters()), "the number of parameters")
    for name, value in loaded.items():
        _require(bool(value.double().isfinite().all()), f"`{name}` is not finite")
        _require(not name.endswith("running_var") or bool((value >= 0).all()), f"`{name}` has negative variances")
    if manifest.format == "huggingface":
        with zipfile.ZipFile(upload) as archive:
            name = next(each for each in archive.namelist() if each.endswith("model.safetensors"))
            _of_names(_tensors(archive.read(name)), loaded, network)
    if manifest.format == "safetensors":
        given = _tensors(upload.read_bytes())
        own = {network.file_name(name): value for name, value in loaded.items()}
        for name in own.keys() & given.keys():
            with np.errstate(over="ignore"):
                same = np.array_equal(own[name].double().numpy().ravel(), given[name])
            _require(same, f"the numbers of `{name}`")
    if facts.input_shape is not None and not facts.inputs:
        outputs = network_outputs(network.eval(), plain_rows(facts.input_shape))
        for name, rows in facts.examples.items():
            _require(np.allclose(outputs[name][:, :64].numpy(), rows, atol=1e-4, rtol=1e-4), f"examples of `{name}`")


def _of_names(given: Mapping[str, Any], loaded: Mapping[str, torch.Tensor], network: Network) -> None:
    """Tensors that have the same name in the file and in the network; the library renames some."""
    own = {network.file_name(name): value for name, value in loaded.items()}
    common = own.keys() & given.keys()
    _require(common, "no tensor of the file is one of the network")
    for name in common:
        with np.errstate(over="ignore"):
            same = np.array_equal(own[name].double().numpy().ravel(), given[name])
        _require(same, f"the numbers of `{name}`")


def _tensors(content: bytes) -> dict[str, Any]:
    """The numbers of a safetensors file in float32's precision, as its header describes them."""
    (size,) = struct.unpack("<Q", content[:8])
    header: dict[str, Any] = json.loads(content[8 : 8 + size])
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        kind = _TENSOR_TYPES.get(entry["dtype"])
        start, end = (8 + size + offset for offset in entry["data_offsets"])
        if kind is not None:
            numbers = np.frombuffer(content[start:end], kind)
            found[name] = numbers.astype(np.float32 if kind != "<i8" else np.int64).astype(np.float64)
    return found


def _graph(upload: Path, facts: ModelFacts) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(upload.read_bytes())
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or facts.inputs or facts.input_shape is None:
        return
    names = [each.name for each in session.get_outputs()]
    if facts.max_batch is None:
        outputs = dict(
            zip(names, session.run(None, {inputs[0].name: plain_rows(facts.input_shape).numpy()}), strict=True)
        )
        for name, rows in facts.examples.items():
            found = np.asarray(outputs[facts.graph_outputs.get(name, name)], dtype=np.float64).reshape(3, -1)
            if found.shape[1] == facts.outputs[name].size:
                _require(np.allclose(found[:, :64], rows, atol=1e-4, rtol=1e-4), f"examples of `{name}`")
