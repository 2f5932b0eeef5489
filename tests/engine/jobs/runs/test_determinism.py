"""The same spec gives the same bits: whole jobs, initial weights, and the order of rows."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torchjd.aggregation import PCGrad

from app.contracts.problems import UserError
from app.contracts.specs.architectures import Architecture, Convnet, Mlp, Resnet
from tests.engine.balancing.small_network import (
    balance,
    gradients,
    jacobian,
    losses_of,
    network_of,
    rows,
    trunk_gradient,
)
from tests.engine.harness import EngineHarness, blobs
from tests.engine.jobs.interrupted_jobs import (
    COMBINATION,
    DISTILL,
    MULTITASK,
    PCGRAD,
    TRAIN,
    TRAINING,
    harness_with_teachers,
    whole,
)
from tests.engine.plain_training import plain_settings
from workers.engine.common.seeds import derived_seed, generator
from workers.engine.data.rows.order import epoch_order
from workers.engine.models import Network, build, initialise
from workers.engine.training.batches import BatchSchedule

KINDS: dict[str, dict[str, Any]] = {
    "train": TRAIN | {"model": TRAIN["model"] | {"dropout": 0.3, "normalization": "batch"}},
    "distill": DISTILL,
    "multitask": MULTITASK | PCGRAD,
    "combination": COMBINATION,
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> EngineHarness:
    return harness_with_teachers(tmp_path_factory.mktemp("shared"))


def weights_equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_spec_gives_the_same_digests_and_another_seed_another(shared: EngineHarness, kind: str) -> None:
    """Whatever the process drew before: no job takes its randomness from what came earlier."""
    other = KINDS[kind] | {"training": TRAINING | {"seed": 1}}
    torch.manual_seed(11)
    whole(shared, KINDS[kind], f"{kind}-first")
    torch.manual_seed(12)
    whole(shared, KINDS[kind], f"{kind}-second")
    whole(shared, other, f"{kind}-other")
    for role in ("student", "control") if kind in {"distill", "combination"} else ("student",):
        first, second, seeded = (shared.digest(f"{kind}-{job}", role=role) for job in ("first", "second", "other"))
        assert first == second
        assert first != seeded
    assert not weights_equal(shared.weights(f"{kind}-first"), shared.weights(f"{kind}-other"))


@pytest.mark.parametrize("changes", [{}, {"balancing": {"method": "fixed"}}])
def test_a_control_changes_no_bit_of_the_student_with_dropout_and_balancing_either(
    shared: EngineHarness, changes: dict[str, Any]
) -> None:
    """Both draw dropout masks and orders of projection; neither may shift the other's."""
    name = f"control-{len(changes)}"
    whole(shared, COMBINATION | changes, f"{name}-with")
    whole(shared, COMBINATION | changes | {"control": False}, f"{name}-without")
    assert (shared.outputs(f"{name}-with") / "control.safetensors").exists()
    assert not (shared.outputs(f"{name}-without") / "control.safetensors").exists()
    assert weights_equal(shared.weights(f"{name}-with"), shared.weights(f"{name}-without"))


def test_student_and_control_start_from_the_same_weights(shared: EngineHarness) -> None:
    """At a rate of nothing both stay where they began."""
    whole(shared, DISTILL | {"training": TRAINING | {"learning_rate": 1e-30}}, "start")
    assert weights_equal(shared.weights("start"), shared.weights("start", role="control"))


def test_every_step_and_every_micro_batch_has_dropout_masks_of_its_own(harness: EngineHarness) -> None:
    """All rows are alike, so that with one mask for two parts, or for two steps, both would move the student alike."""
    arrays = blobs()
    arrays["x"][:], arrays["label"][:] = arrays["x"][0], 0
    harness.dataset(arrays)
    spec = {"kind": "train", "target": "label", "model": {"family": "mlp", "hidden": [64], "dropout": 0.5}}
    plain = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 1e-3, "batch_size": 8, "select_by": "last"}
    jobs: dict[str, dict[str, Any]] = {
        "rest": {"steps": 1, "learning_rate": 1e-30},
        "one": {"steps": 1},
        "parts": {"steps": 1, "batch_size": 16, "micro_batch_size": 8},
        "two": {"steps": 2},
    }
    for job, changes in jobs.items():
        harness.run(spec | {"training": plain | changes}, job)
    rest, one, parts, two = (harness.weights(job)["layers.0.bias"] for job in jobs)
    moved = one - rest
    assert float(moved.norm()) > 0.0
    assert float((parts - rest - moved).norm()) > 0.1 * float(moved.norm())
    assert float((two - rest - 2.0 * moved).norm()) > 0.1 * float(moved.norm())


def opposed(network: Network) -> dict[str, Tensor]:
    """Three losses whose gradients on the trunk lie at 120 degrees of each other."""
    losses = losses_of(network, rows())
    g, h = jacobian([losses["a"], losses["b"]], network.trunk_parameters())
    along = losses["a"] / float(g.norm())
    share = float(g @ h) / float(g.norm())
    across = (losses["b"] - share * along) / float((h - share * g / g.norm()).norm())
    return {"a": along, "b": -0.5 * along + 0.75**0.5 * across, "c": -0.5 * along - 0.75**0.5 * across}


def test_the_order_in_which_pcgrad_projects_is_a_function_of_seed_and_step() -> None:
    """Three gradients that conflict in pairs, so that it matters."""
    updates = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        for step in range(8):
            network = network_of()
            balance(gradients(PCGrad()), network, opposed(network), step=step)
            updates.append(trunk_gradient(network))
    assert all(torch.equal(first, second) for first, second in zip(updates[:8], updates[8:], strict=True))
    assert len({tuple(update.tolist()) for update in updates}) > 1


