"""Gradient checkpointing: the same student for less memory."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from app.contracts.problems import UserError
from tests.engine.harness import EngineHarness, StopAtStep, report_of
from tests.engine.jobs.preflight.test_preflight import preflight
from tests.engine.models.library.networks import OTHERS, SMALL, architecture, with_images
from tests.engine.models.sharing.networks import ALL, made, rows_for, shared
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
from tests.engine.training.tuning.test_frozen_layers import problems
from tests.exhaustive import sample
from workers.engine.common.memory import SavedTensors
from workers.engine.common.stop import Stopped
from workers.engine.models import Network, build, initialise
from workers.engine.models.families.recomputation import Recomputation
from workers.engine.models.taps import Taps
from workers.engine.training.passes.precision import has_bfloat16

BFLOAT16: Json = {"precision": "bfloat16"}
ON: Json = {"gradient_checkpointing": True}
Step = tuple[dict[str, Tensor], dict[str, Tensor], int]


@pytest.fixture
def images(harness: EngineHarness) -> EngineHarness:
    return with_images(harness)


def step_of(network: Network, rows: Tensor) -> Step:
    """(gradients, buffers, bytes that autograd saved) of a step in training mode."""
    torch.manual_seed(3)
    network.train().zero_grad(set_to_none=True)
    saved = SavedTensors(network.parameters())
    with saved.hooks():
        loss: Any = torch.stack([each.square().sum() for each in network(rows).values()]).sum()
        loss.backward()
    gradients = {name: value.grad for name, value in network.named_parameters() if value.grad is not None}
    return gradients, {name: value.clone() for name, value in network.named_buffers()}, saved.peak


def assert_same(network: Network, again: Network, rows: Tensor) -> tuple[int, int]:
    """The bytes saved without and with recomputation, whose gradients and statistics have the same bits."""
    plain = step_of(network, rows)
    recomputation = Recomputation(again)
    less = step_of(again, rows)
    recomputation.remove()
    for one, other in zip(plain[:2], less[:2], strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    return plain[2], less[2]


LIBRARY = [name for name in {**SMALL, **OTHERS} if name != "regnet_y_400mf"]


@pytest.mark.parametrize("name", sample(LIBRARY, ["test_vit", "mobilenetv3_small_050", "densenet121"]))
def test_a_librarys_network_has_the_same_gradients_and_statistics_for_less_memory(name: str) -> None:
    """With dropout and paths that are left out; a dense block's list of inputs grows after each layer's call."""
    described = architecture(name)
    network, again = build(described), build(described)
    initialise(network, 0)
    again.load_state_dict(network.state_dict())
    before, after = assert_same(network, again, rows_for(network, 3))
    assert after < 0.75 * before


@pytest.mark.parametrize(("family", "scheme"), [each for each in ALL if each[0] != "mlp"])
def test_our_families_have_the_same_gradients_and_statistics(family: str, scheme: str) -> None:
    described = shared(family, scheme)
    network, again = made(described), made(described)
    before, after = assert_same(network, again, rows_for(network, 16))
    # Of a convolution and an activation nothing is saved but the input and the output, which the next block keeps.
    assert after < before or (after == before and family == "flat")


@pytest.mark.parametrize("model", sample([TORCHVISION, VIT, TIMM, RESNET, CONVNET, TOKENS], [TIMM, CONVNET, TOKENS]))
def test_student_and_control_have_the_same_bits(model: Json, harness: EngineHarness) -> None:
    if model is TOKENS:
        with_tokens(harness)
        for name, fields in (("plain", {}), ("less", ON)):
            harness.run(train(model, **fields), name)
        assert harness.digest("plain") == harness.digest("less")
        return
    with_images(harness)
    uploaded(harness, "test_efficientnet")
    for name, fields in (("plain", {}), ("less", ON)):
        harness.run(distill(model, control=True, **fields), name)
    for role in ("student", "control"):
        assert harness.digest("plain", role=role) == harness.digest("less", role=role)


def test_batch_norm_counts_each_batch_once(images: EngineHarness) -> None:
    images.run(train(TIMM, **ON))
    counters = [value for name, value in images.weights().items() if name.endswith("num_batches_tracked")]
    assert counters
    assert all(int(value) == 4 for value in counters)


def test_terms_on_layers_inside_blocks_still_work(images: EngineHarness) -> None:
    uploaded(images, "test_efficientnet")
    inside = [
        {"method": "fitnets", "teacher_layer": "trunk.blocks.1", "student_layer": "stages.1.0.conv1"},
        {"method": "similarity", "teacher_layer": "trunk.blocks.2", "student_layer": "stages.2.0"},
    ]
    for name, fields in (("plain", {}), ("less", ON)):
        images.run(distill(RESNET, {"features": inside}, **fields), name)
    assert images.digest("plain") == images.digest("less")


def test_taps_keep_nothing_of_the_backward_pass() -> None:
    network = made(shared("resnet", "hard", {"y": 2}))
    Recomputation(network)
    taps = Taps(network.train(), ["stages.1.0.conv1"])
    outputs = network(rows_for(network))["y"]
    kept = taps.take()
    (outputs.sum() + kept["stages.1.0.conv1"].square().sum()).backward()
    assert taps.take() == {}


@pytest.mark.parametrize(
    "distillation",
    [
        {"features": [{"method": "rkd", "teacher_layer": "penultimate", "student_layer": "penultimate"}]},
        {"soft_targets": [{"method": "kd"}]},
    ],
)
def test_micro_batches_and_a_second_pass_have_the_same_bits(distillation: Json, images: EngineHarness) -> None:
    uploaded(images, "test_efficientnet")
    for name, fields in (("plain", {}), ("less", ON)):
        images.run(distill(RESNET, distillation, micro_batch_size=8, **fields), name)
    assert images.digest("plain") == images.digest("less")


@pytest.mark.parametrize("balancing", ["fixed", "pcgrad", "mgda", "gradnorm", "uncertainty"])
def test_several_tasks_have_the_same_bits_under_each_kind_of_balancing(balancing: str, images: EngineHarness) -> None:
    """Gradient balancers go backward once a task; the measurement of affinity does so again."""
    for name, fields in (("plain", {}), ("less", ON)):
        spec = {
            "kind": "multitask",
            "tasks": [{"name": "label"}, {"name": "size"}],
            "student": {**RESNET},
            "training": {**train(RESNET)["training"], **fields},
            "balancing": {"method": balancing},
        }
        images.run(spec, name)
    assert images.digest("plain") == images.digest("less")


def test_a_job_continues_as_if_it_had_not_stopped(images: EngineHarness) -> None:
    images.run(train(CONVNET, **ON), "whole")
    with pytest.raises(Stopped):
        images.run(train(CONVNET, **ON), "parted", stop=StopAtStep(6), checkpoint_seconds=0.0)
    images.run(train(CONVNET, **ON), "parted", attempt=2)
    assert images.digest("whole") == images.digest("parted", attempt=2)


@pytest.mark.parametrize("model", sample([TIMM, VIT, TORCHVISION], [VIT]))
def test_bfloat16_trains_a_librarys_network_with_the_same_bits(model: Json, images: EngineHarness) -> None:
    used = "bfloat16" if has_bfloat16(torch.device("cpu")) else "float32"
    cases: list[tuple[str, Json]] = [("float", {}), ("plain", BFLOAT16), ("less", {**BFLOAT16, **ON})]
    for name, fields in cases:
        outcome = images.run(train(model, **fields), name)
        assert report_of(outcome).environment.precision == (used if fields else "float32")
    assert all(value.dtype == torch.float32 for value in images.weights("plain").values() if value.is_floating_point())
    assert images.digest("plain") == images.digest("less")
    assert (images.digest("plain") != images.digest("float")) == (used == "bfloat16")


def test_it_goes_with_frozen_layers_and_layer_rates(images: EngineHarness) -> None:
    fields: Json = {"frozen": {"until": "stages.1"}, "layer_decay": 0.6}
    images.run(train(RESNET, **fields), "plain")
    images.run(train(RESNET, **fields, **ON), "less")
    assert images.digest("plain") == images.digest("less")


class Shifted(nn.Module):
    """Adds to its input in place before its convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(5, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 5, H, W] -> [N, 5, H, W]."""
        x.mul_(2.0)
        maps: Tensor = self.conv(x)
        return maps


def test_a_block_that_writes_into_its_input_is_refused() -> None:
    network = made(shared("convnet", "hard", {"y": 2}))
    stages: Any = network.stages
    stages[1].append(Shifted())
    Recomputation(network)
    with pytest.raises(UserError, match="writes into them") as caught:
        network.train()(rows_for(network))
    assert caught.value.code == "recomputation_undefined"


def test_networks_without_blocks_and_rounding_are_refused(images: EngineHarness) -> None:
    found = problems(images, train(MLP, **ON))
    assert [(code, pointer) for code, pointer, _ in found] == [("no_blocks", "/training/gradient_checkpointing")]
    found = problems(images, {**train(RESNET, **ON), "quantization": {}})
    assert [code for code, _, _ in found] == ["not_with_quantization"]
    with pytest.raises(UserError, match="has none"):
        Recomputation(made(shared("mlp", "hard")))


def test_the_preflight_says_how_much_less_is_kept(images: EngineHarness) -> None:
    found = [preflight(images, train(VIT, **fields), name=name) for name, fields in (("plain", {}), ("less", ON))]
    assert not any(report.would_fail for report in found)
    plain, less = (report.memory.activations or 0 for report in found)
    assert 0 < less < 0.5 * plain
