"""What the training of a run ended with, and how it is kept for the attempts that come after."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from app.contracts.specs.architectures import Architecture
from workers.engine.common.files import fresh_draft, publish_folder, save_tensors, whole_folder
from workers.engine.jobs.runs.run import Run
from workers.engine.models import Network, build

FORMAT = 2
"""Of `result.json`; what another version wrote is trained again."""
_SAID = ("bit_exact", "seconds", "precision", "measured", "environment")


@dataclass(frozen=True)
class TrainedModel:
    """A learner whose training is over, with the weights that count; `score` is its best on the validation rows."""

    network: Network
    epoch: int
    steps: int
    score: float | None
    cached: bool = False


@dataclass(frozen=True)
class RunResult:
    """The trained models of a run by the names of their learners, and facts of the run."""

    models: dict[str, TrainedModel]
    bit_exact: bool = True
    seconds: float = 0.0
    precision: str = "float32"
    measured: dict[str, Any] | None = None
    """The summary of the student's observer, as JSON."""
    environment: dict[str, Any] = field(default_factory=dict)
    """The fingerprint of the environment in which it was trained."""


class FinishedRuns:
    """What the runs of a job ended with, by name: whole folders beside the checkpoints."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._folder = folder
        self._device = device

    def find(self, run: Run) -> RunResult | None:
        """The result of a run that an earlier attempt finished."""
        folder = self._folder / run.name
        if whole_folder(folder) is None:
            return None
        saved = json.loads((folder / "result.json").read_text())
        if saved.get("format") != FORMAT:
            return None
        models = {
            name: _restored(run.run_spec.architecture_of(name), load_file(folder / f"{name}.safetensors"), facts)
            for name, facts in saved["models"].items()
        }
        for model in models.values():
            model.network.to(self._device)
        return RunResult(models, **{name: saved[name] for name in _SAID})

    def keep(self, name: str, result: RunResult) -> None:
        """Write a run's result, whole or not at all."""
        facts = {
            learner: {"epoch": each.epoch, "steps": each.steps, "score": each.score, "cached": each.cached}
            for learner, each in result.models.items()
        }
        saved = {"format": FORMAT, "models": facts, **{name: getattr(result, name) for name in _SAID}}
        with fresh_draft(self._folder / f".draft-{name}") as draft:
            for learner, model in result.models.items():
                weights = {key: value.detach().cpu() for key, value in model.network.state_dict().items()}
                save_tensors(weights, draft / f"{learner}.safetensors")
            (draft / "result.json").write_text(json.dumps(saved, sort_keys=True, allow_nan=False))
            publish_folder(draft, self._folder / name, {})


def _restored(architecture: Architecture, weights: dict[str, Tensor], facts: dict[str, Any]) -> TrainedModel:
    network = build(architecture)
    network.load_state_dict(weights)
    return TrainedModel(network, facts["epoch"], facts["steps"], facts["score"], facts["cached"])
