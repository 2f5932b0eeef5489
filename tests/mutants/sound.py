"""Sound uploads, one or more of each format that an inspection reads: what the campaign changes."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet
import torch
from onnx import TensorProto, helper

from app.contracts.resources.manifests import ModelManifest
from tests.engine.data.formats.images.archives import encoded, noise, tarred
from tests.engine.data.formats.sounds.recordings import encoded as encoded_sound
from tests.engine.data.formats.sounds.recordings import tone
from tests.engine.models.library import encoders, folders, sound_folders, text_folders
from tests.engine.models.library.networks import architecture
from tests.mutants.zips import as_zip
from workers.engine.export.safetensors import export_safetensors
from workers.engine.models.build import build
from workers.engine.models.initialise import initialise
from workers.engine.models.network import Network

ROWS = 24
Structure = Literal["zip", "tar", "safetensors", "onnx", "text", "parquet"]
"""What the changes of a format's own know of the bytes."""
Json = dict[str, Any]
OUTPUT: Json = {"y": 3}
LABEL: Json = {"label": {"kind": "class", "classes": 3}}
MAP: Json = {"map": {"kind": "map", "classes": 3}}
ARRAY: Json = {"x": {"kind": "array", "columns": ["a", "b"]}}
IMAGE: Json = {"image": {"kind": "image", "size": [6, 8]}}
TEXT: Json = {"text": {"kind": "text", "tokenizer": {"size": 300}, "length": 32}}
AUDIO: Json = {"audio": {"kind": "audio", "seconds": 0.2, "rate": 8000, "features": {"mels": 16}}}


@dataclass(frozen=True)
class Sound:
    """A sound upload. `row`: the format's name in the table; `further`: of a dataset of two files, the second."""

    name: str
    row: str
    structure: Structure
    content: bytes
    manifest: Mapping[str, Any] = field(hash=False)
    is_model: bool = False
    packed: bool = False
    """Whether `content` is compressed by gzip before it is uploaded."""
    further: bytes | None = None
    by_library: bool = False
    """Whether a library of networks is needed to inspect it."""

    @property
    def files(self) -> tuple[bytes, ...]:
        """The contents of its files, in the order of their rows."""
        return (self.content,) if self.further is None else (self.content, self.further)

    def upload(self, content: bytes) -> bytes:
        """The bytes that are sent."""
        return gzip.compress(content, mtime=0) if self.packed else content


def _dataset(kind: str, inputs: Json = ARRAY, **fields: Any) -> Json:
    return {"name": kind, "format": kind, "inputs": inputs, "targets": LABEL} | fields


def _pictures(first: int = 0) -> dict[str, bytes]:
    kinds: list[tuple[str, Json]] = [("PNG", {}), ("JPEG", {"quality": 90}), ("WEBP", {"lossless": True}), ("BMP", {})]
    suffixes = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "BMP": "bmp"}
    files = {}
    for i in range(first, first + 12):
        kind, options = kinds[i % len(kinds)]
        files[f"{i % 3}/{i:02}.{suffixes[kind]}"] = encoded(noise(6 + i % 3, 8 + i % 2, seed=i), kind, **options)
    return files


def _written(write: Callable[[Path], object]) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        write(path)
        return path.read_bytes()


def _columns(seed: int = 0) -> Json:
    draw = np.random.default_rng(seed)
    numbers = {name: draw.normal(size=ROWS).astype(np.float32).round(3) for name in ("a", "b")}
    kinds = np.array(["red", "green", "blue, dark"])[draw.integers(0, 3, ROWS)]
    return {**numbers, "kind": kinds, "label": np.arange(ROWS) % 3}


def _text(kind: Literal["csv", "jsonl"], seed: int = 0) -> bytes:
    columns = _columns(seed)
    rows = [{name: values[i].item() for name, values in columns.items()} for i in range(ROWS)]
    rows = [{**row, "a": round(row["a"], 3), "b": round(row["b"], 3)} for row in rows]
    if kind == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    lines = [",".join(columns)] + [f'{row["a"]},{row["b"]},"{row["kind"]}",{row["label"]}' for row in rows]
    return ("\n".join(lines) + "\n").encode()


def _npz(savez: Callable[..., None]) -> bytes:
    columns = _columns()
    file = io.BytesIO()
    savez(file, x=np.stack([columns["a"], columns["b"]], axis=1), label=columns["label"])
    return file.getvalue()


def _image_parquet() -> bytes:
    images = [encoded(noise(6, 8, seed=i), "PNG") for i in range(12)]
    column = [{"bytes": image, "path": f"{i}.png"} for i, image in enumerate(images)]
    table = pa.table({"image": column, "label": [i % 3 for i in range(12)]})
    return _written(lambda path: pyarrow.parquet.write_table(table, path))


