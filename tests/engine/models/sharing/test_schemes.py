"""The schemes of sharing do what their papers say."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.engine.models.sharing.networks import OUTPUTS, made, rows_for, shared, touched, with_running_statistics
from workers.engine.models import Network
from workers.engine.models.sharing.experts import CgcNetwork, MmoeNetwork
from workers.engine.models.sharing.mtan import Attention


def below(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def alone(family: str, output: str, trunk: dict[str, Tensor], head: dict[str, Tensor]) -> Network:
    """A single-task network of the family with this trunk and head."""
    network = made(shared(family, "hard", {output: OUTPUTS[output]}))
    last = network.head_name(output)
    network.load_state_dict({**trunk, **{f"{last}.{name}": value for name, value in head.items()}})
    return network.eval()


@pytest.mark.parametrize("family", ["mlp", "convnet", "resnet", "transformer"])
def test_cross_stitch_with_the_identity_is_a_network_for_each_task(family: str) -> None:
    network = with_running_statistics(shared(family, "cross_stitch"))
    for name, value in network.named_parameters():
        if name.startswith("stitches."):
            value.data = torch.eye(3)
    rows, state = rows_for(network), network.state_dict()
    found = network(rows)
    for name in OUTPUTS:
        single = alone(family, name, below(state, f"towers.{name}."), below(state, f"heads.{name}."))
        torch.testing.assert_close(found[name], single(rows)[name], rtol=1e-5, atol=1e-6)


def test_cross_stitch_mixes_the_towers_by_the_rows_of_its_matrix() -> None:
    network = made(shared("mlp", "cross_stitch", normalization="none")).eval()
    state, rows, order = network.state_dict(), rows_for(network), sorted(OUTPUTS)
    h = dict.fromkeys(order, rows)
    for s in (0, 1):
        layer = {n: (state[f"towers.{n}.layers.{s}.weight"], state[f"towers.{n}.layers.{s}.bias"]) for n in order}
        after = {name: functional.linear(h[name], *layer[name]).relu() for name in order}
        mix = state[f"stitches.{s}.weight"]
        h = {name: sum(mix[i, j] * after[n] for j, n in enumerate(order)) for i, name in enumerate(order)}
    for name in OUTPUTS:
        expected = functional.linear(h[name], state[f"heads.{name}.weight"], state[f"heads.{name}.bias"])
        torch.testing.assert_close(network(rows)[name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("own", [0.9, 0.5, 1.0])
def test_a_stitch_begins_with_its_own_tower_and_equal_shares_of_the_others(own: float) -> None:
    sharing = {"method": "cross_stitch", "own": own, "towers": ["total", "left", "size.cm"]}
    state = made(shared("convnet", "cross_stitch", sharing=sharing)).state_dict()
    stitches = [value for name, value in state.items() if name.startswith("stitches.")]
    assert len(stitches) == 3  # two stages and a hidden layer
    expected = torch.full((3, 3), (1 - own) / 2).fill_diagonal_(own)
    assert all(torch.equal(stitch, expected) for stitch in stitches)


@pytest.mark.parametrize("scheme", ["mmoe", "cgc"])
def test_a_gate_puts_out_a_distribution_that_depends_on_the_row(scheme: str) -> None:
    network = with_running_statistics(shared("convnet", scheme))
    assert isinstance(network, MmoeNetwork | CgcNetwork)
    rows = rows_for(network)
    for name in OUTPUTS:
        shares = network.gate_weights(name, rows)
        assert shares.shape == (5, {"mmoe": 3, "cgc": 4}[scheme])
        assert bool((shares > 0).all())
        torch.testing.assert_close(shares.sum(1), torch.ones(5))
        assert not torch.allclose(shares[0], shares[1])


@pytest.mark.parametrize("scheme", ["mmoe", "cgc"])
def test_a_head_reads_the_experts_in_the_shares_of_its_gate(scheme: str) -> None:
    """With all of a gate on one expert the task is a single-task network with that expert as its trunk."""
    network = with_running_statistics(shared("resnet", scheme))
    rows = rows_for(network)
    experts = {"mmoe": ["experts.0", "experts.1", "experts.2"], "cgc": ["shared.0", "shared.1"]}[scheme]
    for name in OUTPUTS:
        own = [f"experts.{name}.{i}" for i in range(2)] if scheme == "cgc" else []
        for e, expert in enumerate([*experts, *own]):
            state = network.state_dict()
            state[f"gates.{name}.bias"].copy_(functional.one_hot(torch.tensor(e), len(experts) + len(own)) * 1e4)
            single = alone("resnet", name, below(state, f"{expert}."), below(state, f"heads.{name}."))
            torch.testing.assert_close(network(rows)[name], single(rows)[name], rtol=1e-4, atol=1e-5)


def test_a_task_expert_of_cgc_has_no_gradient_of_another_task_and_a_shared_one_has_all() -> None:
    network = made(shared("mlp", "cgc"))
    for name in OUTPUTS:
        reached = touched(network, name)
        assert {f"experts.{name}.{i}.layers.0.weight" for i in range(2)} <= reached
        assert {f"shared.{i}.layers.0.weight" for i in range(2)} <= reached
        assert not any(
            part.startswith((f"experts.{o}.", f"gates.{o}.")) for o in OUTPUTS if o != name for part in reached
        )


@pytest.mark.parametrize("family", ["convnet", "flat", "resnet"])
def test_the_masks_of_mtan_lie_between_0_and_1_and_differ_between_tasks(family: str) -> None:
    network = with_running_statistics(shared(family, "mtan"))
    masks: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        if isinstance(module, Attention):
            module.register_forward_hook(lambda _, __, mask, name=name: masks.__setitem__(name, mask))
    network(rows_for(network))
    stages = 3 if family == "resnet" else 2
    assert set(masks) == {f"attentions.{name}.{s}" for name in OUTPUTS for s in range(stages)}
    assert all(bool(((mask > 0) & (mask < 1)).all()) for mask in masks.values())
    for s in range(stages):
        assert not torch.allclose(masks[f"attentions.left.{s}"], masks[f"attentions.total.{s}"])


@pytest.mark.parametrize("family", ["convnet", "flat", "resnet"])
def test_with_masks_of_1_mtan_is_hard_sharing(family: str) -> None:
    network = with_running_statistics(shared(family, "mtan"))
    for module in network.modules():
        if isinstance(module, Attention):
            module.register_forward_hook(lambda _, __, mask: torch.ones_like(mask))
    rows, state = rows_for(network), network.state_dict()
    hard = made(shared(family, "hard"))
    heads = {name: value for name, value in state.items() if name.startswith("heads.")}
    hard.load_state_dict({**below(state, "trunk."), **heads})
    torch.testing.assert_close(network(rows), hard.eval()(rows))


def test_mtan_hands_what_a_task_attended_on_to_its_next_stage() -> None:
    """A mask of the first stage that lets nothing through changes the second stage's, of that task alone."""
    network = with_running_statistics(shared("convnet", "mtan"))
    masks: dict[str, list[Tensor]] = {}
    modules = dict(network.named_modules())
    for name in OUTPUTS:
        second = modules[f"attentions.{name}.1"]
        second.register_forward_hook(lambda _, __, mask, name=name: masks.setdefault(name, []).append(mask))
    network(rows_for(network))
    modules["attentions.left.0"].register_forward_hook(lambda _, __, mask: torch.zeros_like(mask))
    network(rows_for(network))
    assert {name: torch.equal(*masks[name]) for name in OUTPUTS} == {"left": False, "size.cm": True, "total": True}


