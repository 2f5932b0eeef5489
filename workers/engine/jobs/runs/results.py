"""Results of runs, stored for later attempts of the job."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from app.contracts.specs.architectures import Architecture
from app.contracts.wire.orders import TEMPORARY_PREFIX
from workers.engine.common.files import commit_folder, save_tensors, temporary_folder, verified_manifest
from workers.engine.evaluation.parties import BLOCK
from workers.engine.evaluation.relation_report import RelationMeasurements
from workers.engine.evaluation.warnings.history import History
from workers.engine.jobs.runs.run import Run
from workers.engine.models import Network, build
from workers.engine.training.batches import BatchSchedule

FORMAT = 2
"""Version of `result.json`; runs with a result of another version are trained again."""
_OF_MODEL = ("epoch", "steps", "score", "loss", "cached")
_RANGES = "input ranges/"
"""Prefix of the names of ranges beside those of weights, which have no spaces."""
_FACTS = ("bit_exact", "seconds", "precision", "measured", "environment")


@dataclass(frozen=True)
class TrainedModel:
    """A trained network with its selected weights; `epoch` is theirs, `score` and `loss` those of validation."""

    network: Network
    epoch: int
    steps: int
    score: float | None
    loss: float | None = None
    cached: bool = False
    history: History = field(default_factory=History)
    """Its evaluations in training."""
    input_ranges: Mapping[str, Tensor] = field(default_factory=dict)
    """The ranges [2] of its layers' inputs by layer, with which it was trained; empty where it was not quantized."""


def best_by_validation(models: Sequence[TrainedModel]) -> int:
    """The index of the model of highest score, of equal ones that of the lowest loss; 0 where none has a score."""
    if not models:
        return 0

    def rank(i: int) -> tuple[float, float]:
        score, loss = models[i].score, models[i].loss
        return (-inf if score is None else score, -inf if loss is None else -loss)

    return max(range(len(models)), key=rank)


def measured_rows(schedule: BatchSchedule) -> Tensor:
    """At most BLOCK of the training rows, evenly spaced, for the losses after the last step."""
    rows = schedule.rows
    return rows if len(rows) <= BLOCK else rows[torch.arange(BLOCK) * len(rows) // BLOCK]


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
            learner: {name: getattr(each, name) for name in _OF_MODEL} | {"history": each.history.document()}
            for learner, each in result.models.items()
        }
        document = {"format": FORMAT, "models": models, **{name: getattr(result, name) for name in _FACTS}}
        with temporary_folder(self._folder / f"{TEMPORARY_PREFIX}{name}") as temporary:
            for learner, model in result.models.items():
                weights = {key: value.detach().cpu() for key, value in model.network.state_dict().items()}
                weights |= {f"{_RANGES}{name}": limits for name, limits in model.input_ranges.items()}
                save_tensors(weights, temporary / f"{learner}.safetensors")
            (temporary / "result.json").write_text(json.dumps(document, sort_keys=True, allow_nan=False))
            commit_folder(temporary, self._folder / name, {})


def _restored(architecture: Architecture, weights: dict[str, Tensor], facts: dict[str, Any]) -> TrainedModel:
    network = build(architecture)
    ranges = {name: value for name, value in weights.items() if name.startswith(_RANGES)}
    network.load_state_dict({name: value for name, value in weights.items() if name not in ranges})
    known: dict[str, Any] = {name: facts[name] for name in _OF_MODEL if name in facts}
    ranges = {name.removeprefix(_RANGES): limits for name, limits in ranges.items()}
    return TrainedModel(network, **known, history=History.of(facts.get("history")), input_ranges=ranges)
