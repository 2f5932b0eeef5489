"""The main job in the open: teacher, student at least 20 times smaller, control, weights, report."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from app.contracts.reports.document.text import render
from tests.demo.console import heading, say
from tests.demo.digits import write_few_labels
from tests.demo.service import Curl, Service

DATASET: dict[str, Any] = {
    "name": "mnist-5000",
    "format": "npz",
    "inputs": {"x": {"kind": "array", "shape": [1, 28, 28], "scale": 1 / 255, "standardize": True}},
    "targets": {"digit": {"kind": "class", "classes": 10}, "few": {"kind": "class", "classes": 10}},
    "splits": {"column": "split"},
}
TEACHER: dict[str, Any] = {
    "kind": "train",
    "name": "teacher",
    "target": "digit",
    "model": {"family": "convnet", "channels": [32, 64], "hidden": [128], "pooling": "flatten", "dropout": 0.3},
    "training": {"epochs": 8, "learning_rate": 0.002, "schedule": "one_cycle", "seed": 1},
}
STUDENT: dict[str, Any] = {
    "kind": "distill",
    "name": "student",
    "target": "few",
    "student": {"family": "convnet", "channels": [8, 16]},
    "training": {"recipe": "fast"},
}
LEAST_SMALLER = 20.0
LEAST_ACCURACY = 0.94
MOST_DIFFERENCE = 1e-5


def distil(curl: Curl, url: str, work: Path) -> dict[str, Any]:
    """Dataset, teacher, student; returns the student's job."""
    heading("1. The data: 5000 handwritten digits, labels for a tenth of those that the student trains on")
    write_few_labels(work / "digits.npz")
    dataset = curl.upload("datasets", DATASET, work / "digits.npz")
    say(f"  {dataset['rows']} rows, splits {dataset['splits']}")
    heading("2. The teacher: a convnet trained on all labels, as if it came from elsewhere")
    teacher = curl.follow(curl.submit({**TEACHER, "dataset": dataset["id"]}))
    heading("3. The students: distilled, beside controls that have no teacher")
    spec = {**STUDENT, "dataset": dataset["id"], "teachers": [{"model": teacher["student"], "output": "digit"}]}
    return curl.follow(curl.submit(spec))


def reload_outside(curl: Curl, url: str, job: dict[str, Any], work: Path) -> dict[str, Any]:
    """Download weights and predictions, and compare them in a process that knows nothing of Stillhouse."""
    heading("4. The weights, reloaded outside the service")
    curl("-o", str(work / "student.safetensors"), f"{url}/v1/jobs/{job['id']}/student/weights")
    curl("-o", str(work / "predictions.npz"), f"{url}/v1/jobs/{job['id']}/predictions?split=test")
    files = [str(work / name) for name in ("student.safetensors", "digits.npz", "predictions.npz")]
    done = subprocess.run([sys.executable, "-m", "tests.demo.reload", *files], capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    say(
        f"  plain torch gives the service's class on {found['agreeing']} of {found['rows']} test rows; "
        f"the largest difference of a logit is {found['largest_difference']:.1e}"
    )
    return found


def verdicts(report: dict[str, Any], reloaded: dict[str, Any]) -> list[tuple[str, bool]]:
    """What the demo promises, each with whether it held."""
    smaller = report["compression"]["parameters"]
    accuracy = report["student"]["tasks"]["few"]["accuracy"]
    verdict = report["verdict"]["few"]
    return [
        (f"the student is {smaller:.1f} times smaller (at least {LEAST_SMALLER:.0f})", smaller >= LEAST_SMALLER),
        (f"its test accuracy is {accuracy:.2%} (at least {LEAST_ACCURACY:.0%})", accuracy >= LEAST_ACCURACY),
        (f"the verdict is `{verdict['verdict']}`, interval {verdict['interval']}", verdict["verdict"] == "gain"),
        (
            "the reloaded weights give the service's predictions",
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
            job = distil(curl, service.url, work)
            reloaded = reload_outside(curl, service.url, job, work)
            heading("5. The report")
            report = curl.json(f"{service.url}/v1/jobs/{job['id']}/report")
        say(render(report))
        held = verdicts(report, reloaded)
    heading(f"Done in {time.monotonic() - started:.0f} s")
    for text, good in held:
        say(f"  {'yes' if good else 'NO '}  {text}")
    return 0 if all(good for _, good in held) else 1


if __name__ == "__main__":
    raise SystemExit(main())
