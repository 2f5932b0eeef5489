"""Warnings about the length of a training, the size of a student and what it is measured on, known before it runs."""

from collections.abc import Mapping

from app.contracts.layouts.summary import flops, parameter_count
from app.contracts.resolving.distillation.teachers import facts_of_teacher
from app.contracts.resolving.findings import Findings
from app.contracts.resolving.recipe.training import LEAST_STEPS, LENGTHS, passes
from app.contracts.resources.facts import DatasetFacts, ModelFacts
from app.contracts.resources.splits import SplitName
from app.contracts.specs.architectures import Architecture, architecture_of
from app.contracts.specs.families.library import HuggingFace
from app.contracts.specs.jobs import AnyTrainingJob, MultitaskJob
from app.contracts.specs.training import TrainingSpec

FEW_STEPS = 750
"""Half of the recipe's fewest steps. At fewer, networks from random weights were worse than they could be on 10 of 14
tasks, and well trained on one."""
LONG_FLOPS = 5e14
"""Floating-point operations of training, three forward passes a step, above which it is long without a GPU."""
CORE_FLOPS = 5e10
"""Floating-point operations that a core of a CPU makes in a second in steps of transformers of width 768, as an order
of magnitude: 4.3e10 to 7.3e10 were measured, with 128 and 32 tokens a row.
"""
_EFFECTS: Mapping[SplitName, str] = {
    "validation": "no metric can select the best epoch",
    "test": "the student is not measured, and the verdict will be `not_applicable`",
}


def warn_of_sizes(
    spec: AnyTrainingJob,
    network: Architecture,
    training: TrainingSpec,
    dataset: DatasetFacts,
    models: Mapping[str, ModelFacts | None],
    findings: Findings,
) -> None:
    """All warnings, of a resolved `network` and the `training` chosen for it."""
    if all(getattr(spec.network, name, None) is None for name in ("init", "pretrained")):
        batches = -(-dataset.splits.get("train", 0) // (training.batch_size or 1))
        warn_of_few_steps(spec.training, batches, findings)
    warn_of_long_training(spec, network, training, dataset.splits.get("train", 0), findings)
    warn_of_larger_student(spec, architecture_of(network), dataset, models, findings)
    warn_of_unmeasured_splits(spec, dataset, findings)


def warn_of_few_steps(training: TrainingSpec, batches: int, findings: Findings) -> None:
    """`few_steps` where the spec itself names a length below FEW_STEPS, or below half of the steps of the shorter
    recipe that it names; `batches` is their number in an epoch.
    """
    if training.steps is None and training.epochs is None:
        return
    steps = training.steps or (training.epochs or 1) * batches
    least = min(FEW_STEPS, round(LEAST_STEPS * LENGTHS[training.recipe] / 2))
    if steps < least:
        named = f"{training.epochs} epochs" if training.steps is None else "steps"
        findings.warn(
            "few_steps",
            f"`training` names {named}, which are {steps} optimizer steps, expected {least} or more for a network with "
            "random initial weights: set more, or leave `steps` and `epochs` out, and the recipe chooses",
        )


def warn_of_long_training(
    spec: AnyTrainingJob, network: Architecture, training: TrainingSpec, rows: int, findings: Findings
) -> None:
    """`long_training` where 3 · F · rows seen, for F floating-point operations of a forward pass of one row, are more
    than LONG_FLOPS.
    """
    described = architecture_of(network)
    operations = 3.0 * flops(described) * passes(training, rows) * rows
    if operations <= LONG_FLOPS:
        return
    count = parameter_count(described)
    smaller = (
        "give its `config` smaller sizes and fewer layers, or use "
        if isinstance(network, HuggingFace)
        else "choose a smaller network, or use "
    )
    begun = "`from_teacher`, " if spec.network.pretrained is None and any(True for _ in spec.teacher_refs()) else ""
    findings.warn(
        "long_training",
        f"training of the `{network.family}` network of {count:,} parameters takes about {operations:.1e} "
        f"floating-point operations, on a CPU about {operations / CORE_FLOPS / 3600:,.0f} hours of a core, expected up "
        f"to {LONG_FLOPS:.0e}: {smaller}{begun}fewer `steps` or a GPU",
    )


def warn_of_larger_student(
    spec: AnyTrainingJob,
    network: Architecture,
    dataset: DatasetFacts,
    models: Mapping[str, ModelFacts | None],
    findings: Findings,
) -> None:
    """`student_larger_than_teacher` where a resolved student has more parameters than all of its teachers together,
    each counted once; nothing where the parameters of one are unknown, as those of teachers given as columns.
    """
    refs = {ref.model or ref.job or ref.stored_as: ref for _, ref in spec.teacher_refs()}
    known = [facts_of_teacher(ref, dataset, models) for ref in refs.values()]
    counts = [facts.parameters if isinstance(facts, ModelFacts) else None for facts in known]
    teachers, student = sum(count or 0 for count in counts), parameter_count(network)
    if counts and all(counts) and student > teachers:
        findings.warn(
            "student_larger_than_teacher",
            f"the student has {student:,} parameters, expected no more than the {teachers:,} of what teaches it: "
            "choose a smaller student, or use the teacher itself",
        )


def warn_of_unmeasured_splits(spec: AnyTrainingJob, dataset: DatasetFacts, findings: Findings) -> None:
    """`no_labels_to_measure` where a task has labels to train on, and none on the validation or test rows there are."""
    names = [task.target or task.name for task in spec.tasks] if isinstance(spec, MultitaskJob) else [spec.target]
    for name in names:
        target = dataset.targets.get(name or "")
        if target is None or target.kind == "teacher" or not target.labelled.get("train", 0):
            continue
        for split, effect in _EFFECTS.items():
            rows = dataset.splits.get(split, 0)
            if rows and not target.labelled.get(split, 0):
                findings.warn(
                    "no_labels_to_measure",
                    f"`{name}` has no label on the {rows:,} {split} rows, expected some: {effect}; label rows of this "
                    "split, or choose other `splits`",
                )
