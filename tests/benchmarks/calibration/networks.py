"""Trains the networks of a scenario, as stacks, and keeps what each contributes to its metric on each test row."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from app.contracts.layouts.summary import parameter_count
from tests.benchmarks.accuracy.defaults.run import job
from tests.benchmarks.accuracy.defaults.stacked.figures import MOST_NETWORKS, MOST_PARAMETERS
from tests.benchmarks.accuracy.defaults.stacked.member import Loaded, Member, load
from tests.benchmarks.accuracy.defaults.stacked.train import train_stack
from tests.benchmarks.calibration.scenarios import SPLIT, Scenario
from tests.engine.harness import EngineHarness
from workers.engine.evaluation.verdict.contributions import contributions

Pool = NDArray[np.float64]
"""[N, rows]: the contribution of each test row to the metric of each network; the mean over rows is the metric."""


def pool(scenario: Scenario, count: int, path: Path, say: Callable[[str], None] = lambda text: None) -> Pool:
    """The contributions of `count` networks; those that `path` (npz) has already are not trained again.

    The file has `contributions` float64 [N, rows] and `seeds` int64 [N], and is written after every stack. Class tasks:
    1 where a network is right, else 0; values: see `contributions`, whose mean is minus the rmse.
    """
    found = _read(path)
    if len(found) >= count:
        return found[:count]
    loaded = _loaded(scenario)
    size = parameter_count(loaded.run.run_spec.architecture)
    most = max(1, min(MOST_NETWORKS, MOST_PARAMETERS // size))
    while len(found) < count:
        first = scenario.first_seed + len(found)
        seeds = range(first, first + min(most, count - len(found)))
        more = _trained([Member(loaded, seed) for seed in seeds])
        found = np.concatenate([found, more]) if len(found) else more
        path.parent.mkdir(parents=True, exist_ok=True)
        all_seeds = np.arange(scenario.first_seed, scenario.first_seed + len(found))
        np.savez_compressed(path, contributions=found, seeds=all_seeds)
        say(f"{path.stem}: {len(found)} of {count}, mean {found.mean():.4f}, sd {found.mean(axis=1).std(ddof=1):.4f}")
    return found


def _read(path: Path) -> Pool:
    if not path.exists():
        return np.empty((0, 0))
    with np.load(path) as file:
        found: Pool = file["contributions"]
    return found


def _loaded(scenario: Scenario) -> Loaded:
    data = scenario.data()
    with tempfile.TemporaryDirectory() as folder:
        harness = EngineHarness(Path(folder))
        harness.dataset(data.arrays(SPLIT), **data.manifest(scenario.setting.standardize))
        return load(harness, job(data, scenario.setting.spec(seed=0)))


def _trained(members: list[Member]) -> Pool:
    """Of networks of one task, all on the same rows."""
    stack, (task,) = train_stack(members), members[0].tasks
    assert task.target is not None
    labels = task.target.values[members[0].loaded.test]
    outputs = stack.test_outputs()[task.name]
    return torch.stack([contributions(own, task.spec, labels) for own in outputs]).numpy()
