"""A job's spec in one form for `train`, `distill` and `multitask`."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, assert_never

from app.contracts.specs.architectures import Architecture, Init, architecture_of
from app.contracts.specs.balancing import Balancing, FixedBalancing
from app.contracts.specs.jobs import (
    FIRST_SEEDS,
    MOST_SEEDS,
    AnyTrainingJob,
    ControlSpec,
    DistillJob,
    MultitaskJob,
    MutualSpec,
    TaskSpec,
    TrainJob,
)
from app.contracts.specs.phases import Phase
from app.contracts.specs.relations import EstimatedRelation
from app.contracts.specs.training import TrainingSettings
from workers.engine.tasks.relation import (
    AppliedRelation,
    applied_relation,
    related_student,
    related_tasks,
    relation_to_probe,
)


@dataclass(frozen=True)
class RunSpec:
    """The spec of one run of the training loop: architecture, tasks, balancing and relation."""

    spec: AnyTrainingJob
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
    """Seeds that are trained in any case."""
    most_repeats: int = 1
    """Seeds that are trained at most, while the difference from the control is undecided."""
    init: Init | None = None
    baselines: bool = False

    @classmethod
    def of(cls, spec: AnyTrainingJob) -> "RunSpec":
        """`train` and `distill` become jobs of one task, named after its target."""
        match spec:
            case TrainJob():
                return cls(spec, architecture_of(spec.model), (_only_task(spec),))
            case DistillJob():
                task = _only_task(spec)
                if spec.teachers:
                    task = task.model_copy(update={"teachers": spec.teachers, "distillation": spec.distillation})
                return cls(
                    spec,
                    architecture_of(spec.student),
                    (task,),
                    control=spec.control is not False,
                    control_smoothing=_smoothing(spec.control),
                    mutual=spec.mutual,
                    **_repeats(spec),
                    init=spec.student.init,
                )
            case MultitaskJob():
                return cls(
                    spec,
                    architecture_of(related_student(spec)),
                    tuple(related_tasks(spec)),
                    spec.balancing,
                    applied_relation(spec),
                    relation_to_probe(spec),
                    control=spec.control is not False,
                    control_smoothing=_smoothing(spec.control),
                    **_repeats(spec),
                    init=spec.student.init,
                    baselines=bool(spec.baselines),
                )
            case _:
                assert_never(spec)

    @cached_property
    def training(self) -> TrainingSettings:
        """Batches, steps, optimizer, selection. Raises ValueError where the spec is not resolved."""
        return TrainingSettings.of(self.spec.training, self.spec.quantization)

    def with_training(self, **changes: Any) -> "RunSpec":
        """A copy with other training settings. Changes are not validated: they come from the engine."""
        training = self.spec.training.model_copy(update=changes)
        return replace(self, spec=self.spec.model_copy(update={"training": training}))

    @property
    def frozen_heads(self) -> dict[str, Phase]:
        """Tasks whose head is a teacher's, and the phase during which it is frozen."""
        return {
            task.name: term.phase or Phase()
            for task in self.tasks
            for term in (task.distillation.features if task.distillation else None) or ()
            if term.reuses_head
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


def _only_task(spec: TrainJob | DistillJob) -> TaskSpec:
    assert spec.target is not None, "resolved"
    training = spec.training
    return TaskSpec(
        name=spec.target,
        target=spec.target,
        loss=training.loss,
        class_weights=training.class_weights,
        row_weights=training.row_weights,
    )


def _repeats(spec: DistillJob | MultitaskJob) -> dict[str, Any]:
    """Without a control there is no difference to decide."""
    if spec.repeats != "auto":
        return {"repeats": spec.repeats, "most_repeats": spec.repeats}
    return {"repeats": FIRST_SEEDS, "most_repeats": MOST_SEEDS} if spec.control else {}


def _smoothing(control: bool | ControlSpec) -> float | None:
    """Label smoothing of the control; None where it is that of the student."""
    return control.label_smoothing if isinstance(control, ControlSpec) else None