def _maps() -> tuple[bytes, bytes]:
    """Npz with maps beside images, and parquet with masks."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (12, 3, 6, 8), np.uint8)
    maps = draw.integers(0, 3, (12, 6, 8), np.uint8)
    file = io.BytesIO()
    np.savez(file, image=images, map=maps)
    pixels = [encoded(image.transpose(1, 2, 0), "PNG") for image in images]
    table = pa.table({"image": pixels, "map": [encoded(each, "PNG") for each in maps]})
    return file.getvalue(), _written(lambda path: pyarrow.parquet.write_table(table, path))


def _texts(kind: Literal["csv", "jsonl", "parquet"]) -> bytes:
    texts = [f"the {word} river, number {i}" for i, word in enumerate(["cold", "wide", "old"] * (ROWS // 3))]
    labels = [i % 3 for i in range(ROWS)]
    if kind == "parquet":
        table = pa.table({"text": texts, "label": labels})
        return _written(lambda path: pyarrow.parquet.write_table(table, path))
    if kind == "jsonl":
        rows = ({"text": text, "label": label} for text, label in zip(texts, labels, strict=True))
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    lines = ["text,label", *(f'"{text}",{label}' for text, label in zip(texts, labels, strict=True))]
    return ("\n".join(lines) + "\n").encode()


def _sounds() -> bytes:
    kinds = [("WAV", "wav"), ("FLAC", "flac")]  # streams of Ogg have a number of chance
    files = []
    for i in range(9):
        kind, suffix = kinds[i % 2]
        files.append((f"{i % 3}/{i:02}.{suffix}", encoded_sound(tone(300.0 + 40 * i, 0.25, 8000), 8000, kind)))
    return as_zip(files, zipfile.ZIP_STORED)


def _parquet(seed: int) -> bytes:
    return _written(lambda path: pyarrow.parquet.write_table(pa.table(_columns(seed)), path))


def _datasets() -> list[Sound]:
    categories = {**ARRAY, "kind": {"kind": "category", "columns": ["kind"]}}
    table = "".join(f"{name},{i % 3}\n" for i, name in enumerate(_pictures()))
    with_table = {**_pictures(), "metadata.csv": f"file_name,label\n{table}".encode()}
    images = _dataset("images", IMAGE)
    parquet = _parquet(0)
    maps, masks = _maps()
    return [
        Sound("image zip", "images, zip", "zip", as_zip([*_pictures().items()], zipfile.ZIP_STORED), images),
        Sound("image zip, table", "images, zip", "zip", as_zip([*with_table.items()], zipfile.ZIP_DEFLATED), images),
        Sound("image tar", "images, tar", "tar", _written(lambda p: tarred(p, _pictures())), images),
        Sound("image parquet", "parquet, images", "parquet", _image_parquet(), _dataset("parquet", IMAGE)),
        Sound("npz", "npz", "zip", _npz(np.savez), _dataset("npz", {"x": {"kind": "array"}})),
        Sound("npz, deflated", "npz", "zip", _npz(np.savez_compressed), _dataset("npz", {"x": {"kind": "array"}})),
        Sound("parquet", "parquet", "parquet", parquet, _dataset("parquet", categories)),
        Sound("csv", "csv", "text", _text("csv"), _dataset("csv", categories)),
        Sound("csv.gz", "csv", "text", _text("csv"), _dataset("csv"), packed=True),
        Sound("jsonl", "jsonl", "text", _text("jsonl"), _dataset("jsonl", categories)),
        Sound("jsonl of texts", "jsonl, texts", "text", _texts("jsonl"), _dataset("jsonl", TEXT)),
        Sound("csv of texts", "csv, texts", "text", _texts("csv"), _dataset("csv", TEXT)),
        Sound("parquet of texts", "parquet, texts", "parquet", _texts("parquet"), _dataset("parquet", TEXT)),
        Sound("npz of maps", "npz, maps", "zip", maps, _dataset("npz", {"image": {"kind": "array"}}, targets=MAP)),
        Sound("parquet of masks", "parquet, masks", "parquet", masks, _dataset("parquet", IMAGE, targets=MAP)),
        Sound("sound zip", "sounds, zip", "zip", _sounds(), _dataset("sounds", AUDIO)),
        Sound("jsonl.gz", "jsonl", "text", _text("jsonl"), _dataset("jsonl"), packed=True),
        Sound(
            "two parquet files", "parquet, two files", "parquet", parquet, _dataset("parquet", categories),
            further=_parquet(1),
        ),
        Sound(
            "two jsonl files", "jsonl, two files", "text", _text("jsonl"), _dataset("jsonl", categories),
            further=_text("jsonl", 1),
        ),
        Sound(
            "two zips of images", "images, two zips", "zip", as_zip([*_pictures().items()], zipfile.ZIP_STORED), images,
            further=as_zip([*_pictures(12).items()], zipfile.ZIP_STORED),
        ),
    ]  # fmt: skip


FAMILIES: Mapping[str, Json] = {
    "mlp": {"family": "mlp", "input_shape": [4], "hidden": [3]},
    "convnet": {"family": "convnet", "input_shape": [1, 8, 8], "channels": [4], "normalization": "batch"},
    "resnet": {"family": "resnet", "input_shape": [3, 8, 8], "depth": 8, "stem": 4},
    "transformer": {"family": "transformer", "input_shape": [6, 4], "width": 8, "depth": 1, "heads": 2},
}


def model_manifest(kind: str, network: Json | None) -> Json:
    """A manifest of a model of three classes."""
    fields: Json = {"name": kind, "format": kind, "outputs": {"y": {"kind": "class"}}}
    return fields if network is None else {**fields, "architecture": {**network, "outputs": OUTPUT}}


def _networks() -> dict[str, tuple[Network, Json]]:
    found = {}
    for name, fields in FAMILIES.items():
        manifest = ModelManifest.model_validate_json(json.dumps(model_manifest("safetensors", fields)))
        assert manifest.architecture is not None
        found[name] = (build(manifest.architecture), fields)
    library = {"family": "timm", "name": "test_resnet", "input_shape": [1, 32, 32]}
    found["timm"] = (build(architecture("test_resnet", {"y": 3})), library)
    for network, _ in found.values():
        initialise(network, seed=0)
    return found


def _state_dict(tensors: Mapping[str, torch.Tensor]) -> bytes:
    file = io.BytesIO()
    torch.save(dict(tensors), file)
    return file.getvalue()


def onnx_model() -> onnx.ModelProto:
    """A convolution, a pooling and a linear layer."""
    draw = np.random.default_rng(0)
    weights = {"k": (2, 1, 3, 3), "w": (2, 3), "b": (3,)}
    tensors = [
        helper.make_tensor(
            name, TensorProto.FLOAT, shape, draw.normal(size=shape).astype(np.float32).tobytes(), raw=True
        )
        for name, shape in weights.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["maps"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["maps"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["y"]),
    ]
    rows = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 6, 6])
    scores = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "teacher", [rows], [scores], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _folder_of_texts() -> bytes:
    with TemporaryDirectory() as folder:
        return _zipped_folder(text_folders.saved(text_folders.network("bert"), Path(folder) / "model"))


def _folder_of_images() -> bytes:
    with TemporaryDirectory() as folder:
        return _zipped_folder(folders.saved(folders.network("vit", 32, ("a", "b", "c")), Path(folder) / "model"))


def _folder_of_sounds(name: str, **changes: Any) -> bytes:
    with TemporaryDirectory() as folder:
        made = sound_folders.network(name, **changes)
        return _zipped_folder(sound_folders.saved(made, Path(folder) / "model"))


def _folder_of_sentences() -> bytes:
    with TemporaryDirectory() as folder:
        return _zipped_folder(encoders.sentence_folder(encoders.encoder("bert"), Path(folder) / "model"))


def _zipped_folder(folder: Path) -> bytes:
    files = [(str(path.relative_to(folder)), path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return as_zip(files, zipfile.ZIP_DEFLATED)


def _models() -> list[Sound]:
    found = []
    for name, (network, fields) in _networks().items():
        weights = _written(lambda path, network=network: export_safetensors(network, path, {}))  # type: ignore[misc]
        tensors = {network.file_name(key): value for key, value in network.state_dict().items()}
        which = ", timm" if name == "timm" else ""
        files: tuple[tuple[str, Structure, bytes], ...] = (
            ("safetensors", "safetensors", weights),
            ("state_dict", "zip", _state_dict(tensors)),
        )
        for kind, structure, content in files:
            manifest = model_manifest(kind, fields)
            library = name == "timm"
            found.append(Sound(f"{kind} {name}", kind + which, structure, content, manifest, True, by_library=library))
    folder: Json = model_manifest("huggingface", None)
    for name, archive in (("texts", _folder_of_texts()), ("images", _folder_of_images())):
        row = f"huggingface, {name}"
        found.append(Sound(f"folder of {name}", row, "zip", archive, folder, is_model=True, by_library=True))
    waves = {**folder, "inputs": {"audio": {"shape": [1, sound_folders.SAMPLES]}}}
    for kind, content, manifest in (
        ("samples", _folder_of_sounds("wav2vec2", **sound_folders.MASKED), waves),
        ("bands", _folder_of_sounds("audio-spectrogram-transformer"), folder),
    ):
        row = "huggingface, sounds"
        found.append(Sound(f"folder of {kind}", row, "zip", content, manifest, True, by_library=True))
    sentences = {**folder, "outputs": {"y": {"kind": "vector"}}}
    content = _folder_of_sentences()
    found.append(
        Sound("folder of sentences", "huggingface, sentences", "zip", content, sentences, True, by_library=True)
    )
    graph: bytes = onnx_model().SerializeToString(deterministic=True)
    found.append(Sound("onnx", "onnx", "onnx", graph, model_manifest("onnx", None), is_model=True))
    return found


def sound_uploads() -> list[Sound]:
    """All of them, in a fixed order: onnx three times, for as many mutants as other formats have."""
    models = _models()
    return [*_datasets(), *models, models[-1], models[-1]]