def test_trap_10_each_tasks_normalisation_in_mtan_is_of_its_own_maps() -> None:
    """One that all tasks went through would have the running mean of whichever came last, and move once a task."""
    network = made(shared("convnet", "mtan"))
    network(rows_for(network))
    state = network.state_dict()
    counts = {name: int(value) for name, value in state.items() if name.endswith("num_batches_tracked")}
    assert set(counts.values()) == {1}
    means = [state[f"attentions.{name}.1.norm.running_mean"] for name in OUTPUTS]
    assert not torch.allclose(means[0], means[1])


def test_a_loss_of_one_group_of_trunks_moves_no_parameter_of_another() -> None:
    network = made(shared("mlp", "trunks"))
    for name, trunk, others in (("left", "0", ("1", "size.cm", "total")), ("size.cm", "1", ("0", "left", "total"))):
        reached = touched(network, name)
        assert f"trunks.{trunk}.layers.0.weight" in reached
        assert not any(
            part.startswith((f"trunks.{others[0]}.", *(f"heads.{o}." for o in others[1:]))) for part in reached
        )


def test_one_group_of_trunks_is_hard_sharing() -> None:
    groups = {"method": "trunks", "groups": [["left", "size.cm", "total"]]}
    network = with_running_statistics(shared("resnet", "trunks", sharing=groups))
    rows, state = rows_for(network), network.state_dict()
    hard = made(shared("resnet", "hard"))
    heads = {name: value for name, value in state.items() if name.startswith("heads.")}
    hard.load_state_dict({**below(state, "trunks.0."), **heads})
    torch.testing.assert_close(network(rows), hard.eval()(rows), rtol=0, atol=0)
