"""Groups of tasks from a relation: who shares a trunk."""

from collections.abc import Sequence
from itertools import combinations

LINK = 0.1
"""Two tasks are linked if each teaches the other at least this much of what it teaches itself."""


def link(matrix: Sequence[Sequence[float]], i: int, j: int) -> float:
    """How firmly two tasks are linked: the weaker of R_ij / R_ii and R_ji / R_jj."""
    rows = ((matrix[i][j], matrix[i][i]), (matrix[j][i], matrix[j][j]))
    return min(other / own if own > 0.0 else float(other > 0.0) for other, own in rows)


def groups_of(matrix: Sequence[Sequence[float]]) -> tuple[tuple[int, ...], ...]:
    """A partition of the tasks in which all of a group are linked (complete linkage, the firmest pair first).

    `matrix` is R [K, K], normalised or not. A task that helps without being helped stays apart: a shared trunk is
    mutual.
    """
    groups: list[tuple[int, ...]] = [(i,) for i in range(len(matrix))]
    while True:
        firmest = max(
            ((min(link(matrix, i, j) for i in a for j in b), a, b) for a, b in combinations(groups, 2)),
            key=lambda found: found[0],
            default=(0.0, (), ()),
        )
        if firmest[0] < LINK:
            return tuple(sorted(groups))
        _, a, b = firmest
        groups = [group for group in groups if group not in (a, b)] + [tuple(sorted((*a, *b)))]
