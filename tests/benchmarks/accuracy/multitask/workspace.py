"""The data and the teachers of the multi-task table, in a folder that several processes share."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from app.contracts.reports.report import Report
from app.contracts.wire.orders import ModelInput
from tests.benchmarks.accuracy.multitask.catalogue import FEW_LABELS, TEACHER_MODEL, TEACHER_TRAINING, TEACHERS, Run
from tests.benchmarks.accuracy.multitask.composer import composites, few_labels
from tests.engine.harness import EngineHarness, report_of

PLACE = "STILLHOUSE_MULTITASK_FOLDER"
DATASET: dict[str, Any] = {
    "inputs": {"x": {"kind": "array", "scale": 1 / 255, "standardize": True}},
    "targets": {name: {"kind": "class", "classes": 10} for name in TEACHERS},
    "splits": {"column": "split"},
}


@dataclass(frozen=True)
class TeacherFacts:
    """A teacher on the test rows."""

    task: str
    accuracy: float
    parameters: int


class Workspace:
    """`created` once, `opened` by every process that trains."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.teachers: list[TeacherFacts] = []

    @classmethod
    def created(cls, folder: Path, *, teachers: bool) -> "Workspace":
        """Train the teachers where they are needed, each on all labels of its task."""
        workspace = cls(folder)
        os.environ[PLACE] = str(folder)
        for task in TEACHERS if teachers else ():
            workspace._train_teacher(task)
        return workspace

    @classmethod
    def opened(cls) -> "Workspace":
        """The one that this process's parent created."""
        return cls(Path(os.environ[PLACE]))

    def _train_teacher(self, task: str) -> None:
        harness = self._harness("teachers", few=False)
        spec = {"kind": "train", "target": task, "model": TEACHER_MODEL, "training": TEACHER_TRAINING}
        outcome = harness.run(spec, task)
        model = harness.teacher(outcome, harness.folder / task / "attempt-1", TEACHERS[task])
        (self._folder / f"{task}.json").write_text(model.model_dump_json(by_alias=True))
        party = report_of(outcome).student
        self.teachers.append(TeacherFacts(task, party.tasks[task]["accuracy"] or 0.0, party.parameters or 0))

    def report(self, run: Run) -> Report:
        """Train; baselines lie in a cache that all runs share."""
        harness = self._harness(f"{os.getpid()}", few=run.section == FEW_LABELS)
        for task, model in TEACHERS.items():
            place = self._folder / f"{task}.json"
            if place.exists():
                harness.models[model] = ModelInput.model_validate_json(place.read_text())
        job = "-".join([run.section, run.method, str(run.seed)]).replace(" ", "_").replace(",", "")
        return report_of(harness.run(json.loads(run.spec_json), job, cache_dir=str(self._folder / "cache")))

    def _harness(self, name: str, *, few: bool) -> EngineHarness:
        folder = self._folder / f"{name}-{'few' if few else 'all'}"
        folder.mkdir(exist_ok=True)
        harness = EngineHarness(folder)
        arrays = composites()
        harness.dataset(few_labels(arrays) if few else arrays, **DATASET)
        return harness


def reported(run: Run) -> tuple[Run, Report]:
    """A run and its report, in a process of its own, on one thread."""
    torch.set_num_threads(1)
    return run, Workspace.opened().report(run)
