"""What the training part of a job ends with: everything that evaluation, export and report need."""

from dataclasses import dataclass
from typing import Any

from app.contracts.reports.report import DatasetUse
from app.contracts.reports.search import SearchReport
from app.contracts.wire.orders import DatasetInput
from workers.engine.data.joining import inputs_of
from workers.engine.data.mixture import uses_of
from workers.engine.evaluation.parties import Outputs, network_outputs
from workers.engine.jobs.job import Job
from workers.engine.jobs.load import JobData
from workers.engine.jobs.runs.results import TrainedModel
from workers.engine.tasks.build import BuiltTask
from workers.engine.tasks.run_spec import RunSpec
from workers.engine.tasks.task import learnable_rows
from workers.engine.teachers.teachers import Teachers


@dataclass(frozen=True)
class Trained:
    """The trained models of a job. `repeats` are (student, control) of the further seeds."""

    job: Job
    data: JobData
    teachers: Teachers
    run_spec: RunSpec
    """Of the student's run: with a relation that was estimated, and the values that a search chose."""
    tasks: tuple[BuiltTask, ...]
    student: TrainedModel
    control: TrainedModel | None
    peers: tuple[TrainedModel, ...]
    repeats: tuple[tuple[TrainedModel, TrainedModel | None], ...]
    baselines: tuple[dict[str, TrainedModel], ...]
    """For each seed, the job's own first, single-task models by task."""
    search: SearchReport | None
    measured: dict[str, Any] | None
    """The observer's summary of the tasks' gradients, of a first run where there was one."""
    precision: str
    micro_batch_size: int | None
    exact_accumulation: bool
    bit_exact: bool
    targets: list[dict[str, Any]]
    """How each teacher's outputs came to be (`TargetUse`)."""

    @property
    def dataset_inputs(self) -> tuple[DatasetInput, ...]:
        """The datasets that the rows are of, in the job's order."""
        return inputs_of(self.job.order, self.data.dataset)

    def outputs_of(self, model: TrainedModel) -> Outputs:
        """The outputs of a trained model on rows of the dataset, in evaluation mode."""
        raw = self.data.dataset.inputs[self.data.input_name]
        return network_outputs(model.network, raw, self.data.transform, self.job.device)

    def dataset_uses(self) -> list[DatasetUse]:
        """How many rows of each dataset were trained on, and its share of the batches."""
        rows = learnable_rows([each.student for each in self.tasks], self.data.split("train"))
        return uses_of(self.job.order, self.data.dataset, rows, self.job.spec.training.batch_size)
