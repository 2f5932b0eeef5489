"""What would settle an open verdict: the share of intervals that exclude 0 with the numbers that are named."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from app.contracts.reports.report import Verdict
from app.contracts.resources.manifests import ClassOutput
from app.contracts.specs.jobs import DistillJob
from tests.engine.evaluation.cases import drawn_right, right_or_wrong, seeded, target_of
from workers.engine.evaluation.verdict.crossed_interval import crossed
from workers.engine.evaluation.verdict.judge import judge
from workers.engine.evaluation.verdict.power import (
    MOST_REPEATS,
    Components,
    Design,
    Group,
    settled,
    settled_by_rows,
)

TRAINED = Components(Group(1e-4, 0.03), Group(1e-4, 0.03), 0.0)
"""Seeds differ by 1 point, and the groups find the same rows hard."""
ROWS_DIFFER = Components(Group(1e-6, 0.03), Group(1e-6, 0.03), 0.05)
CLASSES = ClassOutput(kind="class")
OPEN = Verdict(
    verdict="inconclusive", metric="accuracy", difference=0.02, margin=0.005, interval=(-0.1, 0.1), method=""
)


def drawn(components: Components, design: Design, size: float, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Contributions of two groups that differ by `size`, with these components of the variance."""
    shared = 0.3 * random.normal(size=design.rows)

    def group(n: int, part: Group, mean: float) -> Tensor:
        rows = shared + np.sqrt(components.difference / 2) * random.normal(size=design.rows)
        seeds = np.sqrt(part.training) * random.normal(size=(n, 1))
        return torch.from_numpy(mean + seeds + rows + np.sqrt(part.row) * random.normal(size=(n, design.rows)))

    return group(design.students, components.students, size), group(design.controls, components.controls, 0.0)


def found_share(components: Components, design: Design, size: float) -> float:
    random, trials, found = np.random.default_rng(1), 400, 0
    for _ in range(trials):
        low, high = crossed(*drawn(components, design, size, random)).interval()
        found += low > 0.0 or high < 0.0
    return found / trials


@pytest.mark.parametrize(
    ("components", "size", "design"),
    [
        (TRAINED, 0.015, Design(15, 15, 500)),
        (ROWS_DIFFER, 0.02, Design(3, 3, 1800)),
        (Components(Group(4e-4, 0.03), Group(1e-5, 0.03), 0.002), 0.03, Design(8, 8, 500)),
    ],
)
def test_the_least_numbers_that_are_enough_find_the_difference_in_80_percent(
    components: Components, size: float, design: Design
) -> None:
    """The standard error of 400 trials is 2 points."""
    assert components.finds(size, design)
    fewer = replace(design, students=design.students - 1, controls=design.controls - 1)
    assert not components.finds(size, fewer if components is not ROWS_DIFFER else replace(design, rows=1700))
    assert 0.74 <= found_share(components, design, size) <= 0.90


def test_components_are_estimated_without_bias_from_networks() -> None:
    random, design = np.random.default_rng(2), Design(4, 4, 200)
    true = Components(Group(4e-4, 0.03), Group(1e-3, 0.06), 0.02)
    found = [Components.of(*drawn(true, design, 0.0, random)) for _ in range(400)]
    assert np.mean([each.students.training for each in found]) == pytest.approx(4e-4, rel=0.2)
    assert np.mean([each.controls.training for each in found]) == pytest.approx(1e-3, rel=0.2)
    assert np.mean([each.controls.row for each in found]) == pytest.approx(0.06, rel=0.02)
    assert np.mean([each.difference for each in found]) == pytest.approx(0.02, rel=0.2)


def test_repeats_and_rows_are_named_for_an_open_verdict_alone() -> None:
    students, controls = drawn(TRAINED, Design(3, 3, 500), 0.02, np.random.default_rng(3))
    would_settle = settled(OPEN, students, controls).would_settle
    assert would_settle is not None
    assert would_settle.size == 0.02
    assert would_settle.repeats is not None
    assert 3 < would_settle.repeats <= MOST_REPEATS
    assert settled(OPEN.model_copy(update={"verdict": "gain"}), students, controls).would_settle is None
    assert settled(OPEN.model_copy(update={"interval": None}), students, controls).would_settle is None


def test_a_difference_within_the_margin_counts_as_the_margin() -> None:
    verdict = OPEN.model_copy(update={"difference": -0.001, "interval": (-0.02, 0.018)})
    would_settle = settled_by_rows(verdict, 300).would_settle
    assert would_settle is not None
    assert would_settle.size == 0.005


def test_a_difference_that_neither_settles_says_why() -> None:
    students, controls = drawn(TRAINED, Design(3, 3, 500), 0.001, np.random.default_rng(4))
    verdict = OPEN.model_copy(update={"difference": 0.001, "margin": 0.001})
    would_settle = settled(verdict, students, controls).would_settle
    assert would_settle is not None
    assert (would_settle.repeats, would_settle.rows) == (None, None)
    assert "16 repeats, the most that a job has, are too few on 500 test rows" in would_settle.because
    assert "More test rows are not enough" in would_settle.because


def test_repeats_and_rows_that_settle_together_are_told_where_neither_does_alone() -> None:
    """Both parts of the noise are large: of rows, and of training."""
    components = Components(Group(4e-4, 0.03), Group(4e-4, 0.03), 0.04)
    students, controls = drawn(components, Design(3, 3, 60), 0.03, np.random.default_rng(2))
    verdict = OPEN.model_copy(update={"difference": 0.03})
    would_settle = settled(verdict, students, controls).would_settle
    assert would_settle is not None
    assert (would_settle.repeats, would_settle.rows) == (None, None)
    found = re.search(r"16 repeats on (\d+) test rows are", would_settle.because)
    assert found is not None
    enough, own = int(found[1]), Components.of(students, controls)
    assert own.finds(0.03, Design(16, 16, enough))
    assert not own.finds(0.03, Design(16, 16, int(0.9 * enough)))


def test_equal_networks_need_the_rows_of_the_least_half_width() -> None:
    """2.77 / (560 + 2) is below the margin of 0.005, and 2.77 / (550 + 2) above."""
    same = torch.full((3, 20), 0.5, dtype=torch.float64)
    would_settle = settled(OPEN.model_copy(update={"difference": 0.0}), same, same, least=2.77).would_settle
    assert would_settle is not None
    assert (would_settle.repeats, would_settle.rows) == (None, 560)


def test_one_pair_is_settled_by_rows_and_says_that_training_noise_is_not_known() -> None:
    """Four times the rows halve the interval."""
    right = drawn_right(2, 300, 0.9, seeded(0), difficulty=torch.zeros(300), noise=1.0)
    target = target_of(torch.zeros(300, dtype=torch.int64))
    student, control = right_or_wrong(right)
    found = judge(student, control, CLASSES, target, torch.arange(300))
    assert found.verdict in ("inconclusive", "undecided")
    assert found.would_settle is not None
    assert found.would_settle.repeats is None
    assert "not known below 3 repeats" in found.would_settle.because
    assert found.interval is not None
    assert found.would_settle.rows is not None
    low, high = found.interval
    half = (high - low) / 2.0 * (300 / found.would_settle.rows) ** 0.5
    assert half * (1.0 + 0.8416 / 2.2414) == pytest.approx(found.would_settle.size, rel=0.06)


def test_the_most_repeats_are_those_of_a_job() -> None:
    accepted = DistillJob.model_json_schema()["properties"]["repeats"]
    assert str(MOST_REPEATS) in str(accepted)
