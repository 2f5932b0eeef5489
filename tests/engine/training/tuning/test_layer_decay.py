"""Learning rates by layer: their factors, and what they do in jobs."""

from typing import Any

import pytest
import torch

from tests.engine.harness import EngineHarness, StopAtStep
from tests.engine.models.library.networks import architecture, with_images
from tests.engine.models.sharing.networks import made, shared
from tests.engine.plain_training import plain_settings
from tests.engine.training.tuning.images import (
    CONVNET,
    MLP,
    RESNET,
    TIMM,
    TOKENS,
    TORCHVISION,
    VIT,
    Json,
    distill,
    train,
    uploaded,
    with_tokens,
)
from tests.exhaustive import sample
from workers.engine.common.stop import Stopped
from workers.engine.models import Network, build
from workers.engine.models.families.layer_rates import layer_factors
from workers.engine.training.updates.optimizers import make_optimizer, set_learning_rate

DECAY = 0.5


@pytest.fixture
def images(harness: EngineHarness) -> EngineHarness:
    return with_images(harness)


def depths(network: Network) -> dict[str, int]:
    """How many times the decay is in the factor of each parameter."""
    factors = layer_factors(network, DECAY)
    return {name: round(-torch.tensor(factors[value]).log2().item()) for name, value in network.named_parameters()}


def test_depths_of_a_vision_transformer_are_those_of_beit() -> None:
    """Positions, class token and patches are layer 0, block i is layer i + 1, and heads have no decay."""
    found = depths(build(architecture("test_vit")))
    assert {found[name] for name in found if name.startswith("layers.")} == {0}
    blocks = {int(name.split(".")[2]): depth for name, depth in found.items() if name.startswith("trunk.blocks.")}
    assert blocks == {i: 6 - i for i in range(6)}
    stem = [name for name in found if name.startswith(("trunk.patch_embed", "trunk.cls_token", "trunk.pos_embed"))]
    assert len(stem) == 4
    assert {found[name] for name in stem} == {7}


@pytest.mark.parametrize(
    ("family", "stem", "last", "deepest"),
    [
        ("resnet", "stem.conv.weight", "stages.2.0.conv2.weight", 4),
        ("transformer", "positions.weight", "blocks.1.down.weight", 3),
        ("mlp", "layers.0.weight", "layers.1.bias", 2),
        ("convnet", "stages.0.0.conv.weight", "layers.0.weight", 5),
    ],
)
def test_depths_of_our_families_count_their_blocks(family: str, stem: str, last: str, deepest: int) -> None:
    network = made(shared(family, "hard", {"a": 1, "b": 2}))
    found = depths(network)
    heads = {name for output in ("a", "b") for name in found if name.startswith(f"heads.{output}.")}
    assert heads
    assert {found[name] for name in heads} == {0}
    assert (found[stem], found[last]) == (deepest, 1), found
    assert {name for name, depth in found.items() if depth == 0} == heads


@pytest.mark.parametrize(
    "name", ["test_efficientnet", "test_convnext", "resnet18", "shufflenet_v2_x0_5", "densenet121"]
)
def test_deeper_layers_of_a_librarys_network_never_have_a_larger_rate(name: str) -> None:
    network = build(architecture(name))
    found = [depth for name, depth in depths(network).items() if name.startswith("trunk.")]
    assert found[-1] == 1
    assert found[0] == max(found)
    assert set(found) == set(range(1, max(found) + 1)), "no step is left out"
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_first_step_of_sgd_is_the_factor_times_that_without(momentum: float, images: EngineHarness) -> None:
    one = {"optimizer": "sgd", "momentum": momentum, "steps": 1, "learning_rate": 0.5, "weight_decay": 0.1}
    for name, fields in (("still", {"learning_rate": 1e-30}), ("plain", {}), ("decayed", {"layer_decay": DECAY})):
        images.run(train(RESNET, **{**one, **fields}), name)
    still, plain, decayed = (images.weights(name) for name in ("still", "plain", "decayed"))
    head = max(name for name in plain if name.startswith("layers.") and name.endswith("weight"))
    for name, depth in ((head, 0), ("stages.2.0.conv2.weight", 1), ("stem.conv.weight", 4)):
        moved, less = plain[name] - still[name], decayed[name] - still[name]
        torch.testing.assert_close(less, moved * DECAY**depth, atol=1e-6, rtol=1e-4)
        assert bool(moved.abs().max() > 1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_decay_of_1_is_none(optimizer: str, images: EngineHarness) -> None:
    images.run(train(TIMM, optimizer=optimizer, layer_decay=1.0), "one")
    images.run(train(TIMM, optimizer=optimizer), "none")
    assert images.digest("one") == images.digest("none")


NETWORKS = [TORCHVISION, VIT, RESNET, CONVNET, TOKENS, MLP]
CONTINUED = [(model, optimizer) for model in NETWORKS for optimizer in ("sgd", "adam", "adamw")]


@pytest.mark.parametrize(("model", "optimizer"), sample(CONTINUED, [(VIT, "sgd"), (RESNET, "adamw"), (MLP, "adam")]))
def test_a_job_continues_with_layer_rates_as_if_it_had_not_stopped(
    model: Json, optimizer: str, harness: EngineHarness
) -> None:
    (with_tokens if model is TOKENS else with_images)(harness)
    schedule = {"kind": "plateau", "patience": 0}
    fields: Json = {"optimizer": optimizer, "layer_decay": 0.7, "schedule": schedule, "epochs": 2, "warmup": 2}
    spec = train(model, **fields)
    del spec["training"]["steps"]
    harness.run(spec, "whole")
    with pytest.raises(Stopped):
        harness.run(spec, "parted", stop=StopAtStep(7), checkpoint_seconds=0.0)
    harness.run(spec, "parted", attempt=2)
    assert harness.digest("whole") == harness.digest("parted", attempt=2)


def test_searched_rates_have_the_factors_too(images: EngineHarness) -> None:
    uploaded(images, "test_efficientnet")
    search = {"search": [0.001, 0.01]}
    images.run(distill(RESNET, control=True, layer_decay=0.01, learning_rate=search), "decayed")
    images.run(distill(RESNET, control=True, learning_rate=search), "plain")
    for role in ("student", "control"):
        assert images.digest("decayed", role=role) != images.digest("plain", role=role)


def test_freezing_changes_no_factor() -> None:
    free, still = build(architecture("test_vit")), build(architecture("test_vit"))
    still.requires_grad_(False)
    assert depths(free) == depths(still)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_each_parameter_is_in_one_group_with_its_rate(weight_decay: float) -> None:
    network = build(architecture("test_resnet"))
    factors = layer_factors(network, DECAY)
    optimizer = make_optimizer(plain_settings(weight_decay=weight_decay), network.parameters(), factors)
    set_learning_rate(optimizer, 0.25)
    rates: dict[Any, float] = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates == {parameter: 0.25 * factors[parameter] for parameter in network.parameters()}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(rates)
