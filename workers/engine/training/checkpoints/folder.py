"""Checkpoints: whole or absent, taken at optimiser steps only, everything that the next step depends on.

    <checkpoints>/step-00000123-a2/
        tensors.safetensors   networks with buffers, optimisers, best weights, balancers, recorders
        state.json            counters, scores, phase times, what it was made on
        manifest.json         sizes and digests, written last

Randomness has no state to save (see randomness.py), nor has the order of rows, nor the learning rate. The best weights
so far lie in every checkpoint: keeping the two newest keeps the best.
"""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from workers.engine.common.files import fresh_draft, publish_folder, save_tensors, whole_folder

KEEP = 2
_NAME = re.compile(r"^step-(\d{8,})-a(\d+)$")
_DRAFT = ".draft-"


@dataclass(frozen=True)
class Checkpoint:
    """What was saved: tensors by name (on the host) and JSON-able state."""

    name: str
    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


def _order(path: Path) -> tuple[int, int]:
    found = _NAME.match(path.name)
    return (int(found[1]), int(found[2])) if found else (-1, -1)


class CheckpointFolder:
    """A job's checkpoints, shared by its attempts. The newest whole one is loaded; the two newest are kept, and
    damaged ones are dropped when they are found: they would take the places of good ones.
    """

    def __init__(self, folder: Path, attempt: int) -> None:
        self._folder = folder
        self._attempt = attempt
        self.damaged = 0
        """How many `load` found damaged, and dropped."""
        folder.mkdir(parents=True, exist_ok=True)

    def _newest_first(self) -> list[Path]:
        named = [path for path in self._folder.iterdir() if _NAME.match(path.name)]
        return sorted(named, key=_order, reverse=True)

    def save(self, step: int, tensors: dict[str, Tensor], state: str) -> tuple[str, str]:
        """Write a checkpoint (host tensors, state as JSON), then drop old ones; (name, SHA-256 of its manifest).

        Raises OSError; then it is absent, and the older ones are as they were.
        """
        name = f"step-{step:08d}-a{self._attempt}"
        with fresh_draft(self._folder / f"{_DRAFT}{name}") as draft:
            save_tensors(tensors, draft / "tensors.safetensors")
            (draft / "state.json").write_text(state)
            digest = publish_folder(draft, self._folder / name, {"step": step, "attempt": self._attempt})
        for old in self._newest_first()[KEEP:]:
            shutil.rmtree(old, ignore_errors=True)
        return name, digest

    def clear(self) -> None:
        """Drop everything: it is of no use, and would take the places of what comes."""
        for path in self._newest_first():
            shutil.rmtree(path, ignore_errors=True)

    def load(self) -> Checkpoint | None:
        """The newest checkpoint whose digests hold, or None. Drafts of dead attempts are dropped."""
        for draft in self._folder.glob(f"{_DRAFT}step-*"):
            shutil.rmtree(draft, ignore_errors=True)
        for path in self._newest_first():
            manifest = whole_folder(path)
            if manifest is not None:
                state: dict[str, Any] = json.loads((path / "state.json").read_text())
                return Checkpoint(path.name, int(manifest["step"]), load_file(path / "tensors.safetensors"), state)
            shutil.rmtree(path, ignore_errors=True)
            self.damaged += 1
        return None
