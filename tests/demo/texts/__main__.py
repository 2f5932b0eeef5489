"""Texts in the open: a teacher of transformers, a student at least five times smaller with a tokenizer of its own,
control, verdict, and back in transformers.
"""

import json
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from app.contracts.reports.document.text import render
from tests.demo.console import conclude, heading, say, student_verdicts
from tests.demo.programs import program
from tests.demo.service import Curl, Service
from tests.demo.texts.snippets import LABELLED, LANGUAGES, WORDS, write_snippets

TARGET: dict[str, Any] = {"kind": "class", "classes": list(LANGUAGES)}
DATASET: dict[str, Any] = {
    "name": "snippets",
    "format": "jsonl",
    "inputs": {"text": {"kind": "text", "tokenizer": {"size": 1000}, "length": 24}},
    "targets": {"label": TARGET, "few": TARGET},
    "splits": {"column": "split"},
}
TEACHER: dict[str, Any] = {
    "name": "teacher",
    "format": "huggingface",
    "outputs": {"label": {"kind": "class"}},
}
STUDENT: dict[str, Any] = {
    "kind": "distill",
    "name": "student",
    "target": "few",
    "student": {
        "family": "huggingface",
        "name": "bert",
        "config": {
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 64,
        },
    },
    "training": {"steps": 600, "batch_size": 48, "learning_rate": 0.004, "evaluate_every": 20, "threads": 1},
    "repeats": 3,
}
LEAST_SMALLER = 5.0
MOST_DIFFERENCE = 1e-4
COMPARED = 200
"""Test snippets for which the answers of transformers and of the service are compared."""


def taught(curl: Curl, work: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The snippets and the teacher, uploaded; returns dataset and model."""
    heading(f"1. The data: {WORDS} words of manual pages in ten languages, labels for {LABELLED} of each")
    count = write_snippets(work / "snippets.jsonl", work)
    dataset = curl.upload("datasets", DATASET, work / "snippets.jsonl")
    say(f"  {count} rows, splits {dataset['splits']}")
    heading("2. The teacher: a BERT, trained by transformers alone, with all labels and a tokenizer of its own")
    program(work, "-m", "tests.demo.texts.teacher", work / "snippets.jsonl", work / "teacher.zip")
    model = curl.upload("models", TEACHER, work / "teacher.zip")
    say(f"  {model['parameters']:,} parameters, {model['state']}")
    return dataset, model


def distilled(curl: Curl, dataset: dict[str, Any], teacher: dict[str, Any]) -> dict[str, Any]:
    """The student's job."""
    heading("3. The students: BERTs of one layer, distilled, beside controls that have no teacher")
    spec = {**STUDENT, "dataset": dataset["id"], "teachers": [{"model": teacher["id"], "output": "label"}]}
    return curl.follow(curl.submit(spec))


def reload_in_transformers(curl: Curl, url: str, student: str, work: Path) -> dict[str, Any]:
    """Download the bundle, and compare the answers of transformers for test snippets with those of the service."""
    heading("4. The bundle, loaded by transformers, and the service's answers for the same texts")
    curl("-o", str(work / "bundle.zip"), f"{url}/v1/models/{student}/bundle?wait=60")
    with zipfile.ZipFile(work / "bundle.zip") as archive:
        archive.extractall(work / "bundle")
    rows = [json.loads(line) for line in (work / "snippets.jsonl").read_text("utf-8").splitlines()]
    texts = [row["text"] for row in rows if row["split"] == "test"][:COMPARED]
    (work / "texts.json").write_text(json.dumps(texts))
    (work / "rows.json").write_text(json.dumps({"inputs": {"text": texts}}))
    body = ("-H", "Content-Type: application/json", "--data-binary", f"@{work / 'rows.json'}")
    (work / "answers.json").write_bytes(curl(*body, f"{url}/v1/models/{student}/predict"))
    files = work / "bundle" / "huggingface", work / "texts.json", work / "answers.json"
    found: dict[str, Any] = json.loads(program(work, "-m", "tests.demo.texts.reload", *files))
    return found


def verdicts(report: dict[str, Any], reloaded: dict[str, Any]) -> list[tuple[str, bool]]:
    """What the demo promises, each with whether it held."""
    return [
        *student_verdicts(report, LEAST_SMALLER),
        (
            f"transformers gives the service's class for {reloaded['agreeing']} of {reloaded['rows']} texts; the "
            f"largest difference of a probability is {reloaded['largest_difference']:.1e}",
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
            reloaded = reload_in_transformers(curl, service.url, job["student"], work)
            heading("5. The report")
            report = curl.json(f"{service.url}/v1/jobs/{job['id']}/report")
        say(render(report))
        held = verdicts(report, reloaded)
    heading(f"Done in {time.monotonic() - started:.0f} s")
    return conclude(held)


if __name__ == "__main__":
    raise SystemExit(main())
