"""The data and the teacher of the accuracy table, in a folder that several processes share."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.contracts.wire.orders import ModelInput
from tests.benchmarks.accuracy.catalogue import FEW_LABELS, TEACHER_MODEL, TEACHER_TRAINING, Run
from tests.demo.digits import write_digits
from tests.engine.harness import TEACHER, EngineHarness, report_of

PLACE = "STILLHOUSE_ACCURACY_FOLDER"
DATASET: dict[str, Any] = {
    "inputs": {"x": {"kind": "array", "scale": 1 / 255, "standardize": True}},
    "targets": {"digit": {"kind": "class", "classes": 10}},
    "splits": {"column": "split"},
}
LABELLED = 400


class Workspace:
    """`created` once, `opened` by every process that trains."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.teacher_accuracy = 0.0
        self.teacher_parameters = 0

    @classmethod
    def created(cls, folder: Path) -> "Workspace":
        """Write the data, train the teacher."""
        workspace = cls(folder)
        write_digits(folder / "digits.npz")
        harness = workspace._harness("teacher", few=False)
        spec = {"kind": "train", "target": "digit", "model": TEACHER_MODEL, "training": TEACHER_TRAINING}
        outcome = harness.run(spec, "teacher")
        model = harness.teacher(outcome, harness.folder / "teacher" / "attempt-1")
        (folder / "teacher.json").write_text(model.model_dump_json(by_alias=True))
        party = report_of(outcome).student
        workspace.teacher_accuracy = party.tasks["digit"]["accuracy"] or 0.0
        workspace.teacher_parameters = party.parameters or 0
        os.environ[PLACE] = str(folder)
        return workspace

    @classmethod
    def opened(cls) -> "Workspace":
        """The one that this process's parent created."""
        return cls(Path(os.environ[PLACE]))

    def accuracy(self, run: Run) -> float:
        """Train, and measure on the test rows."""
        harness = self._harness(f"{os.getpid()}", few=run.student == FEW_LABELS)
        model = ModelInput.model_validate_json((self._folder / "teacher.json").read_text())
        harness.models[TEACHER] = model
        job = f"{run.student}-{run.method}-{run.seed}".replace(" ", "_").replace(",", "")
        outcome = harness.run(json.loads(run.spec_json), job, cache_dir=str(self._folder / "cache"))
        found = report_of(outcome).student.tasks["digit"]["accuracy"]
        assert found is not None
        return found

    def _harness(self, name: str, *, few: bool) -> EngineHarness:
        folder = self._folder / f"{name}-{'few' if few else 'all'}"
        folder.mkdir(exist_ok=True)
        harness = EngineHarness(folder)
        with np.load(self._folder / "digits.npz") as digits:
            x, digit = digits["x"].reshape(-1, 1, 28, 28), digits["digit"].copy()
        order = np.random.default_rng(7).permutation(len(x))
        split = np.full(len(x), "train", dtype="<U10")
        split[order[4000:4250]], split[order[4250:]] = "validation", "test"
        if few:
            digit[order[LABELLED:4000]] = -1
        harness.dataset({"x": x, "digit": digit, "split": split}, **DATASET)
        return harness


def scored(run: Run) -> tuple[Run, float]:
    """A run and its accuracy, in a process of its own, on one thread."""
    torch.set_num_threads(1)
    return run, Workspace.opened().accuracy(run)