ARCHITECTURES: list[Architecture] = [
    Mlp(family="mlp", input_shape=(6,), hidden=(8, 8), normalization="batch"),
    Convnet(family="convnet", input_shape=(1, 8, 8), channels=(4,), hidden=(8,)),
    Resnet(family="resnet", input_shape=(1, 8, 8), depth=8),
]


def start(architecture: Architecture, seed: int, **outputs: int) -> dict[str, Tensor]:
    network = build(architecture.model_copy(update={"outputs": outputs}))
    initialise(network, seed)
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=["mlp", "convnet", "resnet"])
def test_an_extra_head_changes_no_other_initial_weight(architecture: Architecture) -> None:
    two, three = start(architecture, 3, a=2, b=5), start(architecture, 3, c=4, b=5, a=2)
    assert set(three) - set(two) == {"heads.c.weight", "heads.c.bias"}
    assert all(torch.equal(two[name], three[name]) for name in two)
    trunk = {name: value for name, value in start(architecture, 3, a=2).items() if name in two}
    assert trunk
    assert all(torch.equal(two[name], trunk[name]) for name in trunk)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=["mlp", "convnet", "resnet"])
def test_initial_weights_are_a_function_of_the_seed_alone(architecture: Architecture) -> None:
    torch.manual_seed(1)
    first = start(architecture, 3, a=2, b=2)
    torch.manual_seed(2)
    assert weights_equal(first, start(architecture, 3, a=2, b=2))
    assert not torch.equal(first["heads.a.weight"], start(architecture, 4, a=2, b=2)["heads.a.weight"])
    assert not torch.equal(first["heads.a.weight"], first["heads.b.weight"])


def test_streams_seeds_and_counters_draw_apart_and_each_draws_the_same_again() -> None:
    draws = [("order", (0,)), ("order", (1,)), ("dropout", (0,)), ("dropout", (0, 1)), ("dropout", (1, 0))]
    seeds = [derived_seed(seed, stream, *counters) for seed in (0, 1) for stream, counters in draws]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    first, second = (torch.rand(4, generator=generator(5, "order", 7)) for _ in range(2))
    assert torch.equal(first, second)


def schedule(count: int, **training: Any) -> BatchSchedule:
    """Rows 100, 101, 102 … of a training split."""
    return BatchSchedule(plain_settings(**training), torch.arange(100, 100 + count), torch.empty(0, dtype=torch.int64))


def test_the_order_of_an_epoch_is_a_function_of_seed_and_epoch() -> None:
    split = torch.arange(100, 150)
    torch.manual_seed(1)
    first = epoch_order(split, 7, 2)
    epoch_order(split, 7, 3)
    torch.manual_seed(2)
    assert torch.equal(first, epoch_order(split, 7, 2))
    assert not torch.equal(first, epoch_order(split, 7, 3))
    assert not torch.equal(first, epoch_order(split, 8, 2))
    assert torch.equal(first.sort().values, split)
    batches = BatchSchedule(plain_settings(seed=7, batch_size=50), split, split)
    assert torch.equal(batches.epoch(2)[0], first)


@pytest.mark.parametrize("size", [1, 2, 7, 32, 100])
@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 64, 65, 97])
def test_an_epoch_visits_every_row_once_and_leaves_no_row_alone(count: int, size: int) -> None:
    """BatchNorm needs two rows: a last batch of one joins the one before it, unless batches are of one row."""
    found = schedule(count, batch_size=size, epochs=3)
    batches = found.epoch(1)
    assert torch.equal(torch.cat(batches).sort().values, found.rows)
    assert len(batches) == found.batches
    assert (found.steps, found.epochs) == (3 * len(batches), 3)
    sizes = [len(batch) for batch in batches]
    assert all(each == size for each in sizes[:-1])
    assert sizes[-1] <= size + 1
    assert size == 1 or count == 1 or min(sizes) >= 2


def test_epochs_are_counted_from_steps_where_steps_are_given() -> None:
    found = schedule(64, batch_size=32, steps=5)
    assert (found.batches, found.steps, found.epochs) == (2, 5, 3)


@pytest.mark.parametrize(("batch", "micro"), [(33, 32), (167, 83), (56, 11)])
def test_a_last_micro_batch_of_one_row_joins_the_one_before_it(shared: EngineHarness, batch: int, micro: int) -> None:
    """33 = 32 + 1, a last batch of 168 - 167 rows, 56 = 5 · 11 + 1: BatchNorm would refuse the one row."""
    model = TRAIN["model"] | {"normalization": "batch"}
    training = TRAINING | {"batch_size": batch, "micro_batch_size": micro}
    whole(shared, TRAIN | {"model": model, "training": training}, f"joined-{batch}")
    assert "inexact_accumulation" in shared.log.warnings


@pytest.mark.parametrize("training", [{"batch_size": 1}, {"micro_batch_size": 1}])
def test_batches_of_one_row_are_refused_where_batch_norm_needs_two(
    shared: EngineHarness, training: dict[str, int]
) -> None:
    spec = TRAIN | {"training": TRAINING | training, "model": TRAIN["model"] | {"normalization": "batch"}}
    with pytest.raises(UserError) as caught:
        whole(shared, spec, "refused")
    assert caught.value.code == "batch_too_small"


def test_a_convnet_with_batch_norm_takes_batches_of_one_row_whose_pixels_are_many(harness: EngineHarness) -> None:
    arrays = blobs(rows=60, features=16)
    arrays["x"] = arrays["x"].reshape(-1, 1, 4, 4)
    harness.dataset(arrays)
    model = {"family": "convnet", "channels": [2]}
    harness.run(TRAIN | {"model": model, "training": TRAINING | {"epochs": 1, "batch_size": 1}})
    assert all(bool(value.isfinite().all()) for value in harness.weights().values())
