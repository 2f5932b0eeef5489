"""Runs of the engine on small files: datasets and models on disk, orders, events, weights."""

import atexit
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from app.contracts.reports.report import Report
from app.contracts.resolving.resolve import Resolution, resolve
from app.contracts.resources.facts import DatasetFacts, ModelFacts
from app.contracts.resources.manifests import DatasetManifest, ModelManifest
from app.contracts.resources.predictions import PredictionsManifest
from app.contracts.specs.jobs import JOB_SPEC, SubmittableJob
from app.contracts.wire.events import (
    CheckpointEvent,
    ChildEvent,
    MetricPoint,
    MetricsEvent,
    WarningEvent,
)
from app.contracts.wire.orders import DatasetInput, ModelInput, Order, PredictionsInput, TrainingOutcome
from tests.engine.plain_training import plain_manifest, plain_spec
from workers.engine.common.files import sha256_of
from workers.engine.common.stop import Stop, StopReason
from workers.engine.data.facts import facts_of
from workers.engine.data.reading import read_dataset
from workers.engine.jobs.inspection.family_models import inspect_family_model
from workers.engine.jobs.inspection.library_trunks import measured, measured_manifest
from workers.engine.jobs.inspection.predictions import inspect_predictions
from workers.engine.run import execute

DATASET = "ds_01890a5d-ac96-774b-bcce-b302099a8057"
OTHER = "ds_01890a5d-ac96-774b-bcce-b302099a8058"
PREDICTED = "ds_01890a5d-ac96-774b-bcce-b302099a8059"
TEACHER = "mdl_01890a5d-ac96-774b-bcce-b302099a8057"
SECOND = "mdl_01890a5d-ac96-774b-bcce-b302099a8058"
Arrays = dict[str, NDArray[Any]]
P = ParamSpec("P")
Input = TypeVar("Input", DatasetInput, ModelInput)


class StopAtStep:
    """Requests a stop once the engine has polled it a number of times (once a step, and before each phase)."""

    def __init__(self, polls: int, reason: StopReason = "drain") -> None:
        self._left = polls
        self._reason = reason

    def requested(self) -> StopReason | None:
        self._left -= 1
        return self._reason if self._left < 0 else None


@dataclass
class EventLog:
    """Every event of a run, and views of them."""

    events: list[ChildEvent] = field(default_factory=list)

    def emit(self, event: ChildEvent) -> None:
        self.events.append(event)

    @property
    def warnings(self) -> list[str]:
        return [event.code for event in self.events if isinstance(event, WarningEvent)]

    @property
    def checkpoints(self) -> list[CheckpointEvent]:
        return [event for event in self.events if isinstance(event, CheckpointEvent)]

    @property
    def points(self) -> list[MetricPoint]:
        return [point for event in self.events if isinstance(event, MetricsEvent) for point in event.points]

    def series(self, name: str) -> list[float | None]:
        return [point.value for point in self.points if point.series == name]


