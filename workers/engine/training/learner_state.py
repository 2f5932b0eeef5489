"""The state of a learner as named tensors, as it is stored in checkpoints."""

from collections.abc import Mapping

from torch import Tensor, nn


def named_tensors(name: str, parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of each part as `<name>/<part>/<tensor>`, detached, on the host."""
    return {
        f"{name}/{part}/{key}": value.detach().cpu()
        for part, tensors in parts.items()
        for key, value in tensors.items()
    }


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `<prefix>/`, by the rest of their names."""
    start = f"{prefix}/"
    return {key[len(start) :]: value for key, value in tensors.items() if key.startswith(start)}


def module_tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The tensors of the modules trained besides the network, as `<task>/<term>/<name>`."""
    return {
        f"{prefix}/{name}": value for prefix, module in modules.items() for name, value in module.state_dict().items()
    }


def load_modules(modules: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `module_tensors`."""
    for prefix, module in modules.items():
        module.load_state_dict(with_prefix(prefix, tensors))
