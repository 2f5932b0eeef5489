"""Each decision record is one page and names the test that enforces it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECORDS = sorted((Path(__file__).parent / "decisions").rglob("[0-9][0-9][0-9][0-9]-*.md"))
MOST_LINES = 60


def test_there_are_records_and_their_numbers_differ() -> None:
    numbers = [record.name[:4] for record in RECORDS]
    assert numbers
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_record_fits_a_page_and_names_tests_that_exist(record: Path) -> None:
    text = record.read_text()
    assert len(text.splitlines()) <= MOST_LINES
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    assert named, "name the test that enforces the decision, as `tests/...py` or `tests/...py::test_name`"
    for path, test in named:
        assert (ROOT / path).is_file(), path
        assert f"def {test}" in (ROOT / path).read_text(), f"{path}::{test}"
