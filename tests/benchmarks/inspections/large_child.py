"""A process that may take 1.2 GB beside what it has after a small job: inspects a large dataset, and trains on it.

python -m tests.benchmarks.inspections.large_child KIND ROWS STEPS FOLDER prints what it found, as JSON; KIND is `jpegs`
or `arrays`. Figures are those with the environment of `tests/engine/jobs/datasets/test_more_than_memory.py`.
"""

import io
import json
import resource
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch

from app.contracts.resources.manifests import DatasetManifest
from app.contracts.wire.events import ProgressEvent
from app.contracts.wire.orders import DatasetInput, InspectionOutcome
from tests.benchmarks.inspections.test_decoding import photo
from tests.engine.data.formats.images.archives import encoded, manifest
from tests.engine.harness import DATASET, EngineHarness, StopAtStep, report_of
from tests.engine.jobs.inspection.uploads import ignore_event, inspection
from workers.engine.common.files import sha256_of
from workers.engine.run import execute

SIDE, BOUND, FEW, CHUNK = 32, 1_200_000_000, 300, 20_000
CLASSES = ("cat", "dog")
SPLITS = {"fractions": {"train": 0.98, "validation": 0.01, "test": 0.01}}


def jpegs(path: Path, rows: int) -> dict[str, Any]:
    """Parquet with a few hundred JPEGs again and again; returns what the manifest says of it."""
    few = [encoded(photo(seed, SIDE), "JPEG", quality=60) for seed in range(FEW)]
    kind = pa.schema({"image": pa.binary(), "label": pa.string()})
    with pa.parquet.ParquetWriter(path, kind, use_dictionary=False, compression="none") as file:
        for first in range(0, rows, CHUNK):
            numbers = range(first, min(first + CHUNK, rows))
            columns = [[few[i % FEW] for i in numbers], [CLASSES[i % 2] for i in numbers]]
            file.write_table(pa.table(columns, schema=kind))
    return {"format": "parquet", "inputs": {"image": {"kind": "image", "size": (SIDE, SIDE)}}}


def arrays(path: Path, rows: int) -> dict[str, Any]:
    """An npz file, not compressed, written array by array; returns what the manifest says of it."""
    draw = np.random.default_rng(0)
    chunk = draw.integers(0, 256, (CHUNK, 3, SIDE, SIDE), np.uint8)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("image.npy", "w", force_zip64=True) as file:
            head = {"descr": "|u1", "fortran_order": False, "shape": (rows, *chunk.shape[1:])}
            np.lib.format.write_array_header_2_0(file, head)
            for first in range(0, rows, CHUNK):
                file.write(np.roll(chunk, first, axis=-1)[: rows - first].tobytes())
        labels = io.BytesIO()
        np.save(labels, np.array(CLASSES)[np.arange(rows) % 2])
        archive.writestr("label.npy", labels.getvalue())
    return {"format": "npz", "inputs": {"image": {"kind": "array"}}}


MAKERS = {"jpegs": jpegs, "arrays": arrays}


def inspected(folder: Path, kind: str, rows: int) -> DatasetInput:
    """The dataset with the facts of an inspection."""
    path = folder / "upload"
    described: DatasetManifest = manifest(splits=SPLITS, **MAKERS[kind](path, rows))
    upload = DatasetInput(id=DATASET, manifest=described, path=str(path), sha256=sha256_of(path))
    outcome = execute(inspection(folder, upload), ignore_event, StopAtStep(1 << 60))
    assert isinstance(outcome, InspectionOutcome)
    assert outcome.rejection is None, outcome.rejection
    return upload.model_copy(update={"facts": outcome.dataset})


def trained(folder: Path, kind: str, rows: int, steps: int) -> dict[str, Any]:
    """What was found in a folder of its own."""
    folder.mkdir()
    harness = EngineHarness(folder)
    begun = time.monotonic()
    harness.data = inspected(folder, kind, rows)
    seconds = time.monotonic() - begun
    training = {"steps": steps, "batch_size": 256, "learning_rate": 0.01}
    student = {"family": "mlp", "hidden": [16]}
    spec = {"kind": "train", "target": "label", "model": student, "training": training, "exports": []}
    begun = time.monotonic()
    report = report_of(harness.run(spec))
    progress = [event for event in harness.log.events if isinstance(event, ProgressEvent)]
    speeds = [event.samples_per_second for event in progress if event.samples_per_second is not None]
    return {
        "seconds of the inspection": seconds,
        "seconds of the job": time.monotonic() - begun,
        "seconds of its phases": report.seconds,
        "rows a second, median": float(np.median(speeds)),
        "input_wait": progress[-1].input_wait,
        "upload": Path(harness.data.path).stat().st_size,
        "files of rows": sorted(path.stat().st_size for path in folder.glob("cache/images/*/images")),
        "accuracy": report.student.tasks["label"]["accuracy"],
    }


def _memory() -> dict[str, int]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return {name: int(each.split()[0]) * 1024 for name, each in (line.split(":") for line in lines) if "kB" in each}


def main() -> None:
    """Libraries are imported and their caches filled by a small job first."""
    kind, rows, steps, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    torch.set_num_threads(1)
    trained(folder / "small", kind, 400, 2)
    limit = _memory()["VmData"] + BOUND
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
    found = trained(folder / "large", kind, rows, steps)
    print(json.dumps({"rows": rows, "steps": steps, **found, "limit": limit, "peak of RSS": _memory()["VmHWM"]}))


if __name__ == "__main__":
    main()
