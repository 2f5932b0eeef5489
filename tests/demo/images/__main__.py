"""Photos in the open: a teacher of timm, a student at least five times smaller, control, verdict, and back in timm."""

import json
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from app.contracts.reports.document.text import render
from tests.demo.console import conclude, heading, say, student_verdicts
from tests.demo.images.photos import CLASSES, COUNTS, LABELLED, write_photos
from tests.demo.images.teacher import NAME, SIDE
from tests.demo.programs import program
from tests.demo.service import Curl, Service

TARGET: dict[str, Any] = {"kind": "class", "classes": list(CLASSES)}
DATASET: dict[str, Any] = {
    "name": "photos",
    "format": "images",
    "inputs": {"image": {"kind": "image", "size": [SIDE, SIDE]}},
    "targets": {"label": TARGET, "few": TARGET},
    "splits": {"column": "split"},
}
TEACHER: dict[str, Any] = {
    "name": "teacher",
    "format": "safetensors",
    "architecture": {
        "family": "timm",
        "name": NAME,
        "input_shape": [3, SIDE, SIDE],
        "outputs": {"label": len(CLASSES)},
    },
    "inputs": {"image": {"scale": 1 / 255}},
    "outputs": {"label": TARGET},
}
STUDENT: dict[str, Any] = {
    "kind": "distill",
    "name": "student",
    "target": "few",
    "student": {"family": "timm", "name": "test_efficientnet"},
    "training": {
        "steps": 120,
        "batch_size": 32,
        "learning_rate": 0.004,
        "schedule": "one_cycle",
        "evaluate_every": 4,
        "threads": 1,
    },
    "repeats": 3,
}
LEAST_SMALLER = 5.0
MOST_DIFFERENCE = 1e-4
COMPARED = 40
"""Test images of each class for which the answers of timm and of the service are compared."""


def taught(curl: Curl, work: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The photos and the teacher, uploaded; returns dataset and model."""
    train, few = len(CLASSES) * COUNTS["train"], len(CLASSES) * LABELLED
    heading(f"1. The data: parts of three photos as JPEGs of mixed sizes, labels for {few} of {train} training images")
    write_photos(work / "photos.zip")
    dataset = curl.upload("datasets", DATASET, work / "photos.zip")
    say(f"  {dataset['rows']} images, splits {dataset['splits']}")
    heading(f"2. The teacher: {NAME}, trained by timm alone, with all labels")
    program(work, "-m", "tests.demo.images.teacher", work / "photos.zip", work / "teacher.safetensors")
    model = curl.upload("models", TEACHER, work / "teacher.safetensors")
    say(f"  {model['parameters']:,} parameters, {model['state']}")
    return dataset, model


def distilled(curl: Curl, dataset: dict[str, Any], teacher: dict[str, Any]) -> dict[str, Any]:
    """The student's job."""
    heading(f"3. The students: {STUDENT['student']['name']}, distilled, beside controls that have no teacher")
    spec = {**STUDENT, "dataset": dataset["id"], "teachers": [{"model": teacher["id"], "output": "label"}]}
    return curl.follow(curl.submit(spec))


def reload_in_timm(curl: Curl, url: str, student: str, work: Path) -> dict[str, Any]:
    """Download the bundle, and compare timm's answers for test images with those of the service."""
    heading("4. The bundle, loaded by timm, and the service's answers for the same image files")
    curl("-o", str(work / "bundle.zip"), f"{url}/v1/models/{student}/bundle?wait=60")
    with zipfile.ZipFile(work / "bundle.zip") as archive:
        archive.extractall(work / "bundle")
    folder, tar = work / "test", work / "test.tar"
    with zipfile.ZipFile(work / "photos.zip") as archive, tarfile.open(tar, "w") as packed:
        for name in (f"{each}/{i:03}.jpg" for each in CLASSES for i in range(COMPARED)):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(f"test/{name}"))
            packed.add(path, name)
    body = ("-H", "Content-Type: application/x-tar", "--data-binary", f"@{tar}")
    (work / "answers.json").write_bytes(curl(*body, f"{url}/v1/models/{student}/predict"))
    program(work, work / "bundle" / "images.py", work / "rows.npz", folder)
    files = work / "bundle" / "timm", work / "rows.npz", work / "answers.json"
    found: dict[str, Any] = json.loads(program(work, "-m", "tests.demo.images.reload", *files))
    return found


def verdicts(report: dict[str, Any], reloaded: dict[str, Any]) -> list[tuple[str, bool]]:
    """What the demo promises, each with whether it held."""
    return [
        *student_verdicts(report, LEAST_SMALLER),
        (
            f"timm gives the service's class for {reloaded['agreeing']} of {reloaded['rows']} images; the largest "
            f"difference of a probability is {reloaded['largest_difference']:.1e}",
            reloaded["agreeing"] == reloaded["rows"] and reloaded["largest_difference"] <= MOST_DIFFERENCE,
        ),
    ]


def main() -> int:
    """Run the demo; 0 if everything that it promises held."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="stillhouse-demo-") as name:
        work = Path(name)
        with Service(work / "data") as service:
            say(f"stillhouse serve, SQLite and local disk, one worker: {service.url}")
            say(f"KEY=$(cat {service.data}/admin.key)")
            curl = Curl(service)
            job = distilled(curl, *taught(curl, work))
            reloaded = reload_in_timm(curl, service.url, job["student"], work)
            heading("5. The report")
            report = curl.json(f"{service.url}/v1/jobs/{job['id']}/report")
        say(render(report))
        held = verdicts(report, reloaded)
    heading(f"Done in {time.monotonic() - started:.0f} s")
    return conclude(held)


if __name__ == "__main__":
    raise SystemExit(main())
