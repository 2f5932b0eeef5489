"""A run: learners that the training loop trains at the same time, on one stream of batches.

A simple job is one run. A search has one for each candidate, repeats one for each further seed. Every run has its own
folder of checkpoints, and its result is stored, so that a resumed job does not repeat it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.specs.training import TrainingSettings
from workers.engine.data.dataset import Source
from workers.engine.data.mixture import Mixture
from workers.engine.tasks.build import BuiltTask
from workers.engine.tasks.run_spec import RunSpec
from workers.engine.tasks.task import Task, learnable_rows
from workers.engine.training.batches import BatchSchedule


@dataclass(frozen=True)
class Run:
    """One run of the training loop: its learners (student, control), rows and spec.

    `name` is empty for the main run; `offset` is the number of optimizer steps of the job's earlier runs.
    """

    name: str
    run_spec: RunSpec
    tasks: tuple[BuiltTask, ...]
    train: Tensor
    validation: Tensor
    start: Mapping[str, Tensor] = field(default_factory=dict)
    """Weights that replace the student's random initialisation."""
    pretrained: Mapping[str, Tensor] = field(default_factory=dict)
    """Weights from which student and control start, before `start`; each network takes those that it has."""
    student: bool = True
    control: bool = False
    baseline: bool = False
    """Whether its control is a baseline, which has a cache key of its own."""
    offset: int = 0
    series: str | None = None
    """The prefix of its metric series where that is not its name: the name of the run that it is a part of."""
    sources: tuple[Source, ...] = field(kw_only=True)
    """The datasets of the rows, which batches mix."""

    @property
    def training(self) -> TrainingSettings:
        """The training settings."""
        return self.run_spec.training

    def with_training(self, **changes: Any) -> "Run":
        """A copy with other training settings."""
        return replace(self, run_spec=self.run_spec.with_training(**changes))

    def as_long_as(self, other: "Run") -> "Run":
        """A copy with the optimizer steps of another run, evaluated as often: its epochs may have other lengths."""
        schedule, batches = other.schedule(), self.schedule().batches
        every = max(1, round(other.training.evaluate_every * schedule.batches / batches))
        return self.with_training(steps=schedule.steps, epochs=None, evaluate_every=every)

    @property
    def prefix(self) -> str:
        """The prefix of its metric series."""
        name = self.name if self.series is None else self.series
        return f"{name}/" if name else ""

    @property
    def control_alone(self) -> "Run | None":
        """A separate run of the control if some of the student's rows have no label; else None.

        In the student's batches it would be trained on few labels each, and be weaker than on batches of labelled rows.
        """
        if not self.control or not self.student:
            return None
        alone = self._without_student()
        schedule = self.schedule()
        if len(alone.schedule().rows) == len(schedule.rows):
            return None
        return replace(alone.as_long_as(self), offset=self.offset + schedule.steps)

    @property
    def of_control(self) -> "Run | None":
        """The control by itself; None without one."""
        if not self.control:
            return None
        alone = self.control_alone
        if alone is not None:
            return alone
        return replace(self._without_student(), start={})

    def _without_student(self) -> "Run":
        name = f"{self.name}-control" if self.name else "control"
        return replace(self, name=name, series=self.name, student=False)

    @property
    def beside_control(self) -> "Run":
        """Student and control in a run with a result of its own, as the student may be trained again."""
        return replace(self, name=f"{self.name}-beside" if self.name else "beside", series=self.name)

    @property
    def parts(self) -> tuple["Run", ...]:
        """The runs of the loop that student and control take: two where the control has its own batches."""
        alone = self.control_alone
        return (self,) if alone is None else (replace(self, control=False), alone)

    def schedule(self) -> BatchSchedule:
        """The batches of the run. Raises UserError `nothing_to_learn`."""
        rows = learnable_rows(self._trained_tasks(), self.train)
        if len(rows) == 0:
            raise UserError(
                "nothing_to_learn", "no row of the training split has a label or a teacher's output: add some"
            )
        return BatchSchedule(self.training, rows, self.validation, Mixture.of(self.sources, rows))

    def _trained_tasks(self) -> list[Task]:
        if self.student:
            return [each.student for each in self.tasks]
        return [each.control for each in self.tasks if each.control is not None]
