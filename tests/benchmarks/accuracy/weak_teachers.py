"""python -m tests.benchmarks.accuracy.weak_teachers: how much weight a teacher gets that is weaker than the control.

Teachers that were trained for few steps, on few rows or with few units, strong ones, and ones of the student's size;
students at several weights of soft targets and labels, each with the control of the same seed. Cells go to a file as
they come; a further call continues. The table is printed.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from app.contracts.problems import UserError
from app.contracts.reports.report import Report
from tests.benchmarks.accuracy.defaults.sets.data_set import DataSet, Json, without_labels
from tests.benchmarks.accuracy.defaults.sets.images import mnist_mlp
from tests.benchmarks.accuracy.defaults.sets.tabular import cancer, diabetes, digits_scaled, wine
from tests.engine.harness import TEACHER, Arrays, EngineHarness, report_of

CELLS = Path(".cache/weak-teachers.jsonl")
SEEDS = range(5)
SOFT = (0.9, 0.5, 0.2, 0.1)
"""Weights of the soft targets; labels have the rest."""
WEAKER = "teacher_weaker_than_control"


@dataclass(frozen=True)
class Taught:
    """A teacher: its hidden units, None for the student's network; its steps, None for the recipe's; and the share of
    training rows of which it knows the labels.
    """

    hidden: int | None = 64
    steps: int | None = None
    rows: float = 1.0

    def architecture(self, data: DataSet) -> Json:
        """Of the network that is trained."""
        return data.student if self.hidden is None else {"family": "mlp", "hidden": [self.hidden]}


@dataclass(frozen=True)
class Case:
    """A data set, the share of training rows whose labels student and control know, and teachers by name."""

    data: DataSet
    teachers: Mapping[str, Taught]
    labelled: float = 1.0


STRONG, EQUAL = Taught(128), Taught(None)


def cases() -> Mapping[str, Case]:
    """What is measured, by name."""
    digits = {"20 steps": Taught(steps=20), "5 % rows": Taught(rows=0.05), "2 units": Taught(2)}
    weak_digits = {"10 steps": Taught(steps=10), "2 % rows": Taught(rows=0.02), "2 units": Taught(2)}
    usual = {"strong": STRONG, "equal": EQUAL}
    return {
        "digits": Case(digits_scaled(), digits | usual),
        "MNIST": Case(mnist_mlp(), {"5 % rows": Taught(rows=0.05), "20 steps": Taught(steps=20)} | usual),
        "wine": Case(
            wine(), {"10 steps": Taught(steps=10), "10 % rows": Taught(rows=0.1), "1 unit": Taught(1)} | usual
        ),
        "cancer": Case(cancer(), {"3 % rows": Taught(rows=0.03), "equal": EQUAL}),
        "diabetes": Case(
            diabetes(), {"20 steps": Taught(steps=20), "15 % rows": Taught(rows=0.15), "1 unit": Taught(1)} | usual
        ),
        "digits, 10 % labels": Case(digits_scaled(), weak_digits | usual, 0.1),
        "MNIST, 10 % labels": Case(mnist_mlp(), {"2 % rows": Taught(rows=0.02), "10 steps": Taught(steps=10)}, 0.1),
        "diabetes, 30 % labels": Case(
            diabetes(), {"20 steps": Taught(steps=20), "10 % rows": Taught(rows=0.1), "strong": STRONG}, 0.3
        ),
    }


def measure(case: Case, taught: Taught, seed: int) -> Json:
    """Test metrics of teacher, control and students by weight of the soft targets, and whether the teacher is weaker by
    the criterion of the warning. `refused` where the check of the teacher refuses it.
    """
    data, training = case.data, {"recipe": "default", "seed": seed, "threads": 1}
    arrays, manifest = data.arrays(seed), data.manifest(None)
    with tempfile.TemporaryDirectory() as folder:
        harness = EngineHarness(Path(folder))
        harness.dataset(_known(arrays, taught.rows), **manifest)
        steps = {} if taught.steps is None else {"steps": taught.steps}
        spec = {"kind": "train", "target": "y", "model": taught.architecture(data)}
        teacher = harness.run({**spec, "training": {**training, **steps, "seed": seed + 100}}, "teacher")
        harness.teacher(teacher, harness.folder / "teacher" / "attempt-1")
        harness.dataset(_known(arrays, case.labelled), **manifest)
        reports = {}
        for soft in SOFT:
            job: Json = {"kind": "distill", "target": "y", "teachers": [{"model": TEACHER}], "student": data.student}
            job |= {"distillation": _weights(data, soft), "training": training, "repeats": 1}
            try:
                reports[soft] = report_of(harness.run(job, f"student-{soft}"))
            except UserError as error:
                return {"refused": error.code}
    return _cell(data, report_of(teacher), reports)


def _known(arrays: Arrays, share: float) -> Arrays:
    if share == 1.0:
        return arrays
    if arrays["y"].dtype.kind == "f":
        missing = without_labels({**arrays, "y": arrays["y"].astype("int64")}, "y", share)["y"] == -1
        return {**arrays, "y": arrays["y"].copy()} if not missing.any() else _without(arrays, missing)
    return without_labels(arrays, "y", share)


def _without(arrays: Arrays, missing: Any) -> Arrays:
    values = arrays["y"].copy()
    values[missing] = float("nan")
    return {**arrays, "y": values}


def _weights(data: DataSet, soft: float) -> Json:
    term: Json = {"method": "mse"} if data.is_error else {"method": "kd", "temperature": 2.0}
    return {"soft_targets": {**term, "weight": soft}, "supervised": {"weight": round(1.0 - soft, 12)}}


def _cell(data: DataSet, teacher: Report, reports: Mapping[float, Report]) -> Json:
    first = reports[SOFT[0]]
    assert first.control is not None
    found = {"teacher": teacher.student.tasks["y"][data.metric], "control": first.control.tasks["y"][data.metric]}
    students = {str(soft): report.student.tasks["y"][data.metric] for soft, report in reports.items()}
    weaker = any(warning["code"] == WEAKER for warning in first.warnings)
    return {**found, "students": students, "weaker": weaker}


def table(cells: list[Json]) -> Iterator[str]:
    """The rows of a Markdown table: means over the seeds, accuracies in %."""
    yield "| student | teacher | weaker | teacher | control | " + " | ".join(f"{soft:g}" for soft in SOFT) + " |"
    yield "|---" * (5 + len(SOFT)) + "|"
    for case, made in cases().items():
        for name in made.teachers:
            own = [each for each in cells if (each["case"], each["name"]) == (case, name)]
            known = [each for each in own if "refused" not in each]
            if known:
                yield _row(case, name, known, 1.0 if made.data.is_error else 100.0)
            elif own:
                yield f"| {case} | {name} | refused {len(own)} |"


def _row(case: str, name: str, cells: list[Json], scale: float) -> str:
    figures = [mean(each[party] for each in cells) for party in ("teacher", "control")]
    figures += [mean(each["students"][str(soft)] for each in cells) for soft in SOFT]
    words = " | ".join(f"{scale * figure:.1f}" for figure in figures)
    return f"| {case} | {name} | {sum(each['weaker'] for each in cells)} of {len(cells)} | {words} |"


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=list(cases()), help="measure only this; may be repeated")
    parser.add_argument("--cells", type=Path, default=CELLS, help=f"the file of results ({CELLS})")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.cells.parent.mkdir(parents=True, exist_ok=True)
    cells = [json.loads(line) for line in asked.cells.read_text().splitlines()] if asked.cells.exists() else []
    done = {(each["case"], each["name"], each["seed"]) for each in cells}
    for case, made in cases().items():
        for seed, (name, taught) in ((seed, each) for seed in SEEDS for each in made.teachers.items()):
            if (asked.only and case not in asked.only) or (case, name, seed) in done:
                continue
            cells.append({"case": case, "name": name, "seed": seed, **measure(made, taught, seed)})
            with asked.cells.open("a") as file:
                file.write(json.dumps(cells[-1]) + "\n")
    print("\n".join(table(cells)))


if __name__ == "__main__":
    main()
