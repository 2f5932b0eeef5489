"""The warnings of a job's datasets that concern the job, files that it reads twice, and what it cannot export."""

from collections.abc import Mapping, Sequence
from typing import Final, assert_never

from app.contracts.resolving.data.exports import check_exports
from app.contracts.resolving.data.texts import tokens_of
from app.contracts.resolving.findings import Findings
from app.contracts.resources.facts import DatasetFacts, ModelFacts
from app.contracts.resources.inputs.texts import TokenEncoding, reads_same_tokens
from app.contracts.resources.statistics import DataWarning
from app.contracts.specs.architectures import AnyNetwork
from app.contracts.specs.families.starts import StandIn
from app.contracts.specs.jobs import AnyTrainingJob, DatasetRef, DistillJob, MultitaskJob, TeacherRef, TrainJob

_OF_TOKENIZER: Final = ("texts_cut",)
"""Codes of warnings that are about the dataset's own tokenizer: of students with another one the job says it itself."""
_OF_ROWS: Final = (
    "texts_lose_their_end",
    "texts_padded_behind",
    "image_processor_differs",
    "no_image_processor",
    "no_feature_extractor",
)
"""Codes of a model's notes that its rows are made otherwise here than where it was trained, which changes answers."""

Models = Mapping[str, ModelFacts | None]


def repeat_warnings(
    spec: AnyTrainingJob, datasets: Mapping[str, DatasetFacts | None], models: Models, findings: Findings
) -> None:
    """Add the warnings of the datasets about inputs and about the targets and teacher columns that the job uses, and
    about files that it reads twice or that an exported graph cannot take; and the notes of teachers on other answers.
    """
    refs = spec.dataset_refs()
    used = _targets(spec)
    for ref in refs:
        facts = datasets.get(ref.dataset)
        for warning in facts.warnings if facts is not None else ():
            of_network = facts is not None and _concerns(spec.network, warning, facts, models)
            if of_network and (not warning.targets or used.intersection(warning.targets)):
                place = f"dataset {ref.dataset}: " if len(refs) > 1 else ""
                findings.warn(warning.code, f"{place}{warning.message}")
    _of_teachers(spec, models, findings)
    _same_files(refs, datasets, findings)
    check_exports(spec, datasets, findings)


def _of_teachers(spec: AnyTrainingJob, models: Models, findings: Findings) -> None:
    """The notes of each teacher by which its answers are not those that it has elsewhere."""
    names = dict.fromkeys(ref.model or ref.job or "" for _, ref in spec.teacher_refs())
    for name in names:
        facts = models.get(name)
        for note in facts.warnings if facts is not None else ():
            if note["code"] in _OF_ROWS:
                findings.warn(note["code"], f"teacher {name}: {note['message']}")


def _concerns(network: AnyNetwork, warning: DataWarning, facts: DatasetFacts, models: Models) -> bool:
    """Whether a warning is about something that the network reads."""
    read = warning.inputs if network.inputs is None else set(network.inputs).intersection(warning.inputs)
    if warning.inputs and not read:
        return False
    tokens = [facts.inputs[name].tokens for name in read if name in facts.inputs]
    return warning.code not in _OF_TOKENIZER or any(_reads_as(network, each, models) for each in tokens)


def _reads_as(network: AnyNetwork, tokens: TokenEncoding | None, models: Models) -> bool:
    """Whether a network reads an input of texts as its dataset does; False where its tokenizer is not known yet."""
    if isinstance(network, StandIn):
        return False
    if tokens is None or network.tokenizer_model is None:
        return True
    facts = models.get(network.tokenizer_model)
    if facts is None:
        return False
    theirs = tokens_of(facts)
    if theirs is None:
        return True
    length = network.input_shape[0] if network.input_shape is not None else theirs.length
    return reads_same_tokens(theirs, tokens) and length == tokens.length


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
