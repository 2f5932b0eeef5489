"""The settings of a job's training: everything that the recipe chooses of them, in order."""

from collections.abc import Sequence

from app.contracts.resolving.findings import Findings
from app.contracts.resolving.recipe.memory_format import with_memory_format
from app.contracts.resolving.recipe.threads import with_threads
from app.contracts.resolving.recipe.training import Subject, with_recipe
from app.contracts.resolving.recipe.views import with_views
from app.contracts.resources.facts import DatasetFacts, ModelFacts
from app.contracts.specs.architectures import Architecture, architecture_of
from app.contracts.specs.jobs import AnyTrainingJob, MultitaskJob
from app.contracts.specs.training import TrainingSpec


def with_settings(
    spec: AnyTrainingJob,
    network: Architecture,
    teachers: Sequence[ModelFacts],
    dataset: DatasetFacts,
    own: Sequence[str],
    threads: int,
    findings: Findings,
) -> TrainingSpec:
    """The settings of a job that is resolved but for them. `network`: its network; `teachers`: the models among its
    teachers, as far as they are known; `own`: pointers of those that read files by a form of their own; `threads`: the
    largest number to choose.
    """
    is_begun = any(getattr(network, name, None) is not None for name in ("init", "pretrained"))
    subject = Subject(architecture_of(network), _rows(spec, dataset), is_begun)
    training = with_recipe(spec.training, subject, findings)
    training = with_views(spec, training, dataset, own, findings)
    training = with_threads(training, subject, teachers, threads, findings)
    training = with_memory_format(training, architecture_of(network), teachers, findings)
    _check_warmup(training, -(-subject.rows // (training.batch_size or 1)), findings)
    return training


def _rows(spec: AnyTrainingJob, dataset: DatasetFacts) -> int:
    """The training rows that the student learns from: without teachers those with a label."""
    if any(True for _ in spec.teacher_refs()):
        return dataset.splits.get("train", 0)
    names = [task.target or task.name for task in spec.tasks] if isinstance(spec, MultitaskJob) else [spec.target]
    targets = (dataset.targets.get(name) for name in names if name is not None)
    labelled = max((target.labelled.get("train", 0) for target in targets if target is not None), default=0)
    return labelled or dataset.splits.get("train", 0)


def _check_warmup(training: TrainingSpec, batches: int, findings: Findings) -> None:
    steps = training.steps or (training.epochs or 1) * batches
    if training.warmup is not None and 0 < steps <= training.warmup:
        findings.warn(
            "warmup_to_the_end",
            f"{training.warmup} steps of warm-up are all of the {steps} steps: the learning rate is never reached",
        )
