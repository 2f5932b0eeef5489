"""Images as they stand in a dataset's file, encoded."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class EncodedImages:
    """One image for each of `count` rows. By its row, from several threads: `read` gives an image's bytes, `name` what
    an error calls it.
    """

    count: int
    read: Callable[[int], bytes]
    name: Callable[[int], str]

    def __len__(self) -> int:
        return self.count
