"""F1 over entities: by hand, and against a plain reading of the tags."""

import pytest
import torch
from torch import Tensor

from workers.engine.evaluation.metrics.entities import entity_f1

NAMES = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def tagged(*rows: str) -> Tensor:
    """Rows of tags by letters: `P` and `L` begin, `p` and `l` go on, `.` is outside, `-` has no label."""
    places = {".": 0, "P": 1, "p": 2, "L": 3, "l": 4, "-": -1}
    width = max(map(len, rows))
    return torch.tensor([[places[each] for each in row.ljust(width, "-")] for row in rows], dtype=torch.int32)


@pytest.mark.parametrize(
    ("predicted", "labels", "expected"),
    [
        ("Pp.L", "Pp.L", 1.0),
        ("Pp..", "Pp.L", 2 / 3),
        ("P..L", "Pp.L", 0.5),
        ("PP.L", "Pp.L", 0.4),
        ("Lp.L", "Pp.L", 0.4),
        ("pp.l", "Pp.L", 1.0),
        ("....", "Pp.L", 0.0),
        ("....", "....", None),
        ("P.p", "P-p", 1.0),
    ],
)
def test_an_entity_is_found_by_its_ends_and_type(predicted: str, labels: str, expected: float | None) -> None:
    found = entity_f1(tagged(predicted), tagged(labels), NAMES)
    assert found == (expected if expected is None else pytest.approx(expected))


def test_rows_do_not_join() -> None:
    assert entity_f1(tagged("Pp", "pp"), tagged("Pp", "Pp"), NAMES) == 1.0
    assert entity_f1(tagged("P", "."), tagged("P", "p"), NAMES) == pytest.approx(2 / 3)


@pytest.mark.parametrize("names", [("O", "X"), ("B-", "I-"), ("O",), ("even", "odd")])
def test_other_names_tell_no_entities(names: tuple[str, ...]) -> None:
    assert entity_f1(tagged("."), tagged("."), names) is None


def plain(row: list[int]) -> set[tuple[int, int, int]]:
    """The entities of a row, read token by token."""
    spans, begun = set(), None
    for i, tag in enumerate([*row, 0]):
        kind = (tag + 1) // 2 if tag else 0
        if begun is not None and (kind != begun[1] or tag in (1, 3)):
            spans.add((begun[0], i - 1, begun[1]))
            begun = None
        if kind and begun is None:
            begun = (i, kind)
    return spans


def test_it_is_that_of_a_plain_reading() -> None:
    draw = torch.Generator().manual_seed(0)
    one, two = (torch.randint(0, 5, (50, 9), generator=draw) for _ in range(2))
    pairs = [(plain(a), plain(b)) for a, b in zip(one.tolist(), two.tolist(), strict=True)]
    expected = 2.0 * sum(len(a & b) for a, b in pairs) / sum(len(a) + len(b) for a, b in pairs)
    assert entity_f1(one, two, NAMES) == pytest.approx(expected)
