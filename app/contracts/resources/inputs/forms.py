"""What files become: pixels or features, by the form of a dataset or that of a model that reads the files itself."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, assert_never

from pydantic import Discriminator, Tag

from app.contracts.base import Shape
from app.contracts.resources.inputs.audio import AudioForm
from app.contracts.resources.inputs.images import ImageForm

FileKind = Literal["image", "sound"]


def _kind(value: Any) -> FileKind:
    """Which form a document is: sounds have a length, images have none."""
    if isinstance(value, Mapping):
        return "sound" if "seconds" in value else "image"
    return "sound" if isinstance(value, AudioForm) else "image"


FileForm = Annotated[
    Annotated[ImageForm, Tag("image")] | Annotated[AudioForm, Tag("sound")],
    Discriminator(_kind),
]


def row_of(form: ImageForm | AudioForm) -> Shape:
    """The shape of a row that a form makes of a file: [channels, height, width], or that of the features of a sound."""
    match form:
        case ImageForm():
            return (form.channels, *form.size)
        case AudioForm():
            return form.row
        case _:
            assert_never(form)


def kind_of(form: ImageForm | AudioForm) -> FileKind:
    """Of which files a form makes rows."""
    match form:
        case ImageForm():
            return "image"
        case AudioForm():
            return "sound"
        case _:
            assert_never(form)
