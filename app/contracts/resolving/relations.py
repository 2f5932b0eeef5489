"""The task relation matrix R (METHODS.md section 4): normalisation, and when it has no effect."""

from collections.abc import Sequence

from app.contracts.jobs import MultitaskJob
from app.contracts.resolving.findings import Findings

DIAGONAL_FLOOR = 0.01
"""Least share of a task in its own row: a task that never hears itself cannot be learned."""
_NEAR = 1e-9


def normalised(matrix: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    """R with rows that sum to 1 and diagonal entries of at least `DIAGONAL_FLOOR`.

    Entries are non-negative and no row is all zero (the contract refuses others). Where the floor lifts a
    diagonal entry, the rest of its row shares what is left in its old proportions.
    """
    rows = []
    for i, row in enumerate(matrix):
        total = sum(row)
        shares = [entry / total for entry in row]
        if shares[i] < DIAGONAL_FLOOR:
            rest = 1.0 - shares[i]
            shares = [share * (1.0 - DIAGONAL_FLOOR) / rest for share in shares]
            shares[i] = DIAGONAL_FLOOR
        rows.append(tuple(shares))
    return tuple(rows)


def effective_weights(matrix: Sequence[Sequence[float]], weights: Sequence[float]) -> list[float]:
    """Rᵀw: what R comes to when the objectives are summed with weights w."""
    return [sum(w * row[j] for w, row in zip(weights, matrix, strict=True)) for j in range(len(weights))]


def _same(left: Sequence[float], right: Sequence[float]) -> bool:
    return all(abs(a - b) < _NEAR for a, b in zip(left, right, strict=True))


def _shares(values: Sequence[float]) -> list[float]:
    total = sum(values)
    return [value / total for value in values]


def check_relation(spec: MultitaskJob, findings: Findings) -> None:
    """Warn where R is nothing but fixed weights, or nothing at all."""
    if spec.relation is None:
        return
    weights = [task.weight for task in spec.tasks]
    matrix = normalised(spec.relation.matrix)
    if spec.balancing.method != "fixed":
        given = [_shares(row) for row in spec.relation.matrix]
        if len(given) > 1 and all(_same(row, given[0]) for row in given[1:]):
            findings.warn(
                "relation_rank_one",
                "all rows of the relation are alike, so every objective is the same mixture and the balancer has "
                "nothing to balance",
            )
        return
    effect = _shares(effective_weights(matrix, weights))
    if _same(effect, _shares(weights)):
        findings.warn(
            "relation_without_effect",
            "summed by `fixed`, this relation gives the tasks the weights they have without it; use a gradient "
            "balancer to keep the objectives apart",
        )
    else:
        shown = ", ".join(f"{task.name} {share:.3g}" for task, share in zip(spec.tasks, effect, strict=True))
        findings.warn(
            "relation_is_weights", f"summed by `fixed`, this relation comes to fixed shares of the tasks: {shown}"
        )
