"""Images as they stand in a dataset's file, encoded."""

from collections.abc import Callable
from dataclasses import dataclass


def _nothing(rows: range) -> None:
    pass


@dataclass(frozen=True)
class EncodedImages:
    """One image for each of `count` rows. By its row, from several threads: `read` gives an image's bytes, `name` what
    an error calls it. `load` comes before the rows that are read, range after range, in their order: only those of the
    last call need be in memory.
    """

    count: int
    read: Callable[[int], bytes]
    name: Callable[[int], str]
    load: Callable[[range], None] = _nothing

    def __len__(self) -> int:
        return self.count
