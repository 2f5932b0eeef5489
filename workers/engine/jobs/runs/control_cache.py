"""A cache of trained controls, by a digest of everything that they depend on: a job with the same student, data and
training settings loads its control instead of training it again.
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from app.contracts.wire.orders import TEMPORARY_PREFIX
from workers.engine.common.cache_folder import keep_newest
from workers.engine.common.files import commit_folder, mark_used, save_tensors, temporary_folder, verified_manifest
from workers.engine.evaluation.warnings.history import History

MAX_ENTRIES = 256
_NO_HISTORY = History()
_log = logging.getLogger("stillhouse.worker")


@dataclass(frozen=True)
class StoredControl:
    """The weights of a control, their epoch, the number of steps, and the validation score and loss."""

    weights: dict[str, Tensor]
    epoch: int
    steps: int
    score: float | None = None
    loss: float | None = None
    history: History = _NO_HISTORY
    """Its evaluations in training."""


class ControlCache:
    """A folder of entries, of which the most recently used `MAX_ENTRIES` are kept. Other processes may remove entries
    at any time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, key: str) -> StoredControl | None:
        """The entry of `key`; None if it is missing or damaged."""
        folder = self._folder / key
        manifest = verified_manifest(folder)
        if manifest is None:
            return None
        try:
            mark_used(folder)
            weights = load_file(folder / "weights.safetensors")
        except OSError:  # removed by another process meanwhile, or unreadable
            return None
        history = History.of(manifest.get("history"))
        facts = manifest["epoch"], manifest["steps"], manifest["score"], manifest.get("loss")
        return StoredControl(weights, *facts, history)

    def try_store(self, key: str, control: StoredControl) -> bool:
        """`store`, but a failure is only logged: the next job then trains its control. Returns whether it succeeded."""
        try:
            self.store(key, control)
        except OSError as error:
            _log.warning("the control %s could not be stored in %s: %s", key, self._folder, error)
            return False
        return True

    def store(self, key: str, control: StoredControl) -> None:
        """Store a trained control; the first of concurrent processes wins (all have the same bits). Raises OSError."""
        tensors = {name: value.detach().cpu() for name, value in control.weights.items()}
        facts = {name: getattr(control, name) for name in ("epoch", "steps", "score", "loss")}
        with temporary_folder(self._folder / f"{TEMPORARY_PREFIX}{key}-{os.getpid()}") as temporary:
            save_tensors(tensors, temporary / "weights.safetensors")
            facts["history"] = control.history.document()
            commit_folder(temporary, self._folder / key, facts)
        keep_newest(self._folder, MAX_ENTRIES)
