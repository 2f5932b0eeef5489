"""Checkpoints: atomic, taken between optimizer steps, with everything that the next step depends on.

    <checkpoints>/step-00000123-a2/
        tensors.safetensors   networks with buffers, optimizers, best weights, balancers, recorders
        state.json            counters, scores, training time, environment
        manifest.json         format, step, sizes and digests, written last

Random numbers (see `common/seeds.py`), the order of rows and the learning rate have no state. Every checkpoint contains
the best weights so far.
"""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from safetensors.torch import load_file
from torch import Tensor

from app.contracts.wire.orders import TEMPORARY_PREFIX
from workers.engine.common.files import commit_folder, save_tensors, temporary_folder, verified_manifest

FORMAT = 2
"""Version of the tensors and the state. Checkpoints of another version are not loaded."""
KEPT = 2
"""Number of checkpoints that are kept."""
_NAME = re.compile(r"^step-(\d{8,})-a(\d+)$")


class RunFacts(TypedDict, total=False):
    """Facts of a run in every checkpoint."""

    environment: dict[str, Any]
    """The fingerprint of the environment in which it was trained."""
    bit_exact: bool
    """Whether its state is that of an uninterrupted run, bit by bit."""
    micro_batch_size: int | None


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint: tensors by name (on the host) and JSON state."""

    name: str
    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


def _order(path: Path) -> tuple[int, int]:
    match = _NAME.match(path.name)
    return (int(match[1]), int(match[2])) if match else (-1, -1)


class CheckpointFolder:
    """The checkpoints of a run, shared by all attempts of its job; the two newest are kept.

    Checkpoints that are damaged or of another format are removed by `load`: else they would be kept in place of usable
    ones.
    """

    def __init__(self, folder: Path, attempt: int) -> None:
        self._folder = folder
        self._attempt = attempt
        self.unusable = 0
        """Number of checkpoints that `load` removed as damaged or of another format."""
        folder.mkdir(parents=True, exist_ok=True)

    def _newest_first(self) -> list[Path]:
        named = [path for path in self._folder.iterdir() if _NAME.match(path.name)]
        return sorted(named, key=_order, reverse=True)

    def save(self, step: int, tensors: dict[str, Tensor], state: str) -> tuple[str, str]:
        """Write a checkpoint (host tensors, state as JSON), then remove old ones; returns (name, SHA-256 of its
        manifest).

        Raises OSError; older checkpoints are then unchanged.
        """
        name = f"step-{step:08d}-a{self._attempt}"
        facts = {"format": FORMAT, "step": step, "attempt": self._attempt}
        with temporary_folder(self._folder / f"{TEMPORARY_PREFIX}{name}") as temporary:
            save_tensors(tensors, temporary / "tensors.safetensors")
            (temporary / "state.json").write_text(state)
            digest = commit_folder(temporary, self._folder / name, facts)
        for old in self._newest_first()[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
        return name, digest

    def clear(self) -> None:
        """Remove all checkpoints."""
        for path in self._newest_first():
            shutil.rmtree(path, ignore_errors=True)

    def load(self) -> Checkpoint | None:
        """The newest usable checkpoint, or None. Removes stale temporary folders and unusable checkpoints."""
        for stale in self._folder.glob(f"{TEMPORARY_PREFIX}step-*"):
            shutil.rmtree(stale, ignore_errors=True)
        for path in self._newest_first():
            manifest = verified_manifest(path)
            if manifest is not None and manifest.get("format") == FORMAT:
                state: dict[str, Any] = json.loads((path / "state.json").read_text())
                return Checkpoint(path.name, int(manifest["step"]), load_file(path / "tensors.safetensors"), state)
            shutil.rmtree(path, ignore_errors=True)
            self.unusable += 1
        return None
