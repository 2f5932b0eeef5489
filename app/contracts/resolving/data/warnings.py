"""The warnings of a job's datasets that concern the job, files that it reads twice, and what it cannot export."""

from collections.abc import Mapping, Sequence
from typing import assert_never

from app.contracts.resolving.data.exports import check_exports
from app.contracts.resolving.findings import Findings
from app.contracts.resources.facts import DatasetFacts
from app.contracts.specs.jobs import AnyTrainingJob, DatasetRef, DistillJob, MultitaskJob, TeacherRef, TrainJob


def repeat_warnings(spec: AnyTrainingJob, datasets: Mapping[str, DatasetFacts | None], findings: Findings) -> None:
    """Add the warnings of the datasets about inputs and about the targets and teacher columns that the job uses, and
    about files that it reads twice or that an exported graph cannot take.
    """
    refs = spec.dataset_refs()
    used, read = _targets(spec), spec.network.inputs
    for ref in refs:
        facts = datasets.get(ref.dataset)
        for warning in facts.warnings if facts is not None else ():
            of_inputs = not warning.inputs or read is None or bool(set(read).intersection(warning.inputs))
            if of_inputs and (not warning.targets or used.intersection(warning.targets)):
                place = f"dataset {ref.dataset}: " if len(refs) > 1 else ""
                findings.warn(warning.code, f"{place}{warning.message}")
    _same_files(refs, datasets, findings)
    check_exports(spec, datasets, findings)


def _targets(spec: AnyTrainingJob) -> set[str]:
    match spec:
        case TrainJob():
            return {spec.target} if spec.target is not None else set()
        case DistillJob():
            return ({spec.target} if spec.target is not None else set()) | _columns(spec.teachers)
        case MultitaskJob():
            names = {task.target or task.name for task in spec.tasks}
            return names.union(*(_columns(task.teachers) for task in spec.tasks))
        case _:
            assert_never(spec)


def _columns(teachers: Sequence[TeacherRef] | None) -> set[str]:
    return {ref.stored_as for ref in teachers or () if ref.stored_as is not None}


def _same_files(refs: Sequence[DatasetRef], datasets: Mapping[str, DatasetFacts | None], findings: Findings) -> None:
    """A warning for each dataset that has the same file as an earlier one."""
    first: dict[str, str] = {}
    for ref in refs:
        facts = datasets.get(ref.dataset)
        if facts is None or facts.sha256 is None:
            continue
        earlier = first.setdefault(facts.sha256, ref.dataset)
        if earlier != ref.dataset:
            findings.warn(
                "same_file",
                f"{ref.dataset} has the same file as {earlier}: its rows count twice, and where the two are split "
                "differently rows of one's test split are trained on through the other. Leave one out, or give both "
                "the same `splits`",
            )
