"""Columns that the folders of an archive say: the convention of torchvision's and Hugging Face's ImageFolder
and AudioFolder.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

from app.contracts.resources.splits import SPLIT_WORDS

LABEL: Final = "label"
SPLIT: Final = "split"
FILE_NAME: Final = "file_name"


def columns_of_paths(paths: Sequence[str]) -> dict[str, list[str]]:
    """`file_name`; `split`, where the first folder that differs names splits alone; `label`, the folder that a file is
    in, where each file is in a folder of its split.
    """
    folders = [PurePosixPath(path).parent.parts for path in paths]
    common = _common(folders)
    below = [parts[common:] for parts in folders]
    found = {FILE_NAME: list(paths)}
    if all(parts and parts[0].lower() in SPLIT_WORDS for parts in below):
        found[SPLIT] = [SPLIT_WORDS[parts[0].lower()] for parts in below]
        below = [parts[1:] for parts in below]
    if all(below):
        found[LABEL] = [parts[-1] for parts in below]
    return found


def _common(folders: Sequence[tuple[str, ...]]) -> int:
    """How many folders around the splits and classes all paths begin with: neither a split nor a folder of files."""
    first, last = min(folders), max(folders)
    inner = min(len(parts) for parts in folders) - 1
    count = 0
    while count < inner and first[count] == last[count] and first[count].lower() not in SPLIT_WORDS:
        count += 1
    return count
