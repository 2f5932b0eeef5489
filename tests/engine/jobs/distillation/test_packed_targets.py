"""Soft targets kept in half precision, or the largest of many classes only."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.harness import TEACHER, EngineHarness, report_of
from tests.engine.jobs.distillation.method_specs import TRAINING, add_teachers, soft
from workers.engine.data.columns import Rows
from workers.engine.data.top_k import TopK, TopKColumn, largest_scores
from workers.engine.losses.softmax import softened

Json = dict[str, Any]
CPU = torch.device("cpu")


def scores(rows: int = 6, classes: int = 9) -> torch.Tensor:
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(0)) * 3.0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 100.0])
def test_trap_probabilities_of_the_kept_classes_sum_to_one_at_the_temperature_in_use(temperature: float) -> None:
    whole = scores()
    kept = TopK(*largest_scores(whole, 3), size=9)
    found = softened(TopKColumn(kept, CPU).take(Rows.on(CPU, torch.arange(6))), temperature).exp()
    for row, values in enumerate(whole.numpy().astype(np.float64)):
        places = np.argsort(values)[-3:]
        powers = np.exp((values[places] - values.max()) / temperature)
        np.testing.assert_allclose(found[row].numpy()[places], powers / powers.sum(), rtol=1e-5)
        others = np.setdiff1d(np.arange(9), places)
        assert float(found[row][others].max()) < 1e-30


def test_every_class_is_kept_where_there_are_no_more_than_asked_for(harness: EngineHarness) -> None:
    add_teachers(harness)
    harness.run(soft({"method": "kd"}), "whole")
    report = report_of(harness.run(soft({"method": "kd"}, store={"top_k": 3}), "all three"))
    assert harness.digest("all three") == harness.digest("whole")
    assert report.targets[0].bytes == 240 * 3 * 4


def test_the_largest_of_many_classes_take_less_room_and_teach_nearly_as_much(harness: EngineHarness) -> None:
    add_teachers(harness)
    whole = report_of(harness.run(soft({"method": "kd"}), "whole"))
    kept = report_of(harness.run(soft({"method": "kd"}, store={"top_k": 2, "precision": "float16"}), "kept"))
    assert whole.targets[0].bytes == 240 * 3 * 4
    assert kept.targets[0].bytes == 240 * 2 * (2 + 4)
    assert kept.targets[0].store == "miss", "another packing is another entry"
    agreement = kept.fidelity["label"].agreement
    assert agreement is not None
    assert agreement > 0.7
    assert harness.digest("kept") != harness.digest("whole")


def test_half_precision_halves_the_room_and_changes_little(harness: EngineHarness) -> None:
    add_teachers(harness)
    harness.run(soft({"method": "kd"}, control=False), "whole")
    report = report_of(harness.run(soft({"method": "kd"}, control=False, store={"precision": "float16"}), "half"))
    assert report.targets[0].bytes == 240 * 3 * 2
    whole, half = harness.weights("whole"), harness.weights("half")
    for name, value in half.items():
        torch.testing.assert_close(value, whole[name], rtol=0.05, atol=0.02)
    again = report_of(harness.run(soft({"method": "kd"}, store={"precision": "float16"}), "again"))
    assert (again.targets[0].store, again.targets[0].passes) == ("hit", 0)


def test_what_is_kept_of_energies_are_scores(harness: EngineHarness) -> None:
    """Energies are largest where a class is least likely: kept by their size they would teach the opposite."""
    add_teachers(harness)
    network = harness.models[TEACHER].manifest
    assert network.architecture is not None
    tensors = harness.weights("teacher0")
    for name in ("layers.2.weight", "layers.2.bias"):
        tensors[name] = -tensors[name]
    manifest: Json = {
        "architecture": network.architecture.model_dump(mode="json"),
        "outputs": {"label": {"kind": "class", "output": "energies"}},
    }
    harness.run(soft({"method": "kd"}, store={"top_k": 2}), "logits")
    harness.uploaded(tensors, manifest)
    harness.run(soft({"method": "kd"}, store={"top_k": 2}), "energies")
    energies, logits = harness.weights("energies"), harness.weights("logits")
    assert all(torch.equal(energies[name], value) for name, value in logits.items())


def test_terms_that_need_every_score_are_refused_with_the_largest_only(harness: EngineHarness) -> None:
    add_teachers(harness)
    for term in ({"method": "logit_mse"}, {"method": "kd", "standardize": True}):
        with pytest.raises(AssertionError, match="needs_all_scores"):
            harness.order(soft({**term, "weight": 0.5}, training=TRAINING, store={"top_k": 2}))
