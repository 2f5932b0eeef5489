"""How a convnet pools where its spec leaves it out: chosen for what a job trains, average for weights that exist."""

import json
from typing import Any

import pytest

from app.contracts.layouts.summary import parameter_count
from app.contracts.resolving.resolve import Resolution
from app.contracts.resources.facts import DatasetFacts, InputFacts, ModelFacts, TargetFacts
from app.contracts.resources.manifests import ModelManifest
from app.contracts.specs.architectures import Convnet, architecture_of
from app.contracts.specs.jobs import DistillJob, TrainJob
from tests.contracts.resolving.test_resolve import DISTILL, TEACHER, TRAIN, resolved, teacher

CONVNET: dict[str, Any] = {"family": "convnet", "channels": [8, 16]}


def images(side: int, classes: int = 10) -> DatasetFacts:
    splits: dict[Any, int] = {"train": 1000, "validation": 10, "test": 10}
    target = TargetFacts(kind="class", size=classes, labelled=splits)
    inputs = {"x": InputFacts(shape=(1, side, side))}
    return DatasetFacts(rows=1020, splits=splits, inputs=inputs, targets={"digit": target})


def pooling(resolution: Resolution, pointer: str) -> Any:
    """The pooling of a job's network, which is chosen at the pointer."""
    assert not resolution.problems
    assert isinstance(resolution.spec, TrainJob | DistillJob)
    network = resolution.spec.network
    assert isinstance(network, Convnet)
    assert resolution.chosen[pointer].value == network.pooling
    return network.pooling


@pytest.mark.parametrize(
    ("side", "channels", "expected"),
    [(8, [4], "flatten"), (28, [8, 16], "flatten"), (28, [32, 64], "flatten"), (224, [8, 16], "average")],
)
def test_feature_maps_are_flattened_unless_that_multiplies_the_parameters(
    side: int, channels: list[int], expected: str
) -> None:
    spec = {**TRAIN, "model": {**CONVNET, "channels": channels}}
    assert pooling(resolved(spec, images(side)), "/model/pooling") == expected


def test_the_parameters_of_a_dry_run_are_those_of_the_chosen_pooling() -> None:
    found = resolved({**TRAIN, "model": CONVNET}, images(28))
    assert isinstance(found.spec, TrainJob)
    assert parameter_count(architecture_of(found.spec.model)) == 8 * 9 + 16 * 8 * 9 + 2 * (8 + 16) + (16 * 49 + 1) * 10


@pytest.mark.parametrize("given", ["average", "flatten"])
def test_a_pooling_that_is_given_is_kept(given: str) -> None:
    found = resolved({**TRAIN, "model": {**CONVNET, "pooling": given}}, images(224))
    assert isinstance(found.spec, TrainJob)
    assert isinstance(found.spec.model, Convnet)
    assert found.spec.model.pooling == given
    assert "/model/pooling" not in found.chosen


def test_students_and_peers_are_chosen_for_too() -> None:
    found = resolved({**DISTILL, "student": CONVNET, "mutual": {"peers": [CONVNET]}}, images(8))
    assert pooling(found, "/student/pooling") == "flatten"
    assert found.chosen["/mutual/peers/0/pooling"].value == "flatten"


def convnet_teacher(**fields: Any) -> ModelFacts:
    network = Convnet(family="convnet", channels=(8, 16), input_shape=(1, 8, 8), outputs={"digit": 10}, **fields)
    return teacher(shape=(1, 8, 8)).model_copy(update={"architecture": network})


@pytest.mark.parametrize("of_teacher", ["average", "flatten"])
def test_a_student_that_starts_from_a_convnet_pools_as_it_does(of_teacher: str) -> None:
    student = {**CONVNET, "init": {"from": 0}}
    found = resolved({**DISTILL, "student": student}, images(8), {TEACHER: convnet_teacher(pooling=of_teacher)})
    assert pooling(found, "/student/pooling") == of_teacher


def test_the_manifest_of_an_uploaded_convnet_without_pooling_still_means_the_average() -> None:
    manifest = {
        "name": "old",
        "format": "safetensors",
        "architecture": {**CONVNET, "input_shape": [1, 28, 28], "outputs": {"digit": 10}},
        "outputs": {"digit": {"kind": "class"}},
    }
    network = ModelManifest.model_validate_json(json.dumps(manifest)).architecture
    assert isinstance(network, Convnet)
    assert network.pooling == "average"
    assert parameter_count(network) == parameter_count(network.model_copy(update={"pooling": None}))
