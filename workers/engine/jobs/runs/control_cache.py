"""Trained controls, kept by the digest of everything that they depend on: the next job with the same student,
data and training finds its control instead of training it again.
"""

import logging
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from workers.engine.common.files import fresh_draft, publish_folder, save_tensors, whole_folder

MOST_ENTRIES = 256
DRAFT_SECONDS = 3600.0
"""A draft that is older is a dead process's: writing one takes far less than a second."""
_log = logging.getLogger("stillhouse.worker")


@dataclass(frozen=True)
class FoundControl:
    """The weights of a control, the epoch that they are from, the steps that it took, its score in validation."""

    weights: dict[str, Tensor]
    epoch: int
    steps: int
    score: float | None = None


class ControlCache:
    """A folder of published entries. Entries are small; the oldest beyond `MOST_ENTRIES` are dropped, by any process at
    any time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, key: str) -> FoundControl | None:
        """The entry of `key`, whole, or None."""
        place = self._folder / key
        manifest = whole_folder(place)
        if manifest is None:
            return None
        try:
            os.utime(place)
            weights = load_file(place / "weights.safetensors")
        except OSError:  # dropped since by another process, or unreadable
            return None
        return FoundControl(weights, manifest["epoch"], manifest["steps"], manifest["score"])

    def keep(self, key: str, weights: dict[str, Tensor], epoch: int, steps: int, score: float | None = None) -> bool:
        """`publish` where nothing depends on it: False where the disk refuses, which is said in the log and costs but
        the next job's time.
        """
        try:
            self.publish(key, weights, epoch, steps, score)
        except OSError as error:
            _log.warning("the control %s is not kept in %s: %s", key, self._folder, error)
            return False
        return True

    def publish(self, key: str, weights: dict[str, Tensor], epoch: int, steps: int, score: float | None = None) -> None:
        """Put a trained control under `key`; the first of several racers wins, all having the same bits. Raises
        OSError.
        """
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
        entries = []
        for path in self._folder.glob("[!.]*"):
            with suppress(FileNotFoundError):
                entries.append((path.stat().st_mtime, path))
        for _, old in sorted(entries, reverse=True)[MOST_ENTRIES:]:
            shutil.rmtree(old, ignore_errors=True)
