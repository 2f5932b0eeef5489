"""Learning rates, optimisers, clipping and label smoothing, against formulas written out."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from app.contracts.specs.architectures import Mlp
from app.contracts.specs.training import TrainingSettings
from tests.engine.harness import EngineHarness
from tests.engine.plain_training import plain_settings
from workers.engine.losses.label_losses import class_loss
from workers.engine.models import build, initialise
from workers.engine.training.updates.lr_schedules import learning_rate
from workers.engine.training.updates.optimizers import make_optimizer, set_learning_rate

RATE = 0.2
STEPS = 101


def training(**spec: Any) -> TrainingSettings:
    return plain_settings(**{"learning_rate": RATE, **spec})


def rates(steps: int = STEPS, **spec: Any) -> list[float]:
    return [learning_rate(training(**spec), step, steps) for step in range(steps)]


def test_a_constant_rate_is_the_rate_at_every_step() -> None:
    assert rates() == [RATE] * STEPS


def test_cosine_goes_from_the_rate_through_the_middle_to_its_share() -> None:
    found = rates(schedule={"kind": "cosine", "final": 0.1})
    assert (found[0], found[50], found[100]) == pytest.approx((RATE, RATE * 0.55, RATE * 0.1))
    quarter = 0.1 + 0.9 * 0.5 * (1.0 + math.cos(math.pi / 4.0))
    assert found[25] == pytest.approx(RATE * quarter)
    assert found == sorted(found, reverse=True)


def test_one_cycle_rises_to_the_rate_and_falls_by_cosine() -> None:
    found = rates(schedule={"kind": "one_cycle", "rise": 0.3, "start": 0.04, "final": 0.001})
    assert (found[0], found[30], found[100]) == pytest.approx((RATE * 0.04, RATE, RATE * 0.001))
    assert (found[15], found[65]) == pytest.approx((RATE * 0.52, RATE * 0.5005))
    assert found[:31] == sorted(found[:31])
    assert found[30:] == sorted(found[30:], reverse=True)


def test_step_multiplies_at_each_milestone_and_at_no_other_step() -> None:
    found = rates(schedule={"kind": "step", "gamma": 0.1, "milestones": [0.5, 0.75]})
    assert found == pytest.approx([RATE] * 50 + [RATE * 0.1] * 25 + [RATE * 0.01] * 26)


def test_warm_up_is_linear_and_the_schedule_has_the_steps_that_are_left() -> None:
    found = rates(warmup=4, steps=STEPS + 4, schedule={"kind": "cosine"})
    assert found[:4] == pytest.approx([RATE * share for share in (0.25, 0.5, 0.75, 1.0)])
    assert found[4:] == pytest.approx(rates(schedule={"kind": "cosine"}))


@pytest.mark.parametrize("kind", ["constant", "cosine", "one_cycle", "step"])
def test_a_schedule_of_one_step_and_a_warm_up_longer_than_the_job_are_defined(kind: str) -> None:
    assert all(0.0 < rate <= RATE for rate in rates(1, schedule=kind))
    assert rates(4, warmup=10, schedule=kind) == pytest.approx([RATE * share for share in (0.25, 0.5, 0.75, 1.0)])


@pytest.mark.parametrize("schedule", ["cosine", {"kind": "one_cycle", "rise": 0.4}, "step"])
def test_a_job_steps_by_the_rates_of_its_schedule(harness: EngineHarness, schedule: Any) -> None:
    """At rates of nearly nothing the gradient stays what it is, and plain sgd moves by the sum of the rates."""
    harness.dataset()
    plain = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 2e-4, "batch_size": 240, "select_by": "last"}
    spec = {"kind": "train", "target": "label", "model": {"family": "mlp", "hidden": []}}
    network = build(Mlp(family="mlp", input_shape=(6,), outputs={"label": 3}))
    initialise(network, 0)
    moved = []
    for job, changes in (("one", {"epochs": 1}), ("ten", {"epochs": 10, "schedule": schedule})):
        harness.run(spec | {"training": plain | changes}, job)
        moved.append(harness.weights(job)["layers.0.bias"] - network.head("label").bias.detach())
    total = sum(rates(10, schedule=schedule)) / RATE
    assert 3.0 < total < 9.0
    torch.testing.assert_close(moved[1], total * moved[0], rtol=2e-2, atol=1e-7)


def stepped(gradients: list[float], start: float = 2.0, **spec: Any) -> float:
    """One weight in float64 after steps with these gradients."""
    weight = nn.Parameter(torch.tensor([[start]], dtype=torch.float64))
    optimizer = make_optimizer(training(**spec), [weight])
    for gradient in gradients:
        weight.grad = torch.tensor([[gradient]], dtype=torch.float64)
        optimizer.step()
    return float(weight.detach())


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_sgd_adds_momentum_without_dampening_and_decay_to_the_gradient(momentum: float, decay: float) -> None:
    weight, velocity = 2.0, 0.0
    for gradient in (0.5, -1.0, 0.25):
        velocity = momentum * velocity + gradient + decay * weight
        weight -= RATE * velocity
    found = stepped([0.5, -1.0, 0.25], optimizer="sgd", momentum=momentum, weight_decay=decay)
    assert found == pytest.approx(weight, rel=1e-12)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_adam_adds_decay_to_the_gradient_and_adamw_shrinks_the_weight_apart_from_it(
    optimizer: str, decay: float
) -> None:
    """Kingma 2015 and Loshchilov 2019, with β of 0.9 and 0.999 and ε of 1e-8."""
    weight, m, v = 2.0, 0.0, 0.0
    for step, given in enumerate((0.5, -1.0, 0.25), start=1):
        gradient = given + decay * weight if optimizer == "adam" else given
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        shrunk = weight * (1.0 - RATE * decay) if optimizer == "adamw" else weight
        weight = shrunk - RATE * (m / (1.0 - 0.9**step)) / (math.sqrt(v / (1.0 - 0.999**step)) + 1e-8)
    assert stepped([0.5, -1.0, 0.25], optimizer=optimizer, weight_decay=decay) == pytest.approx(weight, rel=1e-10)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_the_rate_that_is_set_is_the_rate_of_the_next_step(optimizer: str) -> None:
    weight = nn.Parameter(torch.tensor([[2.0]], dtype=torch.float64))
    made = make_optimizer(training(optimizer=optimizer), [weight])
    set_learning_rate(made, 0.0)
    weight.grad = torch.ones_like(weight)
    made.step()
    assert float(weight.detach()) == 2.0


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_label_smoothing_is_cross_entropy_to_labels_mixed_with_the_uniform(smoothing: float) -> None:
    """Szegedy 2016: (1 − s) of the label and s/C of every class, the label's own included."""
    logits, labels = np.random.default_rng(0).normal(size=(6, 4)), np.array([0, 1, 2, 3, 1, 2])
    target = (1.0 - smoothing) * np.eye(4)[labels] + smoothing / 4.0
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    found = class_loss(torch.from_numpy(logits), torch.from_numpy(labels), smoothing)
    np.testing.assert_allclose(found, -(target * log_p).sum(1), rtol=1e-12)


