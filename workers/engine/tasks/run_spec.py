"""A job's spec in one form for `train`, `distill` and `multitask`."""

from dataclasses import dataclass, field, replace
from typing import Any

from app.contracts.specs.architectures import Architecture, Init, plain
from app.contracts.specs.balancing import Balancing, FixedBalancing
from app.contracts.specs.jobs import ControlSpec, DistillJob, MultitaskJob, MutualSpec, TaskSpec, TrainJob
from app.contracts.specs.phases import Phase
from app.contracts.specs.relations import EstimatedRelation
from app.contracts.specs.training import TrainingSpec
from workers.engine.tasks.relation import (
    AppliedRelation,
    applied_relation,
    related_student,
    related_tasks,
    relation_to_probe,
)

Spec = TrainJob | DistillJob | MultitaskJob


@dataclass(frozen=True)
class RunSpec:
    """The spec of one run of the training loop: architecture, tasks, balancing and relation."""

    spec: Spec
    architecture: Architecture
    tasks: tuple[TaskSpec, ...]
    balancing: Balancing = field(default_factory=lambda: FixedBalancing(method="fixed"))
    relation: AppliedRelation | None = None
    """The task relation R, where it is applied in optimizer steps."""
    probe: EstimatedRelation | None = None
    """The relation that a first run must estimate before the student can be built."""
    control: bool = False
    control_smoothing: float | None = None
    """Label smoothing of the control; None: that of the student."""
    mutual: MutualSpec | None = None
    repeats: int = 1
    init: Init | None = None
    baselines: bool = False

    @classmethod
    def of(cls, spec: Spec) -> "RunSpec":
        """`train` and `distill` become jobs of one task, named after its target."""
        if isinstance(spec, TrainJob):
            assert spec.target is not None
            return cls(spec, spec.model, (TaskSpec(name=spec.target, target=spec.target),))
        smoothing = spec.control.label_smoothing if isinstance(spec.control, ControlSpec) else None
        control = spec.control is not False
        if isinstance(spec, MultitaskJob):
            return cls(
                spec,
                plain(related_student(spec)),
                tuple(related_tasks(spec)),
                spec.balancing,
                applied_relation(spec),
                relation_to_probe(spec),
                control,
                smoothing,
                repeats=spec.repeats,
                init=spec.student.init,
                baselines=spec.baselines,
            )
        assert spec.target is not None
        task = TaskSpec(name=spec.target, target=spec.target)
        if spec.teachers:
            task = task.model_copy(update={"teachers": spec.teachers, "distillation": spec.distillation})
        return cls(
            spec,
            plain(spec.student),
            (task,),
            control=control,
            control_smoothing=smoothing,
            mutual=spec.mutual,
            repeats=spec.repeats,
            init=spec.student.init,
        )

    @property
    def training(self) -> TrainingSpec:
        """Batches, steps, optimizer, selection."""
        return self.spec.training

    def with_training(self, **changes: Any) -> "RunSpec":
        """A copy with other training settings. Changes are not validated: they come from the engine."""
        training = self.training.model_copy(update=changes)
        return replace(self, spec=self.spec.model_copy(update={"training": training}))

    @property
    def frozen_heads(self) -> dict[str, Phase]:
        """Tasks whose head is a teacher's (`simkd`), and the phase during which it is frozen."""
        return {
            task.name: term.phase or Phase()
            for task in self.tasks
            for term in (task.distillation.features if task.distillation else None) or ()
            if term.method == "simkd"
        }

    @property
    def peers(self) -> tuple[Architecture, ...]:
        """The other students of mutual learning."""
        return self.mutual.peers if self.mutual is not None else ()

    def architecture_of(self, learner: str) -> Architecture:
        """The architecture of `student`, `control` or `peer-<n>`."""
        if learner.startswith("peer-"):
            return self.peers[int(learner.removeprefix("peer-")) - 1]
        return self.architecture
