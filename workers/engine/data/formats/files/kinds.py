"""The kinds of files that the rows of a dataset can be."""

from dataclasses import dataclass
from typing import Final

from app.contracts.resources.inputs.audio import SOUND_SUFFIXES
from app.contracts.resources.inputs.images import IMAGE_SUFFIXES


@dataclass(frozen=True)
class FileKind:
    """`column`: of the files in an archive; `noun`: what messages call one of them; `suffixes`: of their names, in
    lower case; `unsupported`: the code of the error for other files; `unlisted`: what to do about files that the
    archive's table does not list.
    """

    column: str
    noun: str
    suffixes: tuple[str, ...]
    unsupported: str
    unlisted: str


IMAGES: Final = FileKind(
    "image",
    "image",
    IMAGE_SUFFIXES,
    "unsupported_image",
    "list each image once, or, where these are masks, name their column as the `column` of a target of kind `map`",
)
SOUNDS: Final = FileKind("audio", "sound", SOUND_SUFFIXES, "unsupported_sound", "list each sound once")
