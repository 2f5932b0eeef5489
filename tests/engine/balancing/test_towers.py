"""R by towers: row i drives the tower of task i, and nothing else."""

from typing import Any

import pytest
import torch
from torch import Tensor

from app.contracts.specs.architectures import Mlp
from app.contracts.specs.balancing import FixedBalancing, PcgradBalancing
from app.contracts.specs.sharing import CrossStitchSharing
from tests.engine.balancing.small_network import NAMES, losses_of, rows
from workers.engine.balancing import Balancer, Losses, Parameters, Shared, TowerRows, make_balancer
from workers.engine.balancing.relation.matrix import Relation
from workers.engine.models import Network, build, initialise

R = ((0.5, 0.5, 0.0), (0.25, 0.5, 0.25), (0.0, 0.0, 1.0))
WEIGHTS = (1.0, 2.0, 1.0)


def stitched() -> Network:
    shape = CrossStitchSharing(method="cross_stitch", towers=NAMES)
    outputs = dict.fromkeys(NAMES, 2)
    network = build(Mlp(family="mlp", input_shape=(4,), hidden=(5,), outputs=outputs, sharing=shape))
    initialise(network, 0)
    return network.double()


def parameters(network: Network) -> Parameters:
    shared = [
        Shared(reach.parameters, (0, 1, 2), NAMES.index(reach.tower) if reach.tower else None)
        for reach in network.shared_parameters()
    ]
    return Parameters(tuple(shared), tuple(tuple(network.own_parameters(name)) for name in NAMES))


def balanced(balancer: Balancer, network: Network, absent: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """What every parameter is moved by after one step."""
    losses = losses_of(network, rows())
    present = tuple(i for i, name in enumerate(NAMES) if name not in absent)
    trained = parameters(network)
    balancer.begin_step(0)
    balancer.backward(Losses.of(present, [losses[NAMES[i]] for i in present]), trained)
    balancer.finish(present, trained, 0)
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def by_hand(network: Network, shares: dict[str, float]) -> dict[str, Tensor]:
    losses = losses_of(network, rows())
    total = torch.stack([share * losses[name] for name, share in shares.items()]).sum()
    named = dict(network.named_parameters())
    found = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    return {name: g for name, g in zip(named, found, strict=True) if g is not None}


@pytest.mark.parametrize("spec", [FixedBalancing(method="fixed"), PcgradBalancing(method="pcgrad")])
def test_row_i_drives_tower_i_and_the_balancer_the_rest(spec: Any) -> None:
    weights = WEIGHTS if spec.method == "fixed" else (1.0, 1.0, 1.0)
    found = balanced(TowerRows(make_balancer(spec, weights, None, 0), weights, Relation(R)), stitched())
    plain = balanced(make_balancer(spec, weights, None, 0), stitched())
    for i, task in enumerate(NAMES):
        driven = by_hand(stitched(), {name: weights[j] * R[i][j] for j, name in enumerate(NAMES)})
        tower = [name for name in found if name.startswith(f"towers.{task}.")]
        assert tower
        for name in tower:
            torch.testing.assert_close(found[name], driven[name])
            assert not torch.allclose(found[name], plain[name])
    rest = [name for name in plain if not name.startswith("towers.")]
    assert rest
    assert all(torch.equal(found[name], plain[name]) for name in rest)


def test_rows_are_normalised_over_the_tasks_that_are_there() -> None:
    weights = (1.0, 1.0, 1.0)
    balancer = TowerRows(make_balancer(FixedBalancing(method="fixed"), weights, None, 0), weights, Relation(R))
    found = balanced(balancer, stitched(), absent=("b",))
    alone = by_hand(stitched(), {"a": 1.0})
    assert all(torch.allclose(found[name], alone[name]) for name in found if name.startswith("towers.a."))
    assert not any(name.startswith("towers.b.") for name in found), "an absent task's tower stays where it is"
