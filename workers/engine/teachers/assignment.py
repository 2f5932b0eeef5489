"""The one-to-one assignment of rows to columns whose entries sum to most (the linear assignment problem)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

MOST_CLASSES = 1024
"""The largest matrix that is solved, O(n³) with one vector operation for each of n² steps at worst: a few hundredths of
a second at this size where the diagonal is strong, seconds where nothing is.
"""

Floats = NDArray[np.float64]


def best_assignment(counts: Tensor) -> tuple[int, ...]:
    """The permutation p that maximises Σ_i counts[i, p(i)], for integer counts [n, n] of at most MOST_CLASSES rows.

    Of several best ones it keeps most rows in their own column. Shortest augmenting paths with potentials (Kuhn 1955,
    Munkres 1957, in the form of Jonker and Volgenant 1987). Raises ValueError for other shapes.
    """
    n = len(counts)
    if counts.shape != (n, n) or n > MOST_CLASSES:
        raise ValueError(f"expected a square matrix of at most {MOST_CLASSES} rows, found {list(counts.shape)}")
    # Whole counts weigh n + 1, so that the bonuses of the diagonal, n at most, only decide between equals.
    benefits = counts.double().numpy() * (n + 1) + np.eye(n)
    rows = _rows_of_columns(benefits.max() - benefits)
    return tuple(np.argsort(rows).tolist())


def _rows_of_columns(costs: Floats) -> NDArray[np.int64]:
    """For each column the row that it is assigned to, at least cost: [n] of costs [n, n]."""
    n = len(costs)
    of_row, of_column = np.zeros(n), np.zeros(n)
    owner = np.full(n, -1, dtype=np.int64)
    for row in range(n):
        before, column = _shortest_path(costs, of_row, of_column, owner, row)
        while column != -1:  # flip the path: each column on it goes to the row that reached it
            owner[column], column = (row, -1) if before[column] == -1 else (owner[before[column]], before[column])
    return owner


def _shortest_path(
    costs: Floats, of_row: Floats, of_column: Floats, owner: NDArray[np.int64], start: int
) -> tuple[NDArray[Any], int]:
    """From an unassigned row to a free column: (for each column the one before it on the way, -1 at the start; the free
    column). The potentials `of_row` and `of_column` are moved so that the way has reduced costs of 0.
    """
    n = len(costs)
    distance, before = np.full(n, np.inf), np.full(n, -1, dtype=np.int64)
    done = np.zeros(n, dtype=bool)
    reached: list[tuple[int, float]] = [(start, 0.0)]
    row, last, far = start, -1, 0.0
    while True:
        reduced = far + costs[row] - of_row[row] - of_column
        shorter = ~done & (reduced < distance)
        distance[shorter], before[shorter] = reduced[shorter], last
        last = int(np.where(done, np.inf, distance).argmin())
        far = float(distance[last])
        if owner[last] == -1:
            break
        done[last] = True
        row = int(owner[last])
        reached.append((row, far))
    for each, at in reached:
        of_row[each] += far - at
    of_column[done] -= far - distance[done]
    return before, last
