"""A learner with tasks whose relations are known, and the dataset that they learn."""

from typing import Any

import numpy as np
import torch

from app.contracts.resources.manifests import ValueOutput
from tests.engine.balancing.small_network import fixed, network_of, rows
from tests.engine.harness import EngineHarness
from tests.engine.plain_training import plain_settings
from workers.engine.data.dataset import TargetColumn
from workers.engine.data.rows.columns import Rows
from workers.engine.losses.supervised_loss import SupervisedLoss
from workers.engine.tasks.task import Task
from workers.engine.training.batch import Counts, MicroBatch
from workers.engine.training.learner import Learner

Json = dict[str, Any]
CPU = torch.device("cpu")
SPEC = ValueOutput(kind="value")
NAMES = ("a", "b", "c")


def learner(missing: tuple[str, ...] = (), **architecture: Any) -> Learner:
    """Three value tasks of two numbers each on one small network; those `missing` have no label at all."""
    tasks = []
    for i, name in enumerate(NAMES):
        values = torch.randn(12, 2, generator=torch.Generator().manual_seed(i))
        labelled = torch.full((12,), name not in missing)
        target = TargetColumn("vector", 2, torch.where(labelled[:, None], values, torch.nan), labelled)
        tasks.append(Task(name, SPEC, target, 1.0, (SupervisedLoss.of(target, SPEC, 1.0, 0.0, CPU),)))
    network = network_of(NAMES, **architecture).float()
    return Learner("student", network, tasks, fixed(), plain_settings(), 10, CPU)


def batch(made: Learner, size: int = 12) -> tuple[list[MicroBatch], Counts]:
    """All twelve rows in parts of `size`, and their counts."""
    x, every = rows(12).float(), Rows.on(CPU, torch.arange(12))
    parts = [
        MicroBatch(piece, part, (0, place))
        for place, (piece, part) in enumerate(zip(torch.split(x, size), every.split(size), strict=True))
    ]
    counts = [[int(term.counted.sum()) for term in task.terms] for task in made.tasks]
    made.begin_step(counts, 0)
    return parts, counts


def planted(harness: EngineHarness, seed: int = 0) -> None:
    """Rows x; `a` and `b` want one direction of x through a bottleneck, `c` another, which competes for it; `d` is `a`
    buried in noise: `a` and `b` help it, and it helps them next to nothing.
    """
    random = np.random.default_rng(seed)
    x = random.normal(size=(1600, 8)).astype(np.float32)
    axes = np.linalg.qr(random.normal(size=(8, 8)))[0]
    one, other = x @ axes[0], x @ axes[1]
    arrays = {
        "x": x,
        "a": one.astype(np.float32),
        "b": (np.tanh(one) + 0.1 * random.normal(size=1600)).astype(np.float32),
        "c": other.astype(np.float32),
        "d": (0.3 * one + random.normal(size=1600)).astype(np.float32),
    }
    harness.dataset(arrays, targets={name: {"kind": "value"} for name in "abcd"})


def estimating(method: str, **changes: Any) -> Json:
    """A job that estimates the relation of these tasks."""
    return {
        "kind": "multitask",
        "tasks": [{"name": name} for name in "abcd"],
        "student": {"family": "mlp", "hidden": [1], "activation": "tanh"},
        "relation": {"estimate": method, "every": 2},
        "training": {"epochs": 6, "batch_size": 128, "learning_rate": 0.01, "select_by": "last"},
        **changes,
    }
