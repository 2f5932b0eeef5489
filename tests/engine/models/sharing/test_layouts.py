"""Every scheme of sharing on every family: names, shapes, counts and layers without building, sets of parameters."""

import pytest
import torch

from app.contracts.layouts.summary import buffer_shapes, flops, layers, parameter_count, parameter_shapes
from tests.engine.models.sharing.networks import ALL, OUTPUTS, SCHEMES, made, rows_for, shared, touched
from workers.engine.evaluation.cost.flops import count_flops
from workers.engine.models.taps import Taps


@pytest.mark.parametrize(("family", "scheme"), ALL)
def test_the_layout_says_without_building_what_torch_has(family: str, scheme: str) -> None:
    architecture = shared(family, scheme)
    network = made(architecture)
    parameters = {name: tuple(value.shape) for name, value in network.named_parameters()}
    assert parameter_shapes(architecture) == parameters
    assert buffer_shapes(architecture) == {name: tuple(value.shape) for name, value in network.named_buffers()}
    assert parameter_count(architecture) == sum(value.numel() for value in network.parameters())
    assert flops(architecture) == count_flops(network, network.example())


@pytest.mark.parametrize(("family", "scheme"), ALL)
def test_layers_can_be_tapped_and_are_listed_as_data_pass_them(family: str, scheme: str) -> None:
    """Trap: a layer that data pass once for each task would leave what it put out for the last one."""
    architecture = shared(family, scheme)
    network, seen = made(architecture).eval(), []
    modules = dict(network.named_modules())
    for layer in layers(architecture):
        modules[layer.name].register_forward_hook(lambda _, __, out, name=layer.name: seen.append((name, out.shape)))
    network(rows_for(network))
    assert seen == [(layer.name, (5, *(layer.shape or ()))) for layer in layers(architecture)]
    taps = Taps(network, [layer.name for layer in layers(architecture)])
    outputs = network(rows_for(network))
    found = taps.take()
    for name in OUTPUTS:
        torch.testing.assert_close(found[f"heads.{name}"], outputs[name])


@pytest.mark.parametrize(("family", "scheme"), ALL)
def test_every_parameter_is_in_one_shared_set_or_one_tasks_own(family: str, scheme: str) -> None:
    network = made(shared(family, scheme))
    sets = [reach.parameters for reach in network.shared_parameters()]
    sets += [tuple(network.own_parameters(name)) for name in OUTPUTS]
    assert sorted(id(p) for each in sets for p in each) == sorted(id(p) for p in network.parameters())


@pytest.mark.parametrize(("family", "scheme"), ALL)
def test_a_set_is_reached_by_the_tasks_that_it_names_and_by_no_other(family: str, scheme: str) -> None:
    network = made(shared(family, scheme))
    reached = {name: touched(network, name) for name in OUTPUTS}
    names = {id(p): name for name, p in network.named_parameters()}
    for reach in network.shared_parameters():
        of_set = {names[id(p)] for p in reach.parameters}
        assert {name for name in OUTPUTS if reached[name] & of_set} == set(reach.outputs)
    for name in OUTPUTS:
        own = {names[id(p)] for p in network.own_parameters(name)}
        assert not any(own & reached[other] for other in OUTPUTS if other != name)
        assert f"heads.{name}.weight" in own & reached[name]


def test_the_sets_of_each_scheme() -> None:
    found = {
        scheme: [(reach.outputs, reach.tower) for reach in made(shared("convnet", scheme)).shared_parameters()]
        for scheme in SCHEMES
    }
    everyone = tuple(OUTPUTS)
    assert found == {
        "hard": [(everyone, None)],
        "cross_stitch": [*((everyone, name) for name in OUTPUTS), (everyone, None)],
        "mmoe": [(everyone, None)],
        "cgc": [(everyone, None)],
        "mtan": [(everyone, None)],
        "trunks": [(("total", "left"), None)],
    }


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_task_more_shifts_no_draw_of_another(scheme: str) -> None:
    """Stitches are apart: their matrix has a row for each task."""
    groups = {"method": "trunks", "groups": [["total", "left"], ["size.cm"], ["more"]]}
    more = shared("convnet", scheme, {**OUTPUTS, "more": 4}, **({"sharing": groups} if scheme == "trunks" else {}))
    first, second = (made(each, seed=7).state_dict() for each in (shared("convnet", scheme), more))
    kept = [name for name in first if not name.startswith("stitches.")]
    assert all(torch.equal(first[name], second[name]) for name in kept)
    other = made(shared("convnet", scheme), seed=8).state_dict()
    drawn = [name for name in kept if name.endswith("weight") and "norm" not in name]
    assert not any(torch.equal(first[name], other[name]) for name in drawn)


def test_trunks_towers_and_experts_of_one_shape_are_drawn_apart() -> None:
    for scheme in ("cross_stitch", "mmoe", "cgc", "trunks"):
        state = made(shared("mlp", scheme)).state_dict()
        drawn = [value for name, value in state.items() if name.endswith("layers.0.weight")]
        assert len(drawn) > 1
        assert not any(torch.equal(one, other) for i, one in enumerate(drawn) for other in drawn[:i])
