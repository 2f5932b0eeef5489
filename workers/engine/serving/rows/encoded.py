"""Rows as image or sound files: one, or an archive of several."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.contracts.problems import UserError
from workers.engine.data.formats.common import Array
from workers.engine.data.formats.files.archive import FileArchive
from workers.engine.data.formats.files.decoded import Decode
from workers.engine.data.formats.files.kinds import IMAGES, SOUNDS, FileKind
from workers.engine.serving.rows.documents import check_rows
from workers.engine.serving.rows.errors import RowErrors, at
from workers.engine.serving.rows.forms import InputForm


def read_file(body: bytes, kind: str, forms: Mapping[str, InputForm]) -> dict[str, Array]:
    """The only input [1, …] of a file: pixels [height, width, channels] of an image, or features [1, mels, frames] of a
    sound. `kind`: `image` or `sound`, as the file was sent. Raises RowErrors.
    """
    only = _only_input(forms)
    if only is None or only.kind.noun != kind:
        raise _not_taught(forms, f"a file of {'an image' if kind == 'image' else 'a sound'}")
    try:
        return {only.name: only.decode(f"the {kind}", body)[None]}
    except UserError as error:
        raise at("", error.code, error.message) from None


def read_archive(path: Path, forms: Mapping[str, InputForm]) -> dict[str, Array]:
    """The only input [n, …] of an archive of image or sound files, in the order of their paths. Raises RowErrors."""
    only = _only_input(forms)
    if only is None:
        raise _not_taught(forms, "an archive of files")
    try:
        archive = FileArchive(path, only.kind)
        check_rows(len(archive.files), "")
        return {only.name: np.stack([only.decode(file, archive.read(file)) for file in archive.files])}
    except UserError as error:
        raise at("", error.code, error.message) from None


@dataclass(frozen=True)
class _OnlyInput:
    name: str
    kind: FileKind
    decode: Decode


def _only_input(forms: Mapping[str, InputForm]) -> _OnlyInput | None:
    """The input of a model that reads nothing but images or sounds."""
    if len(forms) != 1:
        return None
    ((name, form),) = forms.items()
    if form.image is not None:
        from workers.engine.data.formats.images.decode import pixels  # Pillow is imported where there are images

        image = form.image
        return _OnlyInput(name, IMAGES, lambda file, content: pixels(file, content, image))
    if form.audio is not None:
        from workers.engine.data.formats.sounds.decode import features  # soundfile is imported where there are sounds

        audio = form.audio
        return _OnlyInput(name, SOUNDS, lambda file, content: features(file, content, audio))
    return None


def _not_taught(forms: Mapping[str, InputForm], found: str) -> RowErrors:
    only = _only_input(forms)
    if only is not None:
        files = f"{only.kind.noun} files ({', '.join(only.kind.suffixes)})"
        return at(
            "", "wrong_type", f"expected {files}, which `{only.name}` is made of, found {found}: send one of these"
        )
    described = " and ".join(f"`{name}`, {form.described}" for name, form in forms.items())
    return at("", "wrong_type", f"expected {described}, found {found}, of which this model was not trained: send rows")
