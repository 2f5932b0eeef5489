"""Spoken digits: a teacher with all labels, a student at least ten times smaller with five a digit, control, verdict.

    python -m tests.demo.sounds [--tones]

`--tones`: pairs of tones instead of speech, and fewer of them.
"""

import json
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from app.contracts.reports.document.text import render
from tests.demo.console import conclude, heading, say, student_verdicts
from tests.demo.service import Curl, Service
from tests.demo.sounds.speech import DIGITS, LABELLED, by_espeak, by_tones, check_espeak, write_speech

TARGET: dict[str, Any] = {"kind": "class", "classes": list(DIGITS)}
DATASET: dict[str, Any] = {
    "name": "spoken digits",
    "format": "sounds",
    "inputs": {"audio": {"kind": "audio", "seconds": 0.8, "features": {"mels": 40, "hop": 0.02}}},
    "targets": {"digit": TARGET, "few": TARGET},
    "splits": {"column": "split"},
}
TEACHER: dict[str, Any] = {
    "kind": "train",
    "name": "teacher",
    "target": "digit",
    "model": {"family": "convnet", "channels": [16, 32, 64]},
    "training": {"steps": 150, "batch_size": 64, "learning_rate": 0.004, "schedule": "one_cycle", "threads": 1},
}
STUDENT: dict[str, Any] = {
    "kind": "distill",
    "name": "student",
    "target": "few",
    "student": {"family": "convnet", "channels": [4, 8, 8]},
    "training": {
        "steps": 200,
        "batch_size": 32,
        "learning_rate": 0.01,
        "schedule": "one_cycle",
        "evaluate_every": 4,
        "threads": 1,
    },
    "repeats": 3,
}
LEAST_SMALLER = 10.0
COMPARED = 40
"""Test sounds for which the bundle's answers and those of the service are compared."""


def taught(curl: Curl, work: Path, tones: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The sounds, uploaded, and the teacher; returns dataset and the teacher's job."""
    spoken = "pairs of tones" if tones else "digits spoken by espeak-ng"
    heading(f"1. The data: {spoken} in 16 voices, 5 of them in the test alone, labels for {LABELLED} of each digit")
    write_speech(work / "speech.zip", by_tones if tones else by_espeak, copies=1 if tones else 2)
    dataset = curl.upload("datasets", DATASET, work / "speech.zip")
    say(f"  {dataset['rows']} sounds, splits {dataset['splits']}")
    heading("2. The teacher: trained by the service, with all labels")
    job = curl.follow(curl.submit({**TEACHER, "dataset": dataset["id"]}))
    return dataset, job


def distilled(curl: Curl, dataset: dict[str, Any], teacher: dict[str, Any]) -> dict[str, Any]:
    """The student's job."""
    heading("3. The students, distilled with few labels, beside controls that have no teacher")
    spec = {**STUDENT, "dataset": dataset["id"], "teachers": [{"model": teacher["student"]}]}
    return curl.follow(curl.submit(spec))


def program(work: Path, *words: str | Path) -> str:
    """Run Python; its first line is shown, all is returned."""
    say("  $ python " + " ".join(str(word).replace(f"{work}/", "") for word in words))
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    say("  " + done.stdout.partition("\n")[0][:160])
    return done.stdout


def run_elsewhere(curl: Curl, url: str, student: str, work: Path) -> tuple[int, int]:
    """Download the bundle and let it answer test sounds; (sounds with the class that the service answers, all)."""
    heading("4. The bundle, run by numpy, soundfile and ONNX Runtime, and the service's answers for the same files")
    curl("-o", str(work / "bundle.zip"), f"{url}/v1/models/{student}/bundle?wait=60")
    with zipfile.ZipFile(work / "bundle.zip") as archive:
        archive.extractall(work / "bundle")
    folder, tar = work / "test", work / "test.tar"
    with zipfile.ZipFile(work / "speech.zip") as archive, tarfile.open(tar, "w") as packed:
        names = [name for name in sorted(archive.namelist()) if name.startswith("test/")]
        for name in names[:: len(names) // COMPARED][:COMPARED]:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))
            packed.add(path, name)
    body = ("-H", "Content-Type: application/x-tar", "--data-binary", f"@{tar}")
    theirs = curl.json(*body, f"{url}/v1/models/{student}/predict")["outputs"]["few"]
    program(work, work / "bundle" / "sounds.py", work / "rows.npz", folder)
    lines = [json.loads(line) for line in program(work, work / "bundle" / "predict.py", work / "rows.npz").splitlines()]
    ours = np.array([line["few.probabilities"] for line in lines])
    say(f"  the largest difference of a probability is {np.abs(ours - np.array(theirs['probabilities'])).max():.1e}")
    same = sum(line["few.class"] == name for line, name in zip(lines, theirs["class"], strict=True))
    return same, len(lines)


def table(taught_by: dict[str, Any], report: dict[str, Any]) -> list[str]:
    """Accuracy on the test voices and parameters of teacher, student and control."""
    rows = [("", "accuracy", "parameters")]
    for name, of, part, task in (
        ("teacher", taught_by, "student", "digit"),
        ("student", report, "student", "few"),
        ("control", report, "control", "few"),
    ):
        rows.append((name, f"{of[part]['tasks'][task]['accuracy']:.3f}", f"{of[part]['parameters']:,}"))
    return [f"  {name:<10}{accuracy:>10}{parameters:>12}" for name, accuracy, parameters in rows]


def verdicts(report: dict[str, Any], same: int, compared: int) -> list[tuple[str, bool]]:
    """What the demo promises, each with whether it held."""
    return [
        *student_verdicts(report, LEAST_SMALLER),
        (f"the bundle gives the service's class for {same} of {compared} sounds", same == compared),
    ]


def demo(tones: bool) -> int:
    """Run the demo; 0 if everything that it promises held."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="stillhouse-demo-") as name:
        work = Path(name)
        with Service(work / "data") as service:
            say(f"stillhouse serve, SQLite and local disk, one worker: {service.url}")
            say(f"KEY=$(cat {service.data}/admin.key)")
            curl = Curl(service)
            dataset, teacher = taught(curl, work, tones)
            job = distilled(curl, dataset, teacher)
            same, compared = run_elsewhere(curl, service.url, job["student"], work)
            heading("5. The report")
            reports = [curl.json(f"{service.url}/v1/jobs/{each['id']}/report") for each in (teacher, job)]
        say(render(reports[1]))
        lines, held = table(*reports), verdicts(reports[1], same, compared)
    heading(f"Done in {time.monotonic() - started:.0f} s")
    for line in lines:
        say(line)
    return conclude(held)


def main() -> int:
    """The demo by its command line."""
    tones = sys.argv[1:] == ["--tones"]
    if not tones:
        if sys.argv[1:]:
            raise SystemExit(__doc__)
        check_espeak()
    return demo(tones)


if __name__ == "__main__":
    raise SystemExit(main())
