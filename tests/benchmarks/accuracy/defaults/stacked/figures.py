"""Figures of many jobs of one data set, trained as stacks."""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from app.contracts.layouts.summary import parameter_count
from tests.benchmarks.accuracy.defaults.grid import Setting
from tests.benchmarks.accuracy.defaults.run import Measured, job, mean_of
from tests.benchmarks.accuracy.defaults.sets.data_set import DataSet, Json, Standardize
from tests.benchmarks.accuracy.defaults.stacked.member import Loaded, Member, load, with_spec
from tests.benchmarks.accuracy.defaults.stacked.train import train_stack
from tests.engine.harness import EngineHarness
from workers.engine.evaluation.metrics.task_metrics import task_metrics

MOST_PARAMETERS = 2_000_000
"""Of all networks of a stack: more do not fit in a processor's cache."""
MOST_NETWORKS = 100
Wanted = tuple[Setting, int]
"""Settings and seed of a job."""


def measured(data: DataSet, wanted: Sequence[Wanted]) -> Iterator[tuple[Wanted, Measured]]:
    """What `run.measure` gives for each, up to rounding; `seconds` is the share of the stack's."""
    with tempfile.TemporaryDirectory() as folder:
        rows = _RowsOf(data, Path(folder))
        for part in _parts(wanted, rows):
            began = time.monotonic()
            members = [rows.member(setting, seed) for setting, seed in part]
            stack = train_stack(members)
            outputs, seconds = stack.test_outputs(), (time.monotonic() - began) / len(members)
            for k, (pair, member) in enumerate(zip(part, members, strict=True)):
                figure = _figure(data, member, {task: values[k] for task, values in outputs.items()})
                yield pair, Measured(figure, member.schedule.steps, seconds)


def _figure(data: DataSet, member: Member, outputs: Mapping[str, Tensor]) -> float:
    """The metric on the test rows for outputs by task [rows, size]."""
    found = [
        task_metrics(outputs[task.name], task.spec, task.target, member.loaded.test)
        for task in member.tasks
        if task.target is not None
    ]
    return mean_of([metrics[data.metric] for metrics in found], data.metric)


class _RowsOf:
    """Members of a data set; the rows of a split are loaded once."""

    def __init__(self, data: DataSet, folder: Path) -> None:
        self._data = data
        self._kept: dict[tuple[int, Standardize], tuple[EngineHarness, Loaded]] = {}
        self._folder = folder

    def member(self, setting: Setting, seed: int) -> Member:
        """The network of a job; it shares the rows of others of the same split."""
        spec, key = job(self._data, setting.spec(seed)), (seed, setting.standardize)
        if key not in self._kept:
            self._kept[key] = self._loaded(spec, *key)
        harness, loaded = self._kept[key]
        return Member(with_spec(loaded, harness, spec), seed)

    def parameters(self, wanted: Wanted) -> int:
        """Of its network."""
        return parameter_count(self.member(*wanted).run.run_spec.architecture)

    def _loaded(self, spec: Json, seed: int, standardize: Standardize) -> tuple[EngineHarness, Loaded]:
        harness = EngineHarness(self._folder)
        harness.dataset(self._data.arrays(seed), **self._data.manifest(standardize))
        return harness, load(harness, spec)


def _parts(wanted: Sequence[Wanted], rows: _RowsOf) -> Iterator[Sequence[Wanted]]:
    """Jobs that fit in one stack: of equal length, and not too many."""
    most = max(1, min(MOST_NETWORKS, MOST_PARAMETERS // rows.parameters(wanted[0]))) if wanted else 1
    for length in dict.fromkeys(setting.length for setting, _ in wanted):
        alike = [pair for pair in wanted if pair[0].length == length]
        for begin in range(0, len(alike), most):
            yield alike[begin : begin + most]