def blobs(rows: int = 240, classes: int = 3, features: int = 6, seed: int = 0) -> Arrays:
    """Points around one centre for each class, a value that depends on them, and which half-plane they are in."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(classes, features)) * 2.0
    labels = random.integers(0, classes, size=rows)
    x = (centres[labels] + random.normal(size=(rows, features))).astype(np.float32)
    return {
        "x": x,
        "label": labels,
        "side": (x[:, 0] > 0).astype(np.int64),
        "size": (x @ np.arange(1, features + 1) * 3.0 + 100.0).astype(np.float32),
    }


MANIFEST: dict[str, Any] = {
    "name": "blobs",
    "format": "npz",
    "inputs": {"x": {"kind": "array"}},
    "targets": {
        "label": {"kind": "class", "classes": 3},
        "side": {"kind": "class", "classes": 2},
        "size": {"kind": "value"},
    },
}
STUDENT: dict[str, Any] = {"family": "mlp", "hidden": [8]}


class EngineHarness:
    """Datasets and models below one folder; `run` runs a spec on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models: dict[str, ModelInput] = {}
        self.data: DatasetInput | None = None
        self.others: dict[str, DatasetInput] = {}
        self.predicted: dict[str, tuple[PredictionsInput, DatasetFacts]] = {}
        self.tokenizers: dict[str, str] = {}
        self.log = EventLog()

    def dataset(self, arrays: Arrays | None = None, **manifest: Any) -> DatasetInput:
        """Write and inspect the dataset that specs use unless they name others."""
        self.data = self._written(DATASET, arrays if arrays is not None else blobs(), manifest)
        return self.data

    def another(self, arrays: Arrays, identity: str = OTHER, **manifest: Any) -> DatasetInput:
        """Write and inspect a further dataset, for specs that name `datasets`."""
        self.others[identity] = self._written(identity, arrays, manifest)
        return self.others[identity]

    def file(self, path: Path, **manifest: Any) -> DatasetInput:
        """Inspect a file as the dataset that specs use unless they name others."""
        self.data = self.inspected(DATASET, path, manifest)
        return self.data

    def predictions(self, path: Path, identity: str = PREDICTED, **manifest: Any) -> DatasetFacts:
        """Inspect a file as predictions for rows of a dataset, the first unless `of` names another."""
        assert self.data is not None
        document = {"name": "elsewhere", "format": "predictions", "of": DATASET, "id": "id", **manifest}
        parsed = PredictionsManifest.model_validate_json(json.dumps(document))
        found = PredictionsInput(id=identity, manifest=parsed, path=str(path), sha256=sha256_of(path))
        facts = inspect_predictions(found, {DATASET: self.data, **self.others})
        self.predicted[identity] = (found, facts)
        return facts

    def _written(self, identity: str, arrays: Arrays, manifest: dict[str, Any]) -> DatasetInput:
        path = self.folder / ("data.npz" if identity == DATASET else f"{identity}.npz")
        np.savez(path, **arrays)  # type: ignore[arg-type]
        return self.inspected(identity, path, manifest)

    def inspected(self, identity: str, path: Path, manifest: dict[str, Any]) -> DatasetInput:
        """A file as a dataset of this id."""
        parsed = DatasetManifest.model_validate_json(json.dumps(plain_manifest(MANIFEST | manifest)))
        rows = read_dataset(path, parsed)
        facts = facts_of(rows, parsed)
        for content in rows.tokenizers.values():
            self.keep_tokenizer(content)
        return DatasetInput(id=identity, manifest=parsed, facts=facts, path=str(path), sha256=sha256_of(path))

    def keep_tokenizer(self, content: bytes) -> None:
        """A file of a tokenizer, for the models and datasets that name it."""
        sha256 = hashlib.sha256(content).hexdigest()
        path = self.folder / f"{sha256}.tokenizer.json"
        path.write_bytes(content)
        self.tokenizers[sha256] = str(path)

    def teacher(self, outcome: TrainingOutcome, attempt: Path, model: str = TEACHER) -> ModelInput:
        """Use a trained student as a teacher."""
        path = attempt / "outputs" / "student.safetensors"
        found = ModelInput(
            id=model,
            manifest=outcome.student_manifest,
            facts=outcome.student,
            path=str(path),
            sha256=sha256_of(path),
        )
        self.models[model] = found
        return found

    def uploaded(self, tensors: dict[str, torch.Tensor], manifest: dict[str, Any], model: str = TEACHER) -> ModelInput:
        """Use a model with these tensors as a teacher."""
        path = self.folder / f"{model}.safetensors"
        save_file(tensors, path)
        parsed = ModelManifest.model_validate_json(json.dumps({"name": "own", "format": "safetensors", **manifest}))
        facts = inspect_family_model(path, measured_manifest(parsed))
        found = ModelInput(id=model, manifest=parsed, facts=facts, path=str(path), sha256=sha256_of(path))
        self.models[model] = found
        return found

    def order(self, spec: dict[str, Any], job: str = "job", attempt: int = 1, **changes: Any) -> Order:
        """The order of a spec, resolved as the service resolves it."""
        assert self.data is not None
        datasets = {DATASET: self.data, **self.others}
        data = {} if "datasets" in spec else {"dataset": DATASET}
        parsed = JOB_SPEC.validate_json(json.dumps({**data, **plain_spec(spec)}))
        facts = {name: model.facts for name, model in self.models.items()}
        known = {name: each.facts for name, each in datasets.items()}
        known |= {name: each for name, (_, each) in self.predicted.items()}
        found = resolved(parsed, known, facts)
        assert not found.problems, found.problems
        made: dict[str, Any] = {
            "job": job,
            "attempt": attempt,
            "spec": found.spec,
            "models": self.models,
            "datasets": datasets,
            "predictions": {name: each for name, (each, _) in self.predicted.items()},
            "tokenizers": self.tokenizers,
            "warnings": found.warnings,
            "chosen": found.chosen,
            "device": "cpu",
            "threads": 1,
            "attempt_dir": str(self.folder / job / f"attempt-{attempt}"),
            "checkpoints_dir": str(self.folder / job / "checkpoints"),
            "cache_dir": str(self.folder / "cache"),
            "cache_bytes": 1 << 30,
            "checkpoint_seconds": 3600.0,
        }
        return Order(**{**made, **changes})

    def dry_run(self, spec: Mapping[str, Any], others: Sequence[str] = ()) -> Resolution:
        """The resolution of a spec for the dataset. `others`: names by which datasets of the same facts go."""
        assert self.data is not None
        parsed = JOB_SPEC.validate_json(json.dumps({"dataset": DATASET, **spec}))
        models = {name: each.facts for name, each in self.models.items()}
        return resolved(parsed, dict.fromkeys((DATASET, *others), self.data.facts), models)

    def run(
        self, spec: dict[str, Any], job: str = "job", attempt: int = 1, stop: Stop | None = None, **changes: Any
    ) -> TrainingOutcome:
        """Run a spec; its events go to a new `log`."""
        self.log = EventLog()
        order = self.order(spec, job, attempt, **changes)
        outcome = execute(order, self.log.emit, stop or StopAtStep(1 << 60))
        assert isinstance(outcome, TrainingOutcome)
        return outcome

    def copy_from(self, other: "EngineHarness") -> None:
        """Take copies of another harness's files, datasets and models."""
        shutil.copytree(other.folder, self.folder, dirs_exist_ok=True)

        def moved(each: Input) -> Input:
            return each.model_copy(update={"path": str(self.folder / Path(each.path).relative_to(other.folder))})

        self.data = moved(other.data) if other.data is not None else None
        self.others = {name: moved(each) for name, each in other.others.items()}
        self.models = {name: moved(each) for name, each in other.models.items()}

    def outputs(self, job: str = "job", attempt: int = 1) -> Path:
        """The folder with the files of a run."""
        return self.folder / job / f"attempt-{attempt}" / "outputs"

    def weights(self, job: str = "job", attempt: int = 1, role: str = "student") -> dict[str, torch.Tensor]:
        """The exported weights of a run."""
        return load_file(self.outputs(job, attempt) / f"{role}.safetensors")

    def digest(self, job: str = "job", attempt: int = 1, role: str = "student") -> str:
        """The SHA-256 of the exported weights."""
        return sha256_of(self.outputs(job, attempt) / f"{role}.safetensors")


