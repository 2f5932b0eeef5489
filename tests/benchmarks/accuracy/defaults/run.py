"""One job of the benchmark: a data set, settings and a seed give a figure."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.contracts.reports.report import Report
from tests.benchmarks.accuracy.defaults.grid import Setting
from tests.benchmarks.accuracy.defaults.sets.data_set import DataSet, Json, Metric
from tests.engine.harness import EngineHarness, report_of


@dataclass(frozen=True)
class Measured:
    """The metric on the test split, the mean over the tasks; optimizer steps; seconds of the whole job."""

    figure: float
    steps: int
    seconds: float


def measure(data: DataSet, setting: Setting, seed: int) -> Measured:
    """Train the data set's student on the split of this seed, from this seed."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        harness = EngineHarness(Path(folder))
        harness.dataset(data.arrays(seed), **data.manifest(setting.standardize))
        report = report_of(harness.run(job(data, setting.spec(seed))))
    return Measured(figure_of(report, data.metric), report.student.steps or 0, time.monotonic() - began)


def job(data: DataSet, training: Json) -> Json:
    """The spec that trains a data set's student on labels: of all its targets, where there are several."""
    names, training = list(data.targets), {**training, **(data.training or {})}
    if len(names) == 1:
        return {"kind": "train", "target": names[0], "model": data.student, "training": training}
    tasks = [{"name": name} for name in names]
    alone = {"control": False, "baselines": False, "repeats": 1}
    return {"kind": "multitask", "tasks": tasks, "student": data.student, "training": training, **alone}


def figure_of(report: Report, metric: Metric) -> float:
    """The student's metric, the mean over the tasks. Raises ValueError where it is undefined."""
    return mean_of([tasks[metric] for tasks in report.student.tasks.values()], metric)


def mean_of(found: Sequence[float | None], metric: Metric) -> float:
    """The mean of a metric over tasks. Raises ValueError where it is undefined."""
    known = [value for value in found if value is not None]
    if len(known) < len(found) or not known:
        raise ValueError(f"{metric} is undefined on the test rows")
    return sum(known) / len(known)
