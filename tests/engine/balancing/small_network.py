"""One small network with several heads in float64, losses on it, and its Jacobian row by row."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor
from torchjd.aggregation import IMTLG, MGDA, Aggregator, AlignedMTL, CAGrad, ConFIG, FairGrad, GradDrop, GradVac, PCGrad

from app.contracts.base import members, method_of
from app.contracts.specs.architectures import Mlp
from app.contracts.specs.balancing import Balancing
from workers.engine.balancing import Balancer, Losses, Parameters, Shared, make_balancer
from workers.engine.balancing.aggregators import Plain
from workers.engine.balancing.fixed import Fixed
from workers.engine.balancing.gradient import GradientBalancer
from workers.engine.balancing.relation.matrix import Relation
from workers.engine.models import Network, build, initialise

NAMES = ("a", "b", "c")
Matrix = Sequence[Sequence[float]]

AGGREGATORS: dict[str, Callable[[], Aggregator]] = {
    "pcgrad": PCGrad,
    "mgda": MGDA,
    "cagrad": lambda: CAGrad(0.5),
    "imtl_g": IMTLG,
    "aligned_mtl": AlignedMTL,
    "gradvac": GradVac,
    "config": ConFIG,
    "graddrop": GradDrop,
    "fairgrad": lambda: FairGrad(alpha=1.0),
}
"""Those of torchjd that need no package under the GPL."""
_INSTALLED = [each for each in members(Balancing) if all(find_spec(package) for package in each.needs_packages)]
METHODS = tuple(method_of(each) for each in _INSTALLED)
"""Every balancer that can run here: those under the GPL only where their packages are installed."""
GRADIENT_METHODS = tuple(method_of(each) for each in _INSTALLED if each.uses_gradients)
SPEC: TypeAdapter[Balancing] = TypeAdapter(Balancing)


def balancer_of(
    method: str,
    weights: Sequence[float] = (1.0, 1.0, 1.0),
    matrix: Matrix | None = None,
    seed: int = 0,
    **settings: Any,
) -> Balancer:
    """The balancer of a spec, made as a job makes it."""
    return make_balancer(SPEC.validate_python({"method": method, **settings}), weights, _relation(matrix), seed)


def network_of(names: Sequence[str] = NAMES, **architecture: Any) -> Network:
    """Four numbers in, two out of each head; the weights are those of the seed and of the parameter's name."""
    shape: dict[str, Any] = {"hidden": (5,), "activation": "tanh", **architecture}
    network = build(Mlp(family="mlp", input_shape=(4,), outputs=dict.fromkeys(names, 2), **shape))
    initialise(network, 0)
    return network.double()


def rows(count: int = 12, seed: int = 0) -> Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def losses_of(network: Network, x: Tensor, total: int | None = None, scale: float = 1.0) -> dict[str, Tensor]:
    """For each head another function of its outputs, summed over rows and divided by `total` (or their number)."""
    outputs = network(x)
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "a": lambda o: (o - 1.0).square().sum(),
        "b": lambda o: 3.0 * (o[:, 0] + 0.5).square().sum(),
        "c": lambda o: (1.0 + (o[:, 1] - 2.0 * o[:, 0]).tanh()).sum(),
    }
    return {name: scale * functions[name](outputs[name]) / (total or len(x)) for name in outputs}


def jacobian(losses: Sequence[Tensor], parameters: Sequence[Tensor]) -> Tensor:
    """[K, P], one loss after the other by `torch.autograd.grad`; zeros where a loss does not reach a parameter."""
    found = []
    for loss in losses:
        parts = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        flat = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, parts, strict=True)]
        found.append(torch.cat([part.flatten() for part in flat]))
    return torch.stack(found)


def balance(
    balancer: Balancer, network: Network, losses: dict[str, Tensor], names: Sequence[str] = NAMES, step: int = 0
) -> None:
    """Write the gradient of one optimizer step to `.grad`, from the losses of the tasks that are present."""
    present = tuple(i for i, name in enumerate(names) if name in losses)
    trained = parameters_of(network, names)
    balancer.begin_step(step)
    balancer.backward(Losses.of(present, [losses[names[i]] for i in present]), trained)
    balancer.finish(present, trained, step)


def parameters_of(network: Network, names: Sequence[str] = NAMES) -> Parameters:
    """The parameters of the trunk and of each task's head."""
    trunk = Shared(tuple(network.trunk_parameters()), tuple(range(len(names))))
    return Parameters((trunk,), tuple(tuple(network.head_parameters(name)) for name in names))


def trunk_gradient(network: Network) -> Tensor:
    """The gradient of the trunk [P]; zeros for parameters without one."""
    parameters = network.trunk_parameters()
    return torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters])


def head_gradient(network: Network, name: str) -> Tensor:
    """The gradient of one head [Q]; fails where a parameter has none."""
    parts = []
    for parameter in network.head_parameters(name):
        assert parameter.grad is not None
        parts.append(parameter.grad.flatten())
    return torch.cat(parts)


def fixed(weights: Sequence[float] = (1.0, 1.0, 1.0), matrix: Matrix | None = None) -> Fixed:
    return Fixed(weights, _relation(matrix))


def gradients(
    aggregator: Aggregator,
    weights: Sequence[float] = (1.0, 1.0, 1.0),
    matrix: Matrix | None = None,
    names: Sequence[str] = NAMES,
) -> GradientBalancer:
    return GradientBalancer(lambda: Plain(aggregator), weights, _relation(matrix), seed=0)


class Recorded(Aggregator):
    """An aggregator that records every Jacobian before it calls another aggregator."""

    def __init__(self, aggregator: Aggregator) -> None:
        super().__init__()
        self._aggregator = aggregator
        self.matrices: list[Tensor] = []

    def forward(self, matrix: Tensor, /) -> Tensor:
        self.matrices.append(matrix.clone())
        return self._aggregator(matrix)


def _relation(matrix: Matrix | None) -> Relation | None:
    return Relation(tuple(tuple(float(entry) for entry in row) for row in matrix)) if matrix is not None else None
