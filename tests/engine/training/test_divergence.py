"""What is not finite ends the job as `diverged`, by step and term, and leaves no checkpoint and no student behind."""

from pathlib import Path
from typing import Any

import pytest
import torch

from app.contracts.problems import UserError
from tests.engine.harness import EngineHarness, blobs
from tests.engine.losses.small_terms import CPU, class_target, counts_of, member_of, mlp, places, supervised, task_of
from workers.engine.training.batch import MicroBatch
from workers.engine.training.gradient_check import GradientCheck
from workers.engine.training.learner import Learner

STEPS = 3
TRAIN: dict[str, Any] = {
    "kind": "train",
    "target": "label",
    "model": {"family": "mlp", "hidden": [8]},
    "training": {"steps": 1, "batch_size": 4, "learning_rate": 1e3, "optimizer": "sgd"},
}


def learner(**training: Any) -> Learner:
    """One input, one hidden unit: h = relu(w x), and logits of ±1e10 h."""
    network = mlp(1, 2, hidden=(1,))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        first, second = (p for p in network.parameters() if p.dim() == 2)
        first.fill_(1e-30)
        second.copy_(torch.tensor([[1e10], [-1e10]]))
    return member_of(network, task_of(supervised(class_target([1] * 4, 2))), **training)


def step(trained: Learner, x: float, number: int) -> None:
    """One optimiser step (from 0) over one row."""
    batch = places([number])
    counts = counts_of(trained.tasks[0], batch)
    trained.begin_step(counts, number)
    trained.backward(trained.forward(MicroBatch(torch.tensor([[x]]), batch, (number, 0))), batch, counts)
    trained.end_step(number, 1)


@pytest.mark.parametrize("training", [{"optimizer": "sgd"}, {"optimizer": "adam"}, {"clip_norm": 1.0}])
def test_an_infinite_gradient_of_a_finite_loss_is_reported_by_step_and_term(training: dict[str, Any]) -> None:
    """The loss is 2e10, its gradient at w is 2e40. Under a relu no later loss need show what it does to w."""
    trained = learner(learning_rate=1e-30, **training)
    step(trained, 0.0, 0)
    assert trained.take_points()
    step(trained, 1e30, 1)
    step(trained, 1.0, 2)
    with pytest.raises(
        UserError, match=r"gradient of train/label/supervised is not finite at step 2, though"
    ) as caught:
        trained.take_points()
    assert caught.value.code == "diverged"


def test_looking_changes_no_bit_of_any_gradient_and_finite_ones_pass() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(5)) for _ in range(2)]
    watch = GradientCheck("", [(["a"], parameters[:1]), (["b"], parameters[1:])], CPU)
    values = torch.tensor([3.4e38, -0.0, 1e-45, -3.4e38, 0.1])
    for parameter in parameters:
        parameter.grad = values.clone()
    watch.check(1)
    watch.raise_if_not_finite(None)
    assert all(
        torch.equal(p.grad.view(torch.int32), values.view(torch.int32)) for p in parameters if p.grad is not None
    )


@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
def test_the_first_step_counts_and_a_tasks_own_gradient_names_the_task(bad: float) -> None:
    shared, own, other = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    groups = [(["a/kd", "b/kd"], [shared]), (["a/kd"], [own]), (["b/kd"], [other])]
    watch = GradientCheck("train/", groups, CPU)
    for number in range(1, 5):
        for parameter, since in ((shared, 3), (own, 3), (other, 4)):
            parameter.grad = torch.tensor([1.0, bad if number == since else 1.0])
        watch.check(number)
    with pytest.raises(UserError, match="gradient of train/a/kd is not finite at step 3"):
        watch.raise_if_not_finite(None)
    watch.raise_if_not_finite(before=3)  # the loss of that step says more


def test_a_last_step_that_overflows_exports_no_student(tmp_path: Path) -> None:
    """Loss and gradient are finite; the step is not, and no loss comes after it."""
    harness = EngineHarness(tmp_path)
    arrays = blobs()
    harness.dataset(arrays | {"x": arrays["x"] * 1e36})
    with pytest.raises(UserError, match="after step 1") as caught:
        harness.run(TRAIN)
    assert caught.value.code == "diverged"
    assert not list(tmp_path.glob("job/**/*.safetensors"))


def test_optimizer_state_must_be_finite_for_a_checkpoint(tmp_path: Path) -> None:
    """Adam squares a gradient of 1e24: its update is 0 from then on, and every weight stays finite."""
    harness = EngineHarness(tmp_path)
    arrays = blobs()
    harness.dataset(arrays | {"x": arrays["x"] * 1e26})
    adam = {**TRAIN["training"], "optimizer": "adam", "learning_rate": 1e-30, "steps": 2}
    with pytest.raises(UserError, match="optimizer state") as caught:
        harness.run(TRAIN | {"training": adam}, checkpoint_seconds=0.0)
    assert caught.value.code == "diverged"
    assert [event.step for event in harness.log.checkpoints] == [0]
