"""What a search over 8 temperatures costs beside 8 single runs: the candidates train as one vectorised step."""

from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.digits import digits
from tests.benchmarks.figures import line, ratio, say
from tests.engine.harness import TEACHER, report_of

pytestmark = pytest.mark.benchmark
TEMPERATURES = [1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0]
ROUNDS = 3


def test_the_cost_of_a_search_beside_single_runs(tmp_path: Path) -> None:
    harness = digits(tmp_path, (784,))
    model = {"family": "mlp", "hidden": [256]}
    teacher = {"kind": "train", "target": "digit", "model": model, "training": {"epochs": 2}}
    harness.teacher(harness.run(teacher, "teacher"), tmp_path / "teacher" / "attempt-1")

    def seconds(temperature: Any, job: str) -> float:
        spec = {
            "kind": "distill",
            "target": "digit",
            "teachers": [{"model": TEACHER}],
            "student": {"family": "mlp", "hidden": [32]},
            "distillation": {"soft_targets": {"method": "kd", "temperature": temperature}},
            "training": {"epochs": 3, "batch_size": 64},
            "control": False,
        }
        return report_of(harness.run(spec, job)).seconds["training"]

    seconds(4.0, "warm")
    pairs = []
    for i in range(ROUNDS):
        singles = [seconds(temperature, f"single-{i}-{temperature}") for temperature in TEMPERATURES]
        # The winner is trained again: that is one of the singles, and no part of the search itself.
        searched = seconds({"search": TEMPERATURES}, f"search-{i}") - sum(singles) / len(singles)
        pairs.append((searched, sum(singles)))
    say("A search over 8 temperatures of an mlp 784-32-10, batch 64, 3 epochs of 3500 digits, one thread")
    one = line("8 candidates as one step", [searched for searched, _ in pairs])
    eight = line("8 single runs", [singles for _, singles in pairs])
    ratio("search over single runs", one, eight)
