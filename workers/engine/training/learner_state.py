"""A member as tensors and JSON, and back: everything that its next step depends on."""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from workers.engine.training.gradient_check import are_finite
from workers.engine.training.optimizers import load_optimizer, optimizer_tensors

if TYPE_CHECKING:
    from workers.engine.training.learner import Member


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": value.detach().cpu() for name, value in tensors.items()}


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}/"
    return {name[len(start) :]: value for name, value in tensors.items() if name.startswith(start)}


def _beside(member: "Member") -> dict[str, Tensor]:
    """What is trained beside the network, as `<task>/<term>/<name>`."""
    return {
        f"{place}/{name}": value
        for place, module in member.modules.items()
        for name, value in module.state_dict().items()
    }


def save_member(member: "Member") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors under the member's name, JSON-able state)."""
    sums, filled = member.recorder.state()
    tensors = {
        **_prefixed(f"{member.name}/network", member.network.state_dict()),
        **_prefixed(f"{member.name}/best", member.standing.best),
        **_prefixed(f"{member.name}/optimizer", optimizer_tensors(member.optimizer)),
        **_prefixed(f"{member.name}/balancer", member.balancer.state()),
        **_prefixed(f"{member.name}/recorder", sums),
        **_prefixed(f"{member.name}/beside", _beside(member)),
        **_prefixed(f"{member.name}/observer", member.observer.state() if member.observer is not None else {}),
    }
    standing = member.standing
    state = {
        "best_score": standing.best_score,
        "best_epoch": standing.best_epoch,
        "waited": standing.waited,
        "stopped": standing.stopped,
        "steps": standing.steps,
        "filled": filled,
    }
    return tensors, state


def load_member(member: "Member", tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """The inverse of `save_member`; the member was built from the same spec."""
    member.network.load_state_dict(_below(f"{member.name}/network", tensors))
    beside = _below(f"{member.name}/beside", tensors)
    for place, module in member.modules.items():
        module.load_state_dict(_below(place, beside))
    load_optimizer(member.optimizer, _below(f"{member.name}/optimizer", tensors))
    member.balancer.load_state(_below(f"{member.name}/balancer", tensors))
    member.recorder.load(_below(f"{member.name}/recorder", tensors), int(state["filled"]))
    device = next(member.network.parameters()).device
    if member.observer is not None:
        member.observer.load_state(_below(f"{member.name}/observer", tensors), device)
    standing = member.standing
    standing.best = {name: value.to(device) for name, value in _below(f"{member.name}/best", tensors).items()}
    standing.best_score, standing.best_epoch = state["best_score"], state["best_epoch"]
    standing.waited, standing.stopped, standing.steps = state["waited"], state["stopped"], state["steps"]


def is_finite(member: "Member") -> bool:
    """Whether every weight, and what the optimiser remembers, is finite: what a checkpoint must not be without."""
    weights = [*member.network.state_dict().values(), *_beside(member).values()]
    return are_finite([*weights, *optimizer_tensors(member.optimizer).values()])
