"""Terms that count for a part of the steps, and rise in it."""

from typing import Any

import pytest
import torch

from app.contracts.specs.phases import Phase
from tests.engine.harness import EngineHarness, report_of
from tests.engine.jobs.distillation.method_specs import TRAINING, add_teachers, feature, job

Json = dict[str, Any]
WIDE: Json = {"family": "mlp", "hidden": [8, 24]}
FIXED: Json = {**TRAINING, "select_by": "last"}


def recorded(harness: EngineHarness, series: str) -> list[float]:
    return [value for value in harness.log.series(series) if value is not None]


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        (Phase(), [1.0, 1.0, 1.0, 1.0, 1.0]),
        (Phase(end=0.5), [1.0, 1.0, 0.0, 0.0, 0.0]),
        (Phase(begin=0.5), [0.0, 0.0, 1.0, 1.0, 1.0]),
        (Phase(ramp=1.0), [0.0, 0.25, 0.5, 0.75, 1.0]),
        (Phase(begin=0.25, end=0.75, ramp=0.5), [0.0, 0.0, 0.5, 0.0, 0.0]),
    ],
)
def test_the_share_of_a_weight_over_the_steps(phase: Phase, expected: list[float]) -> None:
    assert [phase.share(progress) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)] == expected


def test_a_term_moves_nothing_outside_its_phase(harness: EngineHarness) -> None:
    """Two jobs that differ in a term whose phase is over, or has not begun, have the same first steps."""
    add_teachers(harness)
    late = job({"soft_targets": {"method": "kd", "phase": {"begin": 0.5}}, "supervised": {"weight": 1.0}})
    alone = job({"soft_targets": {"method": "kd", "weight": 0.0}, "supervised": {"weight": 1.0}})
    losses = []
    for name, spec in (("late", late), ("alone", alone)):
        harness.run(spec | {"training": FIXED, "control": False}, name)
        losses.append(recorded(harness, "train/label/supervised"))
        harness.log.events.clear()
    half = len(losses[0]) // 2
    assert losses[0][:half] == losses[1][:half]
    assert losses[0][half + 1 :] != losses[1][half + 1 :]


def test_simkd_releases_the_teachers_head_when_its_phase_is_over(harness: EngineHarness) -> None:
    add_teachers(harness)
    term = {"method": "simkd", "phase": {"end": 0.5}}
    harness.run(feature(term, student=WIDE, training=FIXED, control=False), "released")
    whole = {"method": "simkd"}
    harness.run(feature(whole, student=WIDE, training=FIXED, control=False), "held")
    teacher = harness.weights("teacher0")
    assert torch.equal(harness.weights("held")["layers.2.weight"], teacher["layers.2.weight"])
    moved = harness.weights("released")["layers.2.weight"] - teacher["layers.2.weight"]
    assert float(moved.abs().max()) > 1e-4


def test_features_first_then_the_labels_alone(harness: EngineHarness) -> None:
    """FitNets' two stages as two phases of one job: the hint is no longer followed, and the labels are learned."""
    add_teachers(harness)
    hint = {"method": "fitnets", "teacher_layer": "penultimate", "student_layer": "penultimate"}
    terms: Json = {
        "features": {**hint, "weight": 1.0, "phase": {"end": 0.4}},
        "supervised": {"weight": 1.0, "phase": {"begin": 0.4}},
    }
    report = report_of(harness.run(job(terms, training={**FIXED, "epochs": 8}, control=False)))
    hints, labels = recorded(harness, "train/label/fitnets"), recorded(harness, "train/label/supervised")
    first = round(0.4 * (len(hints) - 1))
    assert all(value > 0.0 for value in hints[:first])
    assert not any(hints[first + 1 :])
    assert not any(labels[:first])
    assert labels[-1] < 0.7 * labels[first + 1]
    accuracy = report.student.tasks["label"]["accuracy"]
    assert accuracy is not None
    assert accuracy > 0.8


def test_a_search_over_weights_keeps_the_phases(harness: EngineHarness) -> None:
    add_teachers(harness)
    soft = {"method": "kd", "weight": {"search": [0.2, 0.9]}, "phase": {"begin": 0.5}}
    spec = job({"soft_targets": soft, "supervised": {"weight": 0.5}}, training=FIXED, control=False)
    report = report_of(harness.run(spec, "searched"))
    assert report.search is not None
    chosen = next(iter(report.search.trials[report.search.chosen].values.values()))
    spec["distillation"]["soft_targets"] = {**soft, "weight": chosen}
    harness.run(spec, "single")
    assert harness.digest("searched") == harness.digest("single")


def test_annealed_teachers_hand_their_weight_to_the_labels_in_a_straight_line(harness: EngineHarness) -> None:
    """BAM!: λ·labels + (1 − λ)·teacher with λ from 0 to 1, where labels weigh nothing at first."""
    add_teachers(harness)
    spec = job({"soft_targets": {"method": "kd", "weight": 1.0}, "supervised": {"weight": 0.0}, "anneal": "linear"})
    harness.run({**spec, "training": FIXED, "control": False})
    series = {name: recorded(harness, f"train/{name}") for name in ("loss", "label/kd", "label/supervised")}
    steps = len(series["loss"])
    for step, total in enumerate(series["loss"]):
        share = step / (steps - 1)
        soft, labels = series["label/kd"][step], series["label/supervised"][step]
        assert total == pytest.approx(share * labels + (1.0 - share) * soft, rel=1e-5)
