"""Soft targets kept in half precision, or the largest of many classes only."""

from typing import Any

import pytest
import torch

from tests.engine.harness import TEACHER, EngineHarness, blobs, made_once, report_of
from tests.engine.jobs.distillation.method_specs import LOGITS, TEACHER_SPEC, TRAINING, add_teachers, soft

Json = dict[str, Any]
CLASSES = 40
KEPT: Json = {"top_k": 4, "draws": 2}


@made_once
def many_classes(harness: EngineHarness) -> None:
    """Rows of 40 classes, and a teacher of them."""
    harness.dataset(blobs(400, CLASSES), targets={"label": {"kind": "class", "classes": CLASSES}})
    harness.teacher(harness.run(TEACHER_SPEC, "teacher0"), harness.folder / "teacher0" / "attempt-1")


def test_every_class_is_kept_where_that_takes_no_more_room(harness: EngineHarness) -> None:
    add_teachers(harness)
    harness.run(soft({"method": "kd"}), "whole")
    for k in (2, 3):
        report = report_of(harness.run(soft({"method": "kd"}, store={"top_k": k}), f"{k} of three"))
        assert harness.digest(f"{k} of three") == harness.digest("whole")
        assert report.targets[0].bytes == 240 * 3 * 4


def test_the_largest_of_many_classes_take_less_room_and_teach_nearly_as_much(harness: EngineHarness) -> None:
    many_classes(harness)
    whole = report_of(harness.run(soft({"method": "kd"}), "whole"))
    half = KEPT | {"precision": "float16"}
    kept = report_of(harness.run(soft({"method": "kd"}, store=half), "kept"))
    assert whole.targets[0].bytes == 400 * CLASSES * 4
    assert kept.targets[0].bytes == 400 * ((4 + 2 + 9) * 2 + (4 + 2) * 4)
    assert kept.targets[0].store == "miss", "another packing is another entry"
    of_kept, of_whole = kept.teachers[0].tasks["label"], whole.teachers[0].tasks["label"]
    assert of_kept["accuracy"] == of_whole["accuracy"]
    assert of_kept["nll"] == pytest.approx(of_whole["nll"], rel=0.2), "labels that are not stored have an even share"
    taught, students = kept.student.tasks["label"], whole.student.tasks["label"]
    assert taught["nll"] == pytest.approx(students["nll"], rel=0.1)
    assert harness.digest("kept") != harness.digest("whole")


def test_entries_of_another_packing_are_not_read(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither those of an earlier format, nor of other numbers of scores or draws."""
    many_classes(harness)
    with monkeypatch.context() as earlier:
        earlier.setattr("workers.engine.data.top_k.packing.FORMAT", 1)
        harness.run(soft({"method": "kd"}, control=False, store=KEPT), "earlier")
    uses = [
        report_of(harness.run(soft({"method": "kd"}, control=False, store=store), f"job{i}")).targets[0].store
        for i, store in enumerate([KEPT, KEPT, KEPT | {"draws": 3}, KEPT | {"top_k": 5}])
    ]
    assert uses == ["miss", "hit", "miss", "miss"]


def test_drawn_classes_are_the_same_bits_whether_computed_found_evicted_or_kept_with_the_job(
    harness: EngineHarness,
) -> None:
    many_classes(harness)
    room = 400 * ((4 + 2 + 9) * 4 + (4 + 2) * 4)
    uses = {}
    for job, bound in {"computed": room, "found": room, "other": room, "evicted": room, "kept": 0}.items():
        store = {"precision": "float16"} if job == "other" else KEPT
        report = report_of(harness.run(soft({"method": "kd"}, control=False, store=store), job, cache_bytes=bound))
        uses[job] = report.targets[0].store
    assert uses == {"computed": "miss", "found": "hit", "other": "miss", "evicted": "miss", "kept": "miss"}
    digests = {job: harness.digest(job) for job in uses}
    assert digests.pop("other") != digests["computed"]
    assert len(set(digests.values())) == 1


@pytest.mark.parametrize("name", sorted(name for name in LOGITS if "standardised" not in name and name != "logit_mse"))
def test_every_other_method_trains_on_the_largest_and_an_even_rest(harness: EngineHarness, name: str) -> None:
    many_classes(harness)
    outcome = harness.run(soft(LOGITS[name], control=False, store=KEPT))
    method = LOGITS[name]["method"]
    losses = [value for value in harness.log.series(f"train/label/{method}") if value is not None]
    assert losses
    assert max(losses) < 100.0, "a class that is not stored has no infinite logit"
    assert report_of(outcome).targets[0].bytes < 400 * CLASSES * 4


def test_candidates_of_a_search_learn_from_drawn_classes_as_one_step_and_score_as_alone(harness: EngineHarness) -> None:
    """Their temperatures are one tensor. One by one: micro-batches cannot be stacked."""
    many_classes(harness)
    spec = soft({"method": "kd", "temperature": {"search": [1, 3]}}, control=False, store=KEPT)
    together = report_of(harness.run(spec, "together"))
    alone = report_of(harness.run(spec | {"training": spec["training"] | {"micro_batch_size": 16}}, "alone"))
    assert (harness.folder / "together" / "checkpoints" / "finished" / "search.json").exists()
    assert together.search is not None
    assert alone.search is not None
    for one, other in zip(together.search.trials, alone.search.trials, strict=True):
        assert one.score == pytest.approx(other.score, abs=0.03), "one or two validation rows at most"


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
    """Energies are largest where a class is least likely: kept by their size they would teach the opposite.

    The teacher's figures are those of its scores too, on corrupted rows as well.
    """
    many_classes(harness)
    network = harness.models[TEACHER].manifest
    assert network.architecture is not None
    tensors = harness.weights("teacher0")
    for name in ("layers.2.weight", "layers.2.bias"):
        tensors[name] = -tensors[name]
    manifest: Json = {
        "architecture": network.architecture.model_dump(mode="json"),
        "outputs": {"label": {"kind": "class", "output": "energies"}},
    }
    spec = soft({"method": "kd"}, store=KEPT)
    of_logits = report_of(harness.run(spec, "logits"))
    harness.uploaded(tensors, manifest)
    of_energies = report_of(harness.run(spec, "energies"))
    energies, logits = harness.weights("energies"), harness.weights("logits")
    assert all(torch.equal(energies[name], value) for name, value in logits.items())
    assert of_energies.teachers[0].tasks == of_logits.teachers[0].tasks
    assert of_energies.robustness == of_logits.robustness


def test_terms_that_need_every_score_are_refused_with_the_largest_only(harness: EngineHarness) -> None:
    add_teachers(harness)
    for term in ({"method": "logit_mse"}, {"method": "kd", "standardize": True}):
        with pytest.raises(AssertionError, match="needs_all_scores"):
            harness.order(soft({**term, "weight": 0.5}, training=TRAINING, store={"top_k": 2}))
