"""The examples, as a user runs them, against a real service."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.demo.service import Service
from tests.exhaustive import sample

EXAMPLES = Path(__file__).parents[1] / "demo/examples"
MOST_LINES = 50
PROMISES = {
    "tabular": ("the verdict is gain", "the first row is a 2", "reads numbers"),
    "images": ("['0']", "'classes': ['0', '1', '2', '3']", " bytes"),
    "multitask": ("{'digit': 'class', 'even': 'class', 'ink': 'value'}", "R (estimated, by rows)"),
    "texts": ("text ['kitchen', 'travel', 'weather']", "['kitchen']"),
}
"""What an example prints, among the rest."""


@pytest.mark.parametrize("name", sample(PROMISES, keep=("tabular", "multitask")))
def test_an_example_does_what_it_promises(service: Service, name: str) -> None:
    environment = {**os.environ, "STILLHOUSE_URL": service.url, "STILLHOUSE_KEY": service.key}
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    for promised in PROMISES[name]:
        assert promised in done.stdout


def test_every_example_is_run_and_short() -> None:
    lines = {path.stem: len(path.read_text().splitlines()) for path in EXAMPLES.glob("*.py")}
    assert lines.keys() == PROMISES.keys()
    assert max(lines.values()) <= MOST_LINES, lines
