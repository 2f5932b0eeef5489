"""A student before its first step, beside the model that it starts from."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.contracts.specs.jobs import AnyTrainingJob
from app.contracts.wire.orders import ModelInput
from tests.engine.harness import EngineHarness
from workers.engine.models import Network, build, initialise
from workers.engine.models.loading import load_weights
from workers.engine.tasks.build import pretrained_weights
from workers.engine.tasks.run_spec import RunSpec


def begun(harness: EngineHarness, spec: dict[str, Any]) -> Network:
    """The student of a job as it is before its first step, in evaluation mode."""
    order = harness.order(spec, "begun")
    assert isinstance(order.spec, AnyTrainingJob)
    architecture = RunSpec.of(order.spec).architecture
    network = build(architecture)
    initialise(network, 0)
    network.load_known(pretrained_weights(architecture, order.models, ()))
    return network.eval()


def whole(model: ModelInput) -> Network:
    """The network of a model, in evaluation mode."""
    assert model.facts is not None
    assert model.facts.architecture is not None
    network = build(model.facts.architecture)
    network.load_state_dict(load_weights(Path(model.path), model.manifest, model.facts.architecture))
    return network.eval()


def tensors_of(network: Network, prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, by the rest of their names."""
    state = network.state_dict()
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """The same names and bits."""
    assert ours
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