def test_smoothing_leaves_a_row_without_a_label_at_zero() -> None:
    assert class_loss(torch.randn(2, 3), torch.tensor([-1, 1]), 0.3)[0] == 0.0


def test_clip_norm_bounds_the_step_of_a_job_and_a_bound_far_away_changes_no_bit(harness: EngineHarness) -> None:
    harness.dataset()
    spec = {"kind": "train", "target": "label", "model": {"family": "mlp", "hidden": [8]}}
    plain = {"steps": 1, "optimizer": "sgd", "momentum": 0.0, "learning_rate": 1.0, "select_by": "last"}
    for job, changes in {"rest": {"learning_rate": 1e-30}, "clipped": {"clip_norm": 0.01}, "free": {}}.items():
        harness.run(spec | {"training": plain | changes}, job)
    harness.run(spec | {"training": plain | {"clip_norm": 1e6}}, "far")
    start, clipped, free, far = (harness.weights(job) for job in ("rest", "clipped", "free", "far"))
    step = torch.cat([(clipped[name] - start[name]).flatten() for name in start])
    assert float(step.norm()) == pytest.approx(0.01, rel=1e-3)
    whole = torch.cat([(free[name] - start[name]).flatten() for name in start])
    assert float(torch.cosine_similarity(step, whole, dim=0)) == pytest.approx(1.0, abs=1e-4)
    assert all(torch.equal(free[name], far[name]) for name in free)
