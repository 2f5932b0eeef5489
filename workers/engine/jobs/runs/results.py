"""What the training of a stage ended with, and how it is kept for the attempts that come after."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from app.contracts.specs.architectures import Architecture
from workers.engine.common.files import fresh_draft, publish_folder, save_tensors, whole_folder
from workers.engine.models import Network, build

if TYPE_CHECKING:
    from workers.engine.jobs.runs.runner import Stage


@dataclass(frozen=True)
class Settled:
    """A member whose training is over, with the weights that count; `score` is its best on the validation rows."""

    network: Network
    epoch: int
    steps: int
    score: float | None
    cached: bool = False


@dataclass(frozen=True)
class StageResult:
    """The members of a stage by name, and what is said of the run."""

    members: dict[str, Settled]
    bit_exact: bool = True
    seconds: float = 0.0
    precision: str = "float32"
    measured: dict[str, Any] | None = None
    """What the student's observer saw of its tasks, as JSON."""
    footing: dict[str, Any] = field(default_factory=dict)
    """On what it was trained."""


class FinishedStages:
    """What the stages of a job ended with, by name: whole folders beside the checkpoints."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._folder = folder
        self._device = device

    def find(self, stage: "Stage") -> StageResult | None:
        """The result of a stage that an earlier attempt finished."""
        place = self._folder / stage.name
        manifest = whole_folder(place)
        if manifest is None:
            return None
        told = json.loads((place / "result.json").read_text())
        members = {
            name: _restored(stage.course.architecture_of(name), load_file(place / f"{name}.safetensors"), facts)
            for name, facts in told["members"].items()
        }
        for settled in members.values():
            settled.network.to(self._device)
        footing = told.get("footing", {})  # an older version did not say
        return StageResult(members, told["bit_exact"], told["seconds"], told["precision"], told["measured"], footing)

    def keep(self, name: str, result: StageResult) -> None:
        """Write a stage's result down, whole or not at all."""
        facts = {
            member: {"epoch": each.epoch, "steps": each.steps, "score": each.score, "cached": each.cached}
            for member, each in result.members.items()
        }
        told = {
            "members": facts,
            "bit_exact": result.bit_exact,
            "seconds": result.seconds,
            "precision": result.precision,
            "measured": result.measured,
            "footing": result.footing,
        }
        with fresh_draft(self._folder / f".draft-{name}") as draft:
            for member, settled in result.members.items():
                weights = {key: value.detach().cpu() for key, value in settled.network.state_dict().items()}
                save_tensors(weights, draft / f"{member}.safetensors")
            (draft / "result.json").write_text(json.dumps(told, sort_keys=True, allow_nan=False))
            publish_folder(draft, self._folder / name, {})


def _restored(architecture: Architecture, weights: dict[str, Tensor], facts: dict[str, Any]) -> Settled:
    network = build(architecture)
    network.load_state_dict(weights)
    return Settled(network, facts["epoch"], facts["steps"], facts["score"], facts["cached"])
