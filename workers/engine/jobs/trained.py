"""The result of the training phase of a job, for evaluation, export and report."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.contracts.reports.report import DatasetUse, TargetUse
from app.contracts.reports.search import SearchReport
from app.contracts.wire.orders import DatasetInput
from workers.engine.data.joining import dataset_inputs
from workers.engine.data.mixture import dataset_uses
from workers.engine.evaluation.parties import Outputs, remembered
from workers.engine.evaluation.relation_report import RelationMeasurements
from workers.engine.jobs.job import Job
from workers.engine.jobs.load import JobData
from workers.engine.jobs.runs.results import TrainedModel, best_by_validation
from workers.engine.models import Network
from workers.engine.tasks.build import BuiltTask
from workers.engine.tasks.run_spec import RunSpec
from workers.engine.tasks.task import learnable_rows
from workers.engine.teachers.figures import VERSION, TeacherFigures
from workers.engine.teachers.teachers import Teachers


@dataclass(frozen=True)
class Trained:
    """The trained models of a job."""

    job: Job
    data: JobData
    teachers: Teachers
    run_spec: RunSpec
    """The run spec of the student, with the estimated relation and the values that a search selected."""
    tasks: tuple[BuiltTask, ...]
    students: tuple[TrainedModel, ...]
    """The students by seed."""
    controls: tuple[TrainedModel, ...]
    """The controls by seed, of the students' seeds first; empty without a control."""
    peers_by_seed: tuple[tuple[TrainedModel, ...], ...]
    """For each student its peers."""
    baselines: tuple[dict[str, TrainedModel], ...]
    """For each seed, beginning with that of the student, the single-task models by task."""
    search: SearchReport | None
    weakly_taught: frozenset[str]
    """The tasks whose teachers were found weaker than the controls before the students were trained."""
    measured: RelationMeasurements | None
    """Measurements of the tasks' gradients, in the first run if there was one."""
    precision: str
    micro_batch_size: int | None
    exact_accumulation: bool
    bit_exact: bool
    targets: list[TargetUse]
    """How the outputs of each teacher were obtained."""
    _outputs: dict[Network, Outputs] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def exported(self) -> int:
        """The index of the exported student, the best of them by validation."""
        return best_by_validation(self.students)

    @property
    def exported_control(self) -> int:
        """The index of the exported control, chosen like the student and of as many."""
        return best_by_validation(self.controls[: len(self.students)])

    @property
    def student(self) -> TrainedModel:
        """The exported student."""
        return self.students[self.exported]

    def seed_of(self, *, control: bool) -> int:
        """The seed of the exported student or control."""
        return self.run_spec.training.seed + (self.exported_control if control else self.exported)

    @property
    def peers(self) -> tuple[TrainedModel, ...]:
        """The peers of the exported student."""
        return self.peers_by_seed[self.exported]

    @property
    def control(self) -> TrainedModel | None:
        """The exported control; None without one."""
        return self.controls[self.exported_control] if self.controls else None

    @property
    def dataset_inputs(self) -> tuple[DatasetInput, ...]:
        """The datasets of the job, in its order."""
        return dataset_inputs(self.job.order, self.data.dataset)

    def outputs_of(self, model: TrainedModel) -> Outputs:
        """The outputs of a trained model on rows of the dataset, in evaluation mode. Those for the test rows are
        computed once: metrics, verdicts, warnings and predictions are all of the same pass.
        """
        network = model.network
        if network not in self._outputs:
            self._outputs[network] = remembered(self.data.outputs_of(network), self.data.split("test"))
        return self._outputs[network]

    @property
    def figures(self) -> TeacherFigures:
        """What earlier jobs measured of the teachers."""
        return TeacherFigures(Path(self.job.order.cache_dir))

    def facts_of_teacher(self, key: str, figures: str, **machine: int) -> dict[str, Any] | None:
        """What figures of this name of a teacher depend on: the teacher's outputs for the rows of the dataset, which
        the store knows by a key of everything that they depend on, and the `machine`, for times the number of threads.
        None where the store has several keys.
        """
        stored = self.teachers.uses[key].key
        return {"figures": figures, "version": VERSION, "teacher": stored, **machine} if stored is not None else None

    def dataset_uses(self) -> list[DatasetUse]:
        """The number of trained rows of each dataset, and its share of the batches."""
        rows = learnable_rows([each.student for each in self.tasks], self.data.split("train"))
        return dataset_uses(self.job.order, self.data.dataset, rows, self.run_spec.training.batch_size)
