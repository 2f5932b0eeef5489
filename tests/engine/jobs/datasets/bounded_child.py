"""A process that may take few bytes beside what it has after a small job: inspects many images, and trains on them.

python -m tests.engine.jobs.datasets.bounded_child FOLDER prints what it found, as JSON.
"""

import json
import resource
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import torch

from app.contracts.resources.manifests import DatasetManifest
from app.contracts.wire.orders import DatasetInput, InspectionOutcome
from tests.engine.data.formats.images.archives import encoded, manifest, noise
from tests.engine.harness import DATASET, EngineHarness, StopAtStep, report_of
from tests.engine.jobs.inspection.uploads import ignore_event, inspection
from workers.engine.common.files import sha256_of
from workers.engine.data.reading import read_dataset
from workers.engine.run import execute

SIDE, ROWS = 32, 44_000
PIXELS = ROWS * SIDE * SIDE * 3
BOUND = 64 << 20
CLASSES = ("cat", "dog")


def described() -> DatasetManifest:
    splits = {"fractions": {"train": 0.94, "validation": 0.03, "test": 0.03}}
    return manifest(format="parquet", inputs={"image": {"kind": "image", "size": (SIDE, SIDE)}}, splits=splits)


def written(path: Path, rows: int) -> Path:
    """A few images again and again."""
    few = [encoded(noise(8, 8, seed=i)) for i in range(16)]
    columns = {"image": [few[i % 16] for i in range(rows)], "label": [CLASSES[i % 2] for i in range(rows)]}
    pa.parquet.write_table(pa.table(columns), path)
    return path


def inspected(folder: Path, rows: int) -> DatasetInput:
    """The dataset with the facts of an inspection."""
    path = written(folder / "images.parquet", rows)
    upload = DatasetInput(id=DATASET, manifest=described(), path=str(path), sha256=sha256_of(path))
    outcome = execute(inspection(folder, upload), ignore_event, StopAtStep(1 << 60))
    assert isinstance(outcome, InspectionOutcome)
    assert outcome.rejection is None, outcome.rejection
    return upload.model_copy(update={"facts": outcome.dataset})


def trained(folder: Path, rows: int) -> tuple[EngineHarness, float | None]:
    """(a harness with the dataset, the student's accuracy)."""
    folder.mkdir()
    harness = EngineHarness(folder)
    harness.data = inspected(folder, rows)
    training = {"epochs": 1, "batch_size": 512, "learning_rate": 0.01}
    student = {"family": "mlp", "hidden": [4]}
    spec = {"kind": "train", "target": "label", "model": student, "training": training, "exports": []}
    return harness, report_of(harness.run(spec)).student.tasks["label"]["accuracy"]


def main() -> None:
    """Libraries are imported and their caches filled by a small job first."""
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    trained(folder / "small", 400)
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    limit = int(status["VmData"].split()[0]) * 1024 + BOUND
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
    harness, accuracy = trained(folder / "large", ROWS)
    assert harness.data is not None
    try:
        read_dataset(Path(harness.data.path), harness.data.manifest)
        fits = True
    except MemoryError:
        fits = False
    print(json.dumps({"accuracy": accuracy, "fits in memory": fits}))


if __name__ == "__main__":
    main()