def resolved(
    spec: SubmittableJob, datasets: Mapping[str, DatasetFacts | None], models: Mapping[str, ModelFacts | None]
) -> Resolution:
    """The resolution of a spec, with what a worker measures of the networks of libraries."""
    found = resolve(spec, datasets, models, threads=1)
    trunks = {each.trunk_digest(each.input_shape or ()): measured(each) for each in found.unmeasured}
    return resolve(spec, datasets, models, threads=1, trunks=trunks) if trunks else found


def report_of(outcome: TrainingOutcome) -> Report:
    """The outcome's report, parsed."""
    return Report.model_validate(outcome.report)


def made_once(
    make: Callable[Concatenate[EngineHarness, P], object],
) -> Callable[Concatenate[EngineHarness, P], EngineHarness]:
    """`make` adds datasets and trained teachers to an empty harness: done once in a process, and copied after that."""
    originals: dict[tuple[object, ...], EngineHarness] = {}

    @wraps(make)
    def copied(harness: EngineHarness, /, *arguments: P.args, **named: P.kwargs) -> EngineHarness:
        key = (*arguments, *named.items())
        if key not in originals:
            folder = Path(tempfile.mkdtemp(prefix="stillhouse-teachers-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            make(made := EngineHarness(folder), *arguments, **named)
            originals[key] = made
        harness.copy_from(originals[key])
        return harness

    return copied
