"""Rows as image files: one, or an archive of several."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from app.contracts.problems import UserError
from app.contracts.resources.inputs.images import ImageForm
from workers.engine.data.formats.common import Array
from workers.engine.serving.rows.documents import check_rows
from workers.engine.serving.rows.errors import at
from workers.engine.serving.rows.forms import InputForm


def read_image(body: bytes, forms: Mapping[str, InputForm]) -> dict[str, Array]:
    """The only input [1, height, width, channels] of an image file. Raises RowErrors."""
    from workers.engine.data.formats.images.decode import pixels  # Pillow is imported where there are images

    name, form = _only_input(forms)
    try:
        return {name: pixels("the image", body, form)[None]}
    except UserError as error:
        raise at("", error.code, error.message) from None


def read_images(path: Path, forms: Mapping[str, InputForm]) -> dict[str, Array]:
    """The only input [n, height, width, channels] of an archive of image files, in the order of their paths.

    Raises RowErrors.
    """
    from workers.engine.data.formats.images.archive import ImageArchive
    from workers.engine.data.formats.images.decode import pixels

    name, form = _only_input(forms)
    try:
        archive = ImageArchive(path)
        check_rows(len(archive.images), "")
        return {name: np.stack([pixels(image, archive.read(image), form) for image in archive.images])}
    except UserError as error:
        raise at("", error.code, error.message) from None


def _only_input(forms: Mapping[str, InputForm]) -> tuple[str, ImageForm]:
    if len(forms) == 1:
        ((name, form),) = forms.items()
        if form.image is not None:
            return name, form.image
    described = " and ".join(f"`{name}`, {form.described}" for name, form in forms.items())
    raise at("", "wrong_type", f"expected {described}, found images, of which this model was not trained: send rows")
