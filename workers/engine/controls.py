"""Trained controls, kept by the digest of everything that they depend on: the next job with the same student,
data and training finds its control instead of training it again.
"""

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from workers.engine.files import fresh_draft, publish_folder, save_tensors, whole_folder

MOST_ENTRIES = 256
DRAFT_SECONDS = 3600.0
"""A draft that is older is a dead process's: writing one takes far less than a second."""


@dataclass(frozen=True)
class FoundControl:
    """The weights of a control, the epoch that they are from, the steps that it took, its score in validation."""

    weights: dict[str, Tensor]
    epoch: int
    steps: int
    score: float | None = None


class ControlCache:
    """A folder of published entries. Entries are small; the oldest beyond `MOST_ENTRIES` are dropped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def find(self, key: str) -> FoundControl | None:
        """The entry of `key`, whole, or None."""
        place = self._folder / key
        manifest = whole_folder(place)
        if manifest is None:
            return None
        os.utime(place)
        return FoundControl(
            load_file(place / "weights.safetensors"), manifest["epoch"], manifest["steps"], manifest["score"]
        )

    def keep(self, key: str, weights: dict[str, Tensor], epoch: int, steps: int, score: float | None = None) -> None:
        """Publish a trained control under `key`; the first of several racers wins, all having the same bits."""
        with fresh_draft(self._folder / f".draft-{key}-{os.getpid()}") as draft:
            save_tensors({name: value.detach().cpu() for name, value in weights.items()}, draft / "weights.safetensors")
            publish_folder(draft, self._folder / key, {"epoch": epoch, "steps": steps, "score": score})
        self._evict()

    def _evict(self) -> None:
        now = self._folder.stat().st_mtime  # just changed, by the clock that drafts have; a process's may be wrong
        for draft in self._folder.glob(".draft-*"):
            with suppress(FileNotFoundError):
                if now - draft.stat().st_mtime > DRAFT_SECONDS:
                    shutil.rmtree(draft, ignore_errors=True)
        entries = [path for path in self._folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
        entries.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for old in entries[MOST_ENTRIES:]:
            shutil.rmtree(old, ignore_errors=True)
