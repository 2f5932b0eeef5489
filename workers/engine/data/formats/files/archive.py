"""Archives of files of one kind: what is in them, checked before a file is decoded.

The order of the rows is that of the files' paths, so that the same folder packed again gives the same rows.
"""

from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Final

from app.contracts.problems import UserError, listed
from workers.engine.data.formats.common import unreadable
from workers.engine.data.formats.files.containers import open_container
from workers.engine.data.formats.files.kinds import FileKind

METADATA: Final = ("metadata.csv", "metadata.jsonl")
"""Files with further columns for the others: those of the conventions of ImageFolder and AudioFolder."""
_LEFT_OUT: Final = ("__MACOSX", "Thumbs.db", "desktop.ini")
"""What operating systems add to folders, beside names with a dot in front."""


class FileArchive:
    """The files of an archive. `files`: their paths, sorted. `metadata`: the path of its table, if there is one.

    Raises UserError: `unreadable`, `bad_file_name`, `empty_dataset`, and that of the kind for other files.
    """

    def __init__(self, path: Path, kind: FileKind) -> None:
        container = open_container(path)
        entries = [entry for entry in container.entries if not _is_left_out(entry.name)]
        for entry in entries:
            entry.check()
        tables = [entry.name for entry in entries if PurePosixPath(entry.name).name in METADATA]
        if len(tables) > 1:
            raise unreadable(f"the archive has {listed(tables)}, expected one table for all {kind.noun}s: join them")
        self.kind = kind
        self.read = container.read
        self.metadata = tables[0] if tables else None
        self.files = sorted(entry.name for entry in entries if entry.name not in tables)
        _check_files(self.files, kind)


def _is_left_out(name: str) -> bool:
    return any(part in _LEFT_OUT or part.startswith(".") for part in name.split("/") if part not in (".", ".."))


def _check_files(names: list[str], kind: FileKind) -> None:
    others = [name for name in names if not name.lower().endswith(kind.suffixes)]
    if others:
        raise UserError(
            kind.unsupported,
            f"the archive has {listed(others, most=5)}, expected files of {', '.join(kind.suffixes)} and one of "
            f"{' or '.join(METADATA)}: leave the others out, or write them as one of these",
        )
    if not names:
        raise UserError(
            "empty_dataset", f"the archive has no {kind.noun}: expected files of {', '.join(kind.suffixes)}"
        )
    doubled = next((one for one, other in pairwise(names) if one == other), None)
    if doubled is not None:
        raise unreadable(f"the archive has `{doubled}` twice: pack the folder again")
