"""Which kind of source a dataset is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from stillhouse.sources.arrays import dataset_of_arrays
from stillhouse.sources.converting import reading
from stillhouse.sources.files import PathLike, dataset_of_files
from stillhouse.sources.frames import dataset_of_frame
from stillhouse.sources.upload import Upload, Wishes

Source = Any
"""A path, a binary file, several of them, arrays by name, or a pandas frame."""


def upload_of_dataset(source: Source, wishes: Wishes) -> Upload:
    """A dataset with its manifest. Raises Unreadable."""
    with reading("the dataset"):
        if is_frame(source):
            return dataset_of_frame(source, wishes)
        if isinstance(source, Mapping):
            return dataset_of_arrays(source, wishes)
        several = isinstance(source, Sequence) and not isinstance(source, str | bytes)
        files: Sequence[PathLike | BinaryIO] = source if several else [source]
        return dataset_of_files(files, wishes)


def is_frame(source: object) -> bool:
    """Whether it is a pandas frame, without importing pandas."""
    if isinstance(source, Path | str | Mapping):
        return False
    return any(each.__name__ == "DataFrame" and each.__module__.startswith("pandas") for each in type(source).__mro__)
