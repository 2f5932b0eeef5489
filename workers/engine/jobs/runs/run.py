"""A run: what the loop trains at once, on one stream of batches.

A plain job is one run. A search has one for each candidate, and repeats one for each further seed; each keeps its
checkpoints in a folder of its own, and what it ended with, so that a resumed job does no run twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.specs.training import TrainingSpec
from workers.engine.data.dataset import Source
from workers.engine.data.mixture import Mixture
from workers.engine.tasks.build import BuiltTask
from workers.engine.tasks.run_spec import RunSpec
from workers.engine.tasks.task import Task, learnable_rows
from workers.engine.training.batches import BatchSchedule


@dataclass(frozen=True)
class Run:
    """One run of the loop: who trains (student, control), on which rows, by which spec.

    `name` is empty for the job's own run; `offset` counts the optimizer steps of the job's runs before it.
    """

    name: str
    run_spec: RunSpec
    tasks: tuple[BuiltTask, ...]
    train: Tensor
    validation: Tensor
    start: Mapping[str, Tensor] = field(default_factory=dict)
    """What the student starts from instead of random weights."""
    student: bool = True
    control: bool = False
    baseline: bool = False
    """Whether its control is a single-task model, cached by what its own bits depend on."""
    offset: int = 0
    sources: tuple[Source, ...] = field(kw_only=True)
    """The datasets that the rows are of, which its batches mix."""

    @property
    def training(self) -> TrainingSpec:
        """How its learners are trained."""
        return self.run_spec.training

    def with_training(self, **changes: Any) -> "Run":
        """The same run with other training settings."""
        return replace(self, run_spec=self.run_spec.with_training(**changes))

    @property
    def control_alone(self) -> "Run | None":
        """The control's own run where some of the student's rows have no label: sharing the student's batches it
        would learn from the few labels of each, and be weaker than one that goes through labelled rows alone.
        """
        if not self.control or not self.student:
            return None
        alone = replace(self, name=f"{self.name}-control" if self.name else "control", student=False)
        schedule = self.schedule()
        if len(alone.schedule().rows) == len(schedule.rows):
            return None
        return replace(alone.with_training(steps=schedule.steps, epochs=None), offset=self.offset + schedule.steps)

    @property
    def parts(self) -> tuple["Run", ...]:
        """The runs of the loop that student and control take: two where the control has its own batches."""
        alone = self.control_alone
        return (self,) if alone is None else (replace(self, control=False), alone)

    def schedule(self) -> BatchSchedule:
        """The rows that its learners train on. Raises UserError `nothing_to_learn`."""
        rows = learnable_rows(self._learned(), self.train)
        if len(rows) == 0:
            raise UserError("nothing_to_learn", "no row of the training split has a label or a teacher's output")
        return BatchSchedule(self.training, rows, self.validation, Mixture.of(self.sources, rows))

    def _learned(self) -> list[Task]:
        if self.student:
            return [each.student for each in self.tasks]
        return [each.control for each in self.tasks if each.control is not None]
