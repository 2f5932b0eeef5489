"""Figures of many jobs of one data set, trained as stacks."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.contracts.layouts.summary import parameter_count
from tests.benchmarks.accuracy.defaults.grid import Setting
from tests.benchmarks.accuracy.defaults.run import Measured, job, mean_of
from tests.benchmarks.accuracy.defaults.sets.data_set import DataSet, Standardize
from tests.benchmarks.accuracy.defaults.stacked.member import Loaded, Member, load
from tests.benchmarks.accuracy.defaults.stacked.train import train_stack
from tests.engine.harness import EngineHarness
from workers.engine.evaluation.metrics.task_metrics import Metrics, task_metrics

MOST_PARAMETERS = 2_000_000
"""Of all networks of a stack: more do not fit in a processor's cache."""
MOST_NETWORKS = 100
Wanted = tuple[Setting, int]
"""Settings and seed of a job."""


def measured(data: DataSet, wanted: Sequence[Wanted]) -> Iterator[tuple[Wanted, Measured]]:
    """What `run.measure` gives for each, up to rounding; `seconds` is the share of the stack's."""
    rows = _RowsOf(data)
    for part in _parts(wanted, rows):
        began = time.monotonic()
        members = [rows.member(setting, seed) for setting, seed in part]
        stack = train_stack(members)
        outputs = stack.test_outputs()
        seconds = (time.monotonic() - began) / len(members)
        for k, (pair, member) in enumerate(zip(part, members, strict=True)):
            metrics = {
                task.name: task_metrics(outputs[task.name][k], task.spec, task.target, member.loaded.test)
                for task in member.tasks
                if task.target is not None
            }
            yield pair, Measured(_figure(metrics, data), member.schedule.steps, seconds)


def _figure(metrics: dict[str, Metrics], data: DataSet) -> float:
    return mean_of([each[data.metric] for each in metrics.values()], data.metric)


class _RowsOf:
    """Members of a data set; the rows of a split are loaded once."""

    def __init__(self, data: DataSet) -> None:
        self._data = data
        self._kept: dict[tuple[int, Standardize], Loaded] = {}

    def member(self, setting: Setting, seed: int) -> Member:
        """The network of a job; it shares the rows of others of the same split."""
        loaded, key = self._loaded(setting, seed), (seed, setting.standardize)
        kept = self._kept.setdefault(key, loaded)
        return Member(Loaded(kept.x, loaded.run, loaded.test, kept.key), seed)

    def parameters(self, wanted: Wanted) -> int:
        """Of its network."""
        return parameter_count(self._loaded(*wanted).run.run_spec.architecture)

    def _loaded(self, setting: Setting, seed: int) -> Loaded:
        with tempfile.TemporaryDirectory() as folder:
            harness = EngineHarness(Path(folder))
            harness.dataset(self._data.arrays(seed), **self._data.manifest(setting.standardize))
            return load(harness, job(self._data, setting.spec(seed)))


def _parts(wanted: Sequence[Wanted], rows: _RowsOf) -> Iterator[Sequence[Wanted]]:
    """Jobs that fit in one stack: of equal length, and not too many."""
    most = max(1, min(MOST_NETWORKS, MOST_PARAMETERS // rows.parameters(wanted[0]))) if wanted else 1
    for length in dict.fromkeys(setting.length for setting, _ in wanted):
        alike = [pair for pair in wanted if pair[0].length == length]
        for begin in range(0, len(alike), most):
            yield alike[begin : begin + most]
