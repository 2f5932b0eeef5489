"""Archives of image files: what is in them, checked before an image is decoded.

The order of the rows is that of the files' paths, so that the same folder packed again gives the same rows.
"""

from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Final

from app.contracts.problems import UserError, listed
from app.contracts.resources.inputs.images import IMAGE_SUFFIXES
from workers.engine.data.formats.common import unreadable
from workers.engine.data.formats.images.containers import open_container

METADATA: Final = ("metadata.csv", "metadata.jsonl")
"""Files with further columns for the images: those of the convention of ImageFolder."""
_LEFT_OUT: Final = ("__MACOSX", "Thumbs.db", "desktop.ini")
"""What operating systems add to folders, beside names with a dot in front."""


class ImageArchive:
    """The files of an archive. `images`: their paths, sorted. `metadata`: the path of its table, if there is one.

    Raises UserError: `unreadable`, `bad_file_name`, `unsupported_image`, `empty_dataset`.
    """

    def __init__(self, path: Path) -> None:
        container = open_container(path)
        entries = [entry for entry in container.entries if not _is_left_out(entry.name)]
        for entry in entries:
            entry.check()
        tables = [entry.name for entry in entries if PurePosixPath(entry.name).name in METADATA]
        if len(tables) > 1:
            raise unreadable(f"the archive has {listed(tables)}, expected one table for all images: join them")
        self.read = container.read
        self.metadata = tables[0] if tables else None
        self.images = sorted(entry.name for entry in entries if entry.name not in tables)
        _check_images(self.images)


def _is_left_out(name: str) -> bool:
    return any(part in _LEFT_OUT or part.startswith(".") for part in name.split("/") if part not in (".", ".."))


def _check_images(names: list[str]) -> None:
    others = [name for name in names if not name.lower().endswith(IMAGE_SUFFIXES)]
    if others:
        raise UserError(
            "unsupported_image",
            f"the archive has {listed(others, most=5)}, expected files of {', '.join(IMAGE_SUFFIXES)} and one of "
            f"{' or '.join(METADATA)}: leave the others out, or write them as one of these",
        )
    if not names:
        raise UserError("empty_dataset", f"the archive has no image: expected files of {', '.join(IMAGE_SUFFIXES)}")
    doubled = next((one for one, other in pairwise(names) if one == other), None)
    if doubled is not None:
        raise unreadable(f"the archive has `{doubled}` twice: pack the folder again")
