"""Images channels-last: chosen for convnets and resnets, frozen with the job, the same function to rounding."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from app.contracts.specs.architectures import Architecture
from app.contracts.specs.jobs import TrainJob
from app.contracts.specs.training import TrainingSpec
from app.contracts.wire.orders import Order
from tests.engine.harness import TEACHER, EngineHarness, report_of
from workers.engine.common.memory_format import in_channels_last, networks_in
from workers.engine.common.stop import NeverStop
from workers.engine.models import Network, build
from workers.engine.run import execute
from workers.engine.training.vectorised.stacked import MappedNetworks

ARCHITECTURE: TypeAdapter[Architecture] = TypeAdapter(Architecture)
FAMILIES: dict[str, dict[str, Any]] = {
    "convnet": {"family": "convnet", "channels": [4, 8], "pooling": "flatten"},
    "resnet": {"family": "resnet", "depth": 8},
}
SHAPES = {"one channel": (1, 8, 8), "three channels": (3, 8, 8)}


def architecture(family: str, shape: tuple[int, ...], **more: Any) -> Architecture:
    spec = {**FAMILIES[family], "input_shape": list(shape), "outputs": {"label": 3}, **more}
    return ARCHITECTURE.validate_json(json.dumps(spec))


def pair(family: str, shape: tuple[int, ...], **more: Any) -> tuple[Network, Network]:
    """The same network in both orders."""
    with networks_in("channels_last"):
        ours = build(architecture(family, shape, **more))
    plain = build(architecture(family, shape, **more))
    ours.load_state_dict(plain.state_dict())
    return ours, plain


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_computes_the_same_function_in_both_orders(family: str, shape: tuple[int, ...]) -> None:
    ours, plain = pair(family, shape)
    x = torch.randn(16, *shape)
    orders: list[bool] = []
    ours.get_submodule("stages.0").register_forward_hook(
        lambda module, given, h: orders.append(h.is_contiguous(memory_format=torch.channels_last))
    )
    one, other = ours(x)["label"], plain(x)["label"]
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    torch.autograd.backward([one.square().sum(), other.square().sum()])
    for mine, theirs in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=1e-4)
    assert orders == [True], "its maps are in the order of its rows"


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_rows_keep_their_numbers(shape: tuple[int, ...]) -> None:
    x = torch.randn(5, *shape)
    turned = in_channels_last(x)
    assert torch.equal(turned, x)
    assert turned.stride()[1] == 1


def test_networks_are_contiguous_outside_the_block_and_where_they_have_no_images() -> None:
    with networks_in("channels_last"):
        assert build(architecture("convnet", (2, 8, 8))).channels_last
        assert not build(architecture("convnet", (2, 16))).channels_last, "a series"
        mlp = {"family": "mlp", "hidden": [4], "input_shape": [6], "outputs": {"label": 3}}
        assert not build(ARCHITECTURE.validate_json(json.dumps(mlp))).channels_last
        with networks_in(None):
            assert not build(architecture("convnet", (2, 8, 8))).channels_last
    assert not build(architecture("convnet", (2, 8, 8))).channels_last


def test_networks_that_are_mapped_over_seeds_are_contiguous() -> None:
    """`vmap` knows no memory formats."""
    ours, plain = pair("convnet", (2, 8, 8), normalization="none")
    mapped = MappedNetworks([ours, plain], torch.device("cpu"))
    x = torch.randn(4, 2, 8, 8)
    torch.testing.assert_close(mapped(x, own=False)[0], plain(x)["label"], rtol=1e-4, atol=1e-5)


IMAGES: dict[str, Any] = {
    "inputs": {"x": {"kind": "array"}},
    "targets": {"label": {"kind": "class", "classes": 3}},
}


def images(rows: int = 120) -> dict[str, Any]:
    random = np.random.default_rng(0)
    label = random.integers(0, 3, rows)
    x = random.normal(size=(rows, 1, 8, 8)).astype(np.float32) + label[:, None, None, None].astype(np.float32)
    return {"x": x, "label": label}


def spec(**training: Any) -> dict[str, Any]:
    return {
        "kind": "train",
        "target": "label",
        "model": {"family": "convnet", "channels": [4, 8]},
        "training": {"epochs": 2, "batch_size": 32, **training},
    }


def training_of(order: Order) -> TrainingSpec:
    assert isinstance(order.spec, TrainJob)
    return order.spec.training


def test_it_is_chosen_for_images_and_frozen_with_the_job(harness: EngineHarness) -> None:
    harness.dataset(images(), **IMAGES)
    chosen = harness.order(spec())
    assert training_of(chosen).memory_format == "channels_last"
    assert "/training/memory_format" in chosen.chosen
    named = harness.order(spec(memory_format="contiguous"))
    assert training_of(named).memory_format == "contiguous"
    mlp = harness.order({**spec(), "model": {"family": "mlp", "hidden": [4]}})
    assert training_of(mlp).memory_format is None
    assert "memory_format" not in training_of(mlp).model_dump(), "old documents keep their digests"


def test_a_job_without_it_trains_as_before_there_was_it(harness: EngineHarness) -> None:
    """Resolved specs of earlier versions have no `memory_format`."""
    harness.dataset(images(), **IMAGES)
    harness.run(spec(memory_format="contiguous"), "contiguous")
    order = harness.order(spec(), "old")
    assert isinstance(order.spec, TrainJob)
    training = order.spec.training.model_copy(update={"memory_format": None})
    old = order.model_copy(update={"spec": order.spec.model_copy(update={"training": training})})
    execute(old, lambda event: None, NeverStop())
    harness.run(spec(), "chosen")
    assert harness.digest("old") == harness.digest("contiguous")
    assert harness.digest("chosen") != harness.digest("contiguous")
    for name, value in harness.weights("chosen").items():
        torch.testing.assert_close(value, harness.weights("contiguous")[name], rtol=0.05, atol=0.05)


def test_the_outputs_of_a_teacher_are_stored_by_order(harness: EngineHarness) -> None:
    """The last bits of soft targets differ, so that a job of the other order must not find them."""
    harness.dataset(images(), **IMAGES)
    harness.teacher(harness.run(spec(), "teacher"), harness.folder / "teacher" / "attempt-1")
    distil = {**spec(), "kind": "distill", "teachers": [{"model": TEACHER}], "control": False}
    distil["student"] = distil.pop("model")
    distil["distillation"] = {"allow_chance_teacher": True}
    stores = []
    for job, more in {"a": {}, "b": {}, "c": {"memory_format": "contiguous"}}.items():
        found = harness.run({**distil, "training": {**distil["training"], **more}}, job)
        stores.append(report_of(found).targets[0].store)
    assert stores == ["miss", "hit", "miss"]
