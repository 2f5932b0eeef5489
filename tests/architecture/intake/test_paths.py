"""The table of kinds and paths is whole, and every test that it names exists."""

import re
from pathlib import Path

import pytest

from tests.architecture.intake.paths import PATHS, TABLE, Covered, NotApplicable

TESTS = Path(__file__).parents[2]
NAMED = sorted(
    {(cell.file, cell.name) for cells in TABLE.values() for cell in cells.values() if isinstance(cell, Covered)}
)


@pytest.mark.parametrize("kind", TABLE)
def test_every_path_has_a_test_or_a_reason(kind: str) -> None:
    assert set(TABLE[kind]) == set(PATHS)
    assert all(cell.because for cell in TABLE[kind].values() if isinstance(cell, NotApplicable))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_every_test_that_is_named_exists(file: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (TESTS / file).read_text(), re.MULTILINE)
