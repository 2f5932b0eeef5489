"""Can batches be mixed from the datasets: a row of each in every batch, and something to learn from each."""

from collections.abc import Mapping
from typing import assert_never

from app.contracts.resolving.data.proportions import least_batch
from app.contracts.resolving.findings import Findings
from app.contracts.resources.facts import DatasetFacts
from app.contracts.specs.jobs import AnyTrainingJob, DistillJob, MultitaskJob, TaskSpec, TrainJob


def check_mixture(spec: AnyTrainingJob, datasets: Mapping[str, DatasetFacts | None], findings: Findings) -> None:
    """Problems for batches without a row of some dataset, and datasets that no task learns from; `spec` is resolved."""
    refs = spec.dataset_refs()
    if len(refs) == 1:
        return
    least = least_batch([ref.weight for ref in refs])
    if spec.training.batch_size is not None and spec.training.batch_size < least:
        findings.problem(
            "/training/batch_size",
            "batch_too_small",
            f"a batch of {spec.training.batch_size} rows has less than one row of the dataset of the smallest weight: "
            f"use batches of {least} rows or more, or raise its weight",
        )
    tasks = _tasks(spec)
    for i, ref in enumerate(refs):
        facts = datasets.get(ref.dataset)
        if facts is not None and tasks and not any(_teaches(facts, task) for task in tasks):
            findings.problem(
                f"/datasets/{i}",
                "dataset_unused",
                f"no task learns from the training rows of {ref.dataset}: they have neither labels of a task nor a "
                "teacher; leave the dataset out, or add a task or teacher",
            )


def _tasks(spec: AnyTrainingJob) -> tuple[TaskSpec, ...]:
    if isinstance(spec, MultitaskJob):
        return spec.tasks
    if spec.target is None:
        return ()  # not known yet, or a problem of its own
    task = TaskSpec(name=spec.target, target=spec.target)
    match spec:
        case TrainJob():
            return (task,)
        case DistillJob():
            if spec.mutual is not None:
                return ()  # peers teach each other on all rows
            return (task.model_copy(update={"teachers": spec.teachers, "distillation": spec.distillation}),)
        case _:
            assert_never(spec)


def _teaches(facts: DatasetFacts, task: TaskSpec) -> bool:
    """Whether a task has labels in the dataset's training rows that count, or a teacher with outputs for them."""
    teachers = task.teachers or ()
    names = [teacher.stored_as for teacher in teachers if teacher.stored_as is not None]
    if len(names) < len(teachers):
        return True  # a model has outputs for every row
    counts = task.distillation is None or task.distillation.supervised.weight != 0.0
    labels = [task.target or task.name] if counts else []
    known = [facts.targets[name] for name in (*names, *labels) if name in facts.targets]
    return any(target.labelled.get("train", 0) > 0 for target in known)
