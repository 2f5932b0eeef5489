"""What a job costs beside a plain script: same rows, epochs and machine, by turns, 20 epochs of 3500 digits.

The bars: training at most 1.0 of the plain script's training of the student alone, with its control at most 0.9 more;
evaluation and export together at most 10 % of training or 1 s; the whole job, warm, at most 0.95 of the plain script of
the student alone and 0.5 of the plain distillation script.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.benchmarks.figures import line, ratio, say
from tests.benchmarks.jobs.uploads import upload_dataset
from tests.demo.digits import write_digits
from tests.demo.service import Service

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]
EPOCHS, ROUNDS = 20, 3
TEACHER_EPOCHS = 8
"""A teacher weaker than the control would have the students trained twice."""
TEACHER = {"family": "convnet", "channels": [32, 64], "hidden": [128], "pooling": "flatten"}
STUDENTS: dict[str, dict[str, Any]] = {
    "mlp": {"family": "mlp", "hidden": [32]},
    "convnet": {"family": "convnet", "channels": [8, 16], "pooling": "flatten"},
    "resnet8": {"family": "resnet", "depth": 8},
}
SCRIPT = Path(__file__).with_name("plain_script.py")


def _plain(kind: str, name: str, data: Path) -> tuple[float, float]:
    """Seconds of the training loop, and of the whole process."""
    began = time.perf_counter()
    arguments = [sys.executable, str(SCRIPT), kind, name, str(data), str(EPOCHS)]
    printed = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    return json.loads(printed)["training"], time.perf_counter() - began


def _job(http: httpx.Client, spec: dict[str, Any]) -> tuple[dict[str, float], float, str]:
    """Seconds of the phases, of the whole job from its submission, and its id."""
    began = time.perf_counter()
    answer = http.post("/v1/jobs", json=spec)
    answer.raise_for_status()
    identity = answer.json()["id"]
    while (job := http.get(f"/v1/jobs/{identity}?wait=60").json())["state"] not in ("succeeded", "failed"):
        pass
    whole = time.perf_counter() - began
    assert job["state"] == "succeeded", job["error"]
    report = http.get(f"/v1/jobs/{identity}/report").json()
    return report["seconds"], whole, identity


def _dataset(http: httpx.Client, file: Path) -> str:
    manifest = {
        "name": "digits",
        "format": "npz",
        "inputs": {"x": {"kind": "array", "shape": [1, 28, 28], "scale": 1 / 255}},
        "targets": {"digit": {"kind": "class", "classes": 10}},
    }
    return upload_dataset(http, manifest, file)


def test_what_a_job_costs_beside_a_plain_script(tmp_path: Path) -> None:
    data = tmp_path / "digits.npz"
    write_digits(data)
    say(f"A distil job beside a plain script, {EPOCHS} epochs of 3500 digits, batches of 64, {ROUNDS} rounds by turns")
    with Service(tmp_path / "data") as service:
        headers = {"Authorization": f"Bearer {service.key}"}
        with httpx.Client(base_url=service.url, headers=headers, timeout=90) as http:
            common = {"dataset": _dataset(http, data), "target": "digit"}
            teaching = {**common, "kind": "train", "model": TEACHER, "training": {"epochs": TEACHER_EPOCHS}}
            teachers = [{"job": _job(http, teaching)[2]}]
            for name, student in STUDENTS.items():
                distil = {**common, "kind": "distill", "teachers": teachers, "student": student}
                _compare(http, distil, name, data)


def _compare(http: httpx.Client, distil: dict[str, Any], name: str, data: Path) -> None:
    _job(http, {**distil, "control": False, "training": {"epochs": 1, "batch_size": 64}})  # warms the worker's cache
    found: dict[str, list[float]] = {}

    def add(key: str, seconds: float) -> None:
        found.setdefault(key, []).append(seconds)

    for i in range(ROUNDS):
        training = {"epochs": EPOCHS, "batch_size": 64, "seed": i}
        loop, whole = _plain("student", name, data)
        add("plain script, student alone: training", loop)
        add("plain script, student alone: whole", whole)
        add("plain distillation script: whole", _plain("distillation", name, data)[1])
        phases, whole, _ = _job(http, {**distil, "control": False, "training": training})
        add("job: training", phases["training"])
        add("job: evaluation and export", phases["evaluating"] + phases["exporting"])
        add("job: whole", whole)
        phases, whole, _ = _job(http, {**distil, "repeats": 1, "training": training})
        add("job with control: training", phases["training"])
        add("job with control: whole", whole)
    print(f"  {name}")
    for key, seconds in found.items():
        line(f"  {key}", seconds)

    def by_turns(label: str, one: str, other: str) -> None:
        """The median of the ratios of each round."""
        ratio(f"  {label}", statistics.median(a / b for a, b in zip(found[one], found[other], strict=True)), 1.0)

    by_turns("training, over the plain loop", "job: training", "plain script, student alone: training")
    by_turns("training with control, over without", "job with control: training", "job: training")
    by_turns("evaluation and export, over training", "job: evaluation and export", "job: training")
    by_turns("whole, over the plain script", "job: whole", "plain script, student alone: whole")
    by_turns("whole, over plain distillation", "job: whole", "plain distillation script: whole")
