"""The runs of a job's seeds with the runner that executes them, without the job around them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from app.contracts.specs.jobs import DistillJob
from tests.engine.harness import EngineHarness, EventLog, StopAtStep
from workers.engine.common.determinism import make_deterministic
from workers.engine.common.stop import Stop
from workers.engine.data.joining import read_datasets
from workers.engine.jobs.load import JobData, store_of
from workers.engine.jobs.plan import Plan
from workers.engine.jobs.runs.results import RunResult
from workers.engine.jobs.runs.run import Run
from workers.engine.jobs.runs.runner import Runner
from workers.engine.tasks.build import build_tasks, initial_weights
from workers.engine.tasks.run_spec import RunSpec
from workers.engine.teachers.teachers import Teachers


@dataclass(frozen=True)
class SeededRuns:
    """The runs of the seeds of a job, and a runner."""

    runner: Runner
    seeds: list[Run]
    log: EventLog

    @property
    def students(self) -> list[Run]:
        return [replace(run, control=False) for run in self.seeds]

    @property
    def controls(self) -> list[Run]:
        return [control for run in self.seeds if (control := run.of_control) is not None]

    def alone(self, runs: list[Run]) -> list[RunResult]:
        """The results of the runs one after another, under names of their own."""
        names = ["student" if run.student else "control" for run in runs]
        return [self.runner.run(replace(run, name=f"alone-{names[k]}-{k}")) for k, run in enumerate(runs)]


@contextmanager
def seeded_runs(
    harness: EngineHarness,
    spec: dict[str, Any],
    job: str = "job",
    attempt: int = 1,
    stop: Stop | None = None,
    **changes: Any,
) -> Iterator[SeededRuns]:
    """The runs of a spec of kind `distill` with repeats."""
    order = harness.order(spec, job, attempt, **changes)
    parsed = order.spec
    assert isinstance(parsed, DistillJob)
    make_deterministic(1)
    device, log, stops = torch.device("cpu"), EventLog(), stop or StopAtStep(1 << 60)
    data = JobData.of(parsed, read_datasets(order, parsed.dataset_refs()), device)
    with Teachers(order, data.dataset, device, lambda: None, store_of(parsed), data.augmentation) as teachers:
        run_spec = RunSpec.of(parsed)

        def build(each: RunSpec) -> Any:
            return build_tasks(each, teachers, lambda event: None)

        plan = Plan(run_spec, build(run_spec), data.dataset, [], parsed, build, initial_weights(run_spec, teachers))
        main = plan.main(run_spec, plan.tasks)
        runner = Runner(order, data, device, log.emit, stops, steps=plan.steps)
        yield SeededRuns(runner, [plan.seed(main, i) for i in range(run_spec.repeats)], log)
