"""Intersection over union of maps, against sums by pixel."""

import numpy as np
import pytest
import torch
from torch import Tensor

from app.contracts.resources.manifests import MapOutput
from workers.engine.data.dataset import TargetColumn
from workers.engine.evaluation.metrics import overlap
from workers.engine.evaluation.metrics.overlap import mean_iou, mean_iou_by_row, overlaps
from workers.engine.evaluation.metrics.task_metrics import task_metrics

CLASSES, ROWS, PIXELS = 4, 7, 12


def drawn() -> tuple[Tensor, Tensor]:
    """(scores [7, 12, 4], labels [7, 12] of classes 0 to 2, of which some are missing)."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(-1, 3, (ROWS, PIXELS), generator=generator).to(torch.int16)
    return torch.randn(ROWS, PIXELS, CLASSES, generator=generator), labels


def by_pixel(predicted: Tensor, labels: Tensor) -> float:
    """The mean IoU over classes that occur, written out."""
    pairs = [(p, y) for p, y in zip(predicted.flatten().tolist(), labels.flatten().tolist(), strict=True) if y >= 0]
    ious = []
    for c in range(CLASSES):
        union = sum(c in pair for pair in pairs)
        if union:
            ious.append(sum(pair == (c, c) for pair in pairs) / union)
    return sum(ious) / len(ious)


@pytest.mark.parametrize("at_once", [1, 30, 1 << 22])
def test_the_mean_iou_is_that_of_all_labelled_pixels(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "_AT_ONCE", at_once)
    scores, labels = drawn()
    predicted = scores.argmax(2)
    hits, unions = overlaps(predicted, labels, CLASSES)
    assert hits.shape == unions.shape == (ROWS, CLASSES)
    assert mean_iou(hits, unions) == pytest.approx(by_pixel(predicted, labels))
    np.testing.assert_allclose(mean_iou_by_row(hits, unions).mean(), mean_iou(hits, unions))


def test_parts_of_rows_are_the_slope_of_the_metric() -> None:
    """A row that counts a little more changes the metric by its part, as the delta method has it."""
    scores, labels = drawn()
    hits, unions = overlaps(scores.argmax(2), labels, CLASSES)
    parts, whole, step = mean_iou_by_row(hits, unions), mean_iou(hits, unions), 1e-6
    for row in range(ROWS):
        weights = torch.ones(ROWS, 1, dtype=torch.float64)
        weights[row] += step * ROWS
        slope = (mean_iou(weights * hits, weights * unions) - whole) / step
        assert slope == pytest.approx(float(parts[row]) - whole, abs=1e-4)


def test_metrics_of_maps_count_labelled_pixels() -> None:
    scores, labels = drawn()
    labels[3] = -1
    target = TargetColumn("map", CLASSES, labels, (labels >= 0).any(1), shape=(3, 4))
    found = task_metrics(scores, MapOutput(kind="map", shape=(3, 4)), target, torch.arange(ROWS))
    known = labels >= 0
    assert found["rows"] == ROWS - 1
    assert found["accuracy"] == pytest.approx(float((scores.argmax(2) == labels)[known].double().mean()))
    assert found["mean_iou"] == pytest.approx(by_pixel(scores.argmax(2), labels))
    expected = -scores[known].double().log_softmax(1).gather(1, labels[known].long()[:, None]).mean()
    assert found["nll"] == pytest.approx(float(expected))
