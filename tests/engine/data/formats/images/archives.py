"""Archives of small images."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.contracts.resources.inputs.images import ImageInput
from app.contracts.resources.manifests import DatasetManifest
from workers.engine.data.formats.images.decode import pixels
from workers.engine.data.formats.read import read_columns
from workers.engine.data.formats.written import FileColumns

Pixels = NDArray[np.uint8]


def noise(height: int = 6, width: int = 8, channels: int = 3, seed: int = 0) -> Pixels:
    """Random pixels [height, width, channels]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def encoded(image: Image.Image | Pixels, kind: str = "PNG", **options: Any) -> bytes:
    """A file of an image."""
    file = io.BytesIO()
    made = image if isinstance(image, Image.Image) else Image.fromarray(image.squeeze())
    made.save(file, kind, **options)
    return file.getvalue()


def zipped(path: Path, files: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """An archive of files, in this order: equal bytes for equal files, at whatever time."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return path


def tarred(path: Path, files: Mapping[str, bytes], packed_as: str = "{}", header: Mapping[str, object] = {}) -> Path:
    """A tar of files, in this order; `header`: fields of each file's header that are others."""
    with path.open("wb") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(packed_as.format(name))
            entry.size = len(content)
            for field, value in header.items():
                setattr(entry, field, value)
            archive.write(entry.tobuf())
            archive.write(content + bytes(-len(content) % tarfile.BLOCKSIZE))
        archive.write(bytes(2 * tarfile.BLOCKSIZE))
    return path


def columns_of(path: Path, *names: str, text: tuple[str, ...] = (), categories: tuple[str, ...] = ()) -> FileColumns:
    """The named columns of an archive."""
    return read_columns(path, "images", set(names), {*text, *categories}, None, set(categories))


def pixels_of(image: bytes, **spec: Any) -> Pixels:
    """The pixels of an image as an input of that spec has them."""
    return pixels("a.png", image, ImageInput.model_validate({"kind": "image", **spec}))


def manifest(**changes: Any) -> DatasetManifest:
    """A manifest of images of 6 x 8 pixels and two classes by folders."""
    return DatasetManifest.model_validate(
        {
            "name": "photos",
            "format": "images",
            "inputs": {"image": {"kind": "image", "size": (6, 8)}},
            "targets": {"label": {"kind": "class", "classes": ("cat", "dog")}},
            **changes,
        }
    )
