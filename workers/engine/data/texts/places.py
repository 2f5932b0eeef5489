"""Which token of a row each entry of a list is: an id, or the first token of a word."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.contracts.problems import UserError


@dataclass(frozen=True)
class TokenPlaces:
    """The entries of the lists of a column, one row after another, as tokens of rows of one width.

    `counts` int64 [N]: entries of each row, as the file has them. `places` int32 [Σ counts]: the token of each entry,
    -1 where the row has none of it, as behind its end. `lengths` int32 [N]: tokens of each row, without padding.
    """

    counts: NDArray[np.int64]
    places: NDArray[np.int32]
    lengths: NDArray[np.int32]
    width: int

    @property
    def starts(self) -> NDArray[np.int64]:
        """The first entry of each row, int64 [N]."""
        return np.cumsum(self.counts) - self.counts

    def is_token(self) -> NDArray[np.bool_]:
        """Whether there is a token at each place, bool [N, width]."""
        return np.arange(self.width) < self.lengths[:, None]


def flat(rows: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    """Rows one after another."""
    return np.concatenate(rows) if rows else np.empty(0, np.int32)


def wrong_row(name: str, row: int, found: str, expected: str, way_out: str) -> UserError:
    """A UserError `wrong_tokens` for the list of a row."""
    return UserError("wrong_tokens", f"`{name}` has {found} at row {row}, expected {expected}: {way_out}", row)
