"""Images as they stand in a dataset's file, encoded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class ReadBytes(Protocol):
    """Gives the bytes of an image by its row, from several threads."""

    def __call__(self, row: int, /) -> bytes: ...


@dataclass(frozen=True)
class EncodedImages:
    """One image for each row. `names`: what an error calls them."""

    names: Sequence[str]
    read: ReadBytes

    def __len__(self) -> int:
        return len(self.names)
