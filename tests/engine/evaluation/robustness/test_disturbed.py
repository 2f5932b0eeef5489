"""Parties on disturbed rows: figures are those of the disturbed inputs, block by block."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from app.contracts.resources.manifests import ClassOutput, ValueOutput
from tests.engine.evaluation.cases import seeded, target_of
from workers.engine.evaluation.metrics.outputs import PartyOutputs
from workers.engine.evaluation.robustness.corrupted_rows import measure_robustness
from workers.engine.evaluation.robustness.corruptions import SEVERITIES, corrupted

LOGITS, VALUE = ClassOutput(kind="class"), ValueOutput(kind="value")
IMAGES = torch.rand(60, 1, 8, 8, generator=seeded(0))
BRIGHT = (IMAGES.mean(dim=(1, 2, 3)) > 0.5).long()


def by_mean(x: Tensor) -> Mapping[str, PartyOutputs]:
    """A classifier of bright images, and the brightness as a value."""
    mean = x.mean(dim=(1, 2, 3))
    return {
        "bright": PartyOutputs(torch.stack([0.5 - mean, mean - 0.5], dim=1), LOGITS),
        "level": PartyOutputs(mean[:, None], VALUE),
    }


def by_corner(x: Tensor) -> Mapping[str, PartyOutputs]:
    corner = x[:, 0, 0, 0]
    return {"bright": PartyOutputs(torch.stack([0.5 - corner, corner - 0.5], dim=1), LOGITS)}


TARGETS = {"bright": target_of(BRIGHT), "level": target_of(IMAGES.mean(dim=(1, 2, 3)), "value", 1)}


def test_figures_are_those_of_the_disturbed_rows() -> None:
    rows = torch.arange(10, 60)
    found = measure_robustness({"student": by_mean, "teacher": by_corner}, TARGETS, IMAGES, rows, 3, 0.0, 1.0)
    assert [(each.corruption, each.severity) for each in found["bright"]] == [
        (name, severity) for name in ("gaussian_noise", "gaussian_blur", "shift") for severity in SEVERITIES
    ]
    for each in found["bright"]:
        x = corrupted(IMAGES[rows], each.corruption, each.severity, 3, rows, 0.0, 1.0)
        assert each.metric == "accuracy"
        right = ((x.mean(dim=(1, 2, 3)) > 0.5).long() == BRIGHT[rows]).double()
        assert each.parties["student"] == pytest.approx(float(right.mean()))
        right = ((x[:, 0, 0, 0] > 0.5).long() == BRIGHT[rows]).double()
        assert each.parties["teacher"] == pytest.approx(float(right.mean()))


def test_values_are_measured_by_rmse_and_silent_parties_are_not_named() -> None:
    rows = torch.arange(60)
    found = measure_robustness({"student": by_mean, "teacher": by_corner}, TARGETS, IMAGES, rows, 3, 0.0, 1.0)
    for each in found["level"]:
        x = corrupted(IMAGES, each.corruption, each.severity, 3, rows, 0.0, 1.0)
        error = (x.mean(dim=(1, 2, 3)) - IMAGES.mean(dim=(1, 2, 3))).square().mean().sqrt()
        assert (each.metric, set(each.parties)) == ("rmse", {"student"})
        assert each.parties["student"] == pytest.approx(float(error), rel=1e-4)


def test_blocks_join_to_the_same_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.arange(60)
    whole = measure_robustness({"student": by_mean}, TARGETS, IMAGES, rows, 0, 0.0, 1.0)
    monkeypatch.setattr("workers.engine.evaluation.robustness.corrupted_rows.BLOCK", 7)
    parts = measure_robustness({"student": by_mean}, TARGETS, IMAGES, rows, 0, 0.0, 1.0)
    assert parts["bright"] == whole["bright"]


def test_a_task_without_labels_is_left_out() -> None:
    targets = {**TARGETS, "bright": target_of(torch.full((60,), -1))}
    found = measure_robustness({"student": by_mean}, targets, IMAGES, torch.arange(60), 0, 0.0, 1.0)
    assert set(found) == {"level"}
    assert (
        measure_robustness({"student": by_mean}, {"bright": targets["bright"]}, IMAGES, torch.arange(60), 0, 0.0, 1.0)
        == {}
    )


def test_it_can_be_stopped_before_any_block() -> None:
    class Stopped(Exception):
        pass

    passes: list[int] = []

    def check() -> None:
        if len(passes) == 2:
            raise Stopped

    def counting(x: Tensor) -> Mapping[str, PartyOutputs]:
        passes.append(len(x))
        return by_mean(x)

    with pytest.raises(Stopped):
        measure_robustness({"student": counting}, TARGETS, IMAGES, torch.arange(60), 0, 0.0, 1.0, check)
    assert len(passes) == 2
