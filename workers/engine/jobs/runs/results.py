"""Results of runs, stored for later attempts of the job."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from app.contracts.specs.architectures import Architecture
from app.contracts.wire.orders import TEMPORARY_PREFIX
from workers.engine.common.files import commit_folder, save_tensors, temporary_folder, verified_manifest
from workers.engine.evaluation.relation_report import RelationMeasurements
from workers.engine.evaluation.warnings.history import History
from workers.engine.jobs.runs.run import Run
from workers.engine.models import Network, build

FORMAT = 2
"""Version of `result.json`; runs with a result of another version are trained again."""
_FACTS = ("bit_exact", "seconds", "precision", "measured", "environment")


@dataclass(frozen=True)
class TrainedModel:
    """A trained network with its selected weights; `epoch` is theirs, `score` their validation score."""

    network: Network
    epoch: int
    steps: int
    score: float | None
    cached: bool = False
    history: History = field(default_factory=History)
    """Its evaluations in training."""


@dataclass(frozen=True)
class RunResult:
    """The trained models of a run by learner, and facts of the run."""

    models: dict[str, TrainedModel]
    bit_exact: bool = True
    seconds: float = 0.0
    precision: str = "float32"
    measured: RelationMeasurements | None = None
    """Measurements of the student's task gradients, as JSON."""
    environment: dict[str, Any] = field(default_factory=dict)
    """The fingerprint of the environment in which it was trained."""


class FinishedRuns:
    """The results of the runs of a job, by name, in a folder beside the checkpoints."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._folder = folder
        self._device = device

    def find(self, run: Run) -> RunResult | None:
        """The result of a run that an earlier attempt finished; None if it is missing, damaged or of another format."""
        folder = self._folder / run.name
        if verified_manifest(folder) is None:
            return None
        document = json.loads((folder / "result.json").read_text())
        if document.get("format") != FORMAT:
            return None
        models = {
            name: _restored(run.run_spec.architecture_of(name), load_file(folder / f"{name}.safetensors"), facts)
            for name, facts in document["models"].items()
        }
        for model in models.values():
            model.network.to(self._device)
        return RunResult(models, **{name: document[name] for name in _FACTS})

    def save(self, name: str, result: RunResult) -> None:
        """Write the result of a run, atomically."""
        models = {
            learner: {
                "epoch": each.epoch,
                "steps": each.steps,
                "score": each.score,
                "cached": each.cached,
                "history": each.history.document(),
            }
            for learner, each in result.models.items()
        }
        document = {"format": FORMAT, "models": models, **{name: getattr(result, name) for name in _FACTS}}
        with temporary_folder(self._folder / f"{TEMPORARY_PREFIX}{name}") as temporary:
            for learner, model in result.models.items():
                weights = {key: value.detach().cpu() for key, value in model.network.state_dict().items()}
                save_tensors(weights, temporary / f"{learner}.safetensors")
            (temporary / "result.json").write_text(json.dumps(document, sort_keys=True, allow_nan=False))
            commit_folder(temporary, self._folder / name, {})


def _restored(architecture: Architecture, weights: dict[str, Tensor], facts: dict[str, Any]) -> TrainedModel:
    network = build(architecture)
    network.load_state_dict(weights)
    history = History.of(facts.get("history"))
    return TrainedModel(network, facts["epoch"], facts["steps"], facts["score"], facts["cached"], history)
