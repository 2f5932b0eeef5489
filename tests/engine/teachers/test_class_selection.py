"""A teacher of more classes, or in another order, teaches as one that has the dataset's classes alone."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from app.contracts.resources.manifests import ClassOutput, MapOutput, OutputSpec, TokenClassOutput
from app.contracts.specs.jobs import TeacherRef
from tests.engine.harness import SECOND, TEACHER, EngineHarness, blobs, report_of
from tests.engine.jobs.distillation.method_specs import TRAINING
from workers.engine.losses.softmax import log_probabilities
from workers.engine.teachers.class_selection import ClassSelection

COLUMNS = [4, 0, 2]
MANIFEST: dict[str, Any] = {"inputs": {"x": {}}}


def numbers(logits: Tensor, output: str) -> Tensor:
    return {
        "logits": logits,
        "energies": -logits,
        "log_probabilities": logits.log_softmax(1),
        "probabilities": logits.softmax(1),
    }[output]


@pytest.mark.parametrize("output", ["logits", "energies", "probabilities", "log_probabilities"])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_selected_classes_are_renormalised(output: Any, temperature: float) -> None:
    logits = torch.randn(8, 6, generator=torch.manual_seed(0), dtype=torch.float64)
    spec = ClassOutput(kind="class", output=output, classes=tuple("abcdef"))
    selection = ClassSelection.of(TeacherRef(columns="t", classes=tuple(COLUMNS)), spec)
    assert selection is not None
    selected = selection.select(numbers(logits, output))
    assert torch.allclose(
        log_probabilities(selected, selection.selected_spec, temperature),
        (logits[:, COLUMNS] / temperature).log_softmax(1),
    )
    if output == "probabilities":
        assert torch.allclose(selected.sum(1), torch.ones(8, dtype=torch.float64))
    assert selection.selected_spec.classes == ("e", "a", "c")


@pytest.mark.parametrize(
    "spec", [TokenClassOutput(kind="token_class", classes=tuple("abcdef")), MapOutput(kind="map", shape=(2, 2))]
)
def test_classes_of_tokens_and_pixels_are_selected_at_each_position(spec: OutputSpec) -> None:
    scores = torch.randn(3, 4, 6, generator=torch.manual_seed(0))
    selection = ClassSelection.of(TeacherRef(columns="t", classes=tuple(COLUMNS)), spec)
    assert selection is not None
    assert torch.equal(selection.select(scores), scores[:, :, COLUMNS])
    assert selection.selected_spec.classes == (("e", "a", "c") if spec.kind == "token_class" else None)


def test_rows_without_outputs_stay_without() -> None:
    spec = ClassOutput(kind="class", output="probabilities")
    selection = ClassSelection.of(TeacherRef(columns="t", classes=(1, 0)), spec)
    assert selection is not None
    assert bool(selection.select(torch.full((2, 3), torch.nan)).isnan().all())


def teachers_of_six_and_of_three(harness: EngineHarness) -> None:
    """A teacher of six classes, of which three are the dataset's, and one with these alone; as models and columns."""
    arrays = blobs()
    random = np.random.default_rng(0)
    centres = np.stack([arrays["x"][arrays["label"] == c].mean(0) for c in range(3)])
    weight = random.normal(size=(6, 6)).astype(np.float32) * 0.1
    weight[COLUMNS] = centres - centres.mean(0)
    outputs = arrays["x"] @ weight.T
    arrays |= {"all": outputs, "own": outputs[:, COLUMNS]}
    teacher = {"kind": "teacher", "predicts": {"kind": "class", "output": "logits"}}
    targets = {"label": {"kind": "class", "classes": 3}, "all": teacher, "own": teacher}
    harness.dataset(arrays, targets=targets)
    for model, rows in ((TEACHER, range(6)), (SECOND, COLUMNS)):
        tensors = {"layers.0.weight": torch.from_numpy(weight[list(rows)]), "layers.0.bias": torch.zeros(len(rows))}
        architecture = {"family": "mlp", "input_shape": [6], "hidden": [], "outputs": {"label": len(rows)}}
        manifest = {"architecture": architecture, "outputs": {"label": {"kind": "class"}}, **MANIFEST}
        harness.uploaded(tensors, manifest, model)


def job(ref: dict[str, Any], terms: Any, **training: Any) -> dict[str, Any]:
    return {
        "kind": "distill",
        "target": "label",
        "teachers": [ref],
        "student": {"family": "mlp", "hidden": [8]},
        "distillation": {"soft_targets": terms, "supervised": {"weight": 0.1}},
        "training": {**TRAINING, "epochs": 2, **training},
        "control": False,
    }


NOISE = {"transforms": [{"kind": "noise", "std": 0.1}]}


@pytest.mark.parametrize("terms", [{"method": "kd"}, [{"method": "dkd"}, {"method": "dist"}, {"method": "logit_mse"}]])
@pytest.mark.parametrize(
    ("more", "alone", "training"),
    [
        ({"model": TEACHER, "classes": COLUMNS}, {"model": SECOND}, {}),
        ({"model": TEACHER, "classes": COLUMNS}, {"model": SECOND}, {"views": NOISE}),
        ({"columns": "all", "classes": COLUMNS}, {"columns": "own"}, {}),
    ],
    ids=["model", "augmented", "columns"],
)
def test_it_teaches_as_a_teacher_of_these_classes_alone(
    harness: EngineHarness, terms: Any, more: dict[str, Any], alone: dict[str, Any], training: dict[str, Any]
) -> None:
    teachers_of_six_and_of_three(harness)
    found = report_of(harness.run(job(more, terms, **training), "more"))
    wanted = report_of(harness.run(job(alone, terms, **training), "alone"))
    for name, values in harness.weights("alone").items():
        assert torch.allclose(harness.weights("more")[name], values, atol=1e-5)
    assert found.teachers[0].tasks["label"] == pytest.approx(wanted.teachers[0].tasks["label"], abs=1e-5)
    assert found.fidelity["label"].agreement == wanted.fidelity["label"].agreement
    by_party = [[entry.parties for entry in each.robustness["label"]] for each in (found, wanted)]
    assert by_party[0] == by_party[1]
    teacher = found.teachers[0].tasks["label"]["accuracy"]
    assert teacher is not None
    assert teacher > 0.8


def test_the_store_has_all_classes_and_serves_both_jobs(harness: EngineHarness) -> None:
    teachers_of_six_and_of_three(harness)
    for job_name, columns, store in (("first", COLUMNS, "miss"), ("second", [0, 4, 2], "hit")):
        spec = job({"model": TEACHER, "classes": columns}, {"method": "kd"})
        spec["distillation"]["allow_chance_teacher"] = True
        report = report_of(harness.run(spec, job_name))
        assert report.targets[0].store == store


def test_a_mapping_to_the_wrong_classes_is_found_before_training(harness: EngineHarness) -> None:
    teachers_of_six_and_of_three(harness)
    harness.run(job({"model": TEACHER, "classes": [0, 4, 2]}, {"method": "kd"}))
    assert "class_order_suspected" in harness.log.warnings
