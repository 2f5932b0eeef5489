"""What a task on labels of tokens or pixels cannot be combined with, and whether its models fit each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from app.contracts.resolving.data.targets import Goal, goal_of
from app.contracts.resolving.data.texts import tokens_of
from app.contracts.resolving.distillation.searches import searches
from app.contracts.resolving.findings import Findings
from app.contracts.resolving.students.texts import encoding_of
from app.contracts.resources.facts import DatasetFacts, ModelFacts
from app.contracts.resources.inputs.texts import TokenEncoding, reads_same_tokens
from app.contracts.resources.manifests import MapOutput
from app.contracts.specs.distillation import DistillationSpec, TaskKind
from app.contracts.specs.families.library import HuggingFace
from app.contracts.specs.jobs import AnyTrainingJob, DistillJob, MultitaskJob, TeacherRef, TrainJob
from app.contracts.specs.relations import SearchedRelation
from app.contracts.specs.supervision.metrics import POSITION_KINDS

Models = Mapping[str, ModelFacts | None]
MOST_NUMBERS: Final = 1 << 30
"""Largest number of logits of a map over all rows of a dataset: 4 GiB."""


@dataclass(frozen=True)
class _Words:
    """How messages call a kind of task, and the code of its problems."""

    code: str
    places: str
    labels: str


_WORDS: Final[Mapping[TaskKind, _Words]] = {
    "token_class": _Words("tagging_undefined", "tokens", "labels of tokens"),
    "map": _Words("map_undefined", "pixels", "maps"),
}


def check_positions(
    spec: TrainJob | DistillJob, goal: Goal, dataset: DatasetFacts, models: Models, findings: Findings
) -> None:
    """Problems of a job whose goal is a class for each position of a row."""
    if goal.kind not in POSITION_KINDS:
        return
    if goal.kind == "token_class":
        if goal_of(dataset, goal.name) is None:
            _refuse(
                findings,
                goal,
                "/target",
                "expected a target of kind `token_class` in the dataset, whose lists say which tokens there are, found "
                "none: add one, with null where there are no labels",
            )
            return
        _check_network_of_texts(spec, goal, dataset, findings)
    _check_job(spec, [goal], dataset, findings)
    if isinstance(spec, DistillJob):
        refuse = partial(_refuse, findings, goal)
        if spec.mutual is not None:
            refuse("/mutual", f"peers learn classes of rows, and these are {_WORDS[goal.kind].labels}: leave it out")
        _check_distillation(spec, spec.teachers or (), spec.distillation, goal, findings, "")
        own = encoding_of(spec.student, dataset, models) if goal.kind == "token_class" else None
        _check_teachers(spec, spec.teachers or (), goal, models, own, findings, "")


def check_tasks_of_positions(
    spec: MultitaskJob, goals: Sequence[Goal | None], dataset: DatasetFacts, models: Models, findings: Findings
) -> None:
    """The same of a job of several tasks: maps beside others, labels of tokens alone."""
    found = [(i, goal) for i, goal in enumerate(goals) if goal is not None and goal.kind in POSITION_KINDS]
    if not found:
        return
    _check_job(spec, [goal for _, goal in found], dataset, findings)
    if spec.relation is not None and (isinstance(spec.relation, SearchedRelation) or spec.relation.apply == "teachers"):
        detail = "maps have one teacher, so that no other is lent to them: apply it to `rows`, or leave it out"
        _refuse(findings, found[0][1], "/relation", detail)
    for i, goal in found:
        task, place = spec.tasks[i], f"/tasks/{i}"
        if goal.kind == "token_class":
            detail = (
                f"`{goal.name}` has labels of tokens, which are learned alone: use a job of kind `train` or `distill`"
            )
            _refuse(findings, goal, f"{place}/target", detail)
            continue
        if task.row_weights is not None:
            _refuse(
                findings, goal, f"{place}/row_weights", "weights are those of rows, and pixels have none: leave it out"
            )
        _check_distillation(spec, task.teachers or (), task.distillation, goal, findings, place)
        _check_teachers(spec, task.teachers or (), goal, models, None, findings, place)


def _refuse(findings: Findings, goal: Goal, pointer: str, detail: str) -> None:
    findings.problem(pointer, _WORDS[goal.kind].code, detail)


def _check_job(spec: AnyTrainingJob, goals: Sequence[Goal], dataset: DatasetFacts, findings: Findings) -> None:
    """What a job with such tasks cannot have."""
    goal, words = goals[0], _WORDS[goals[0].kind]
    refuse = partial(_refuse, findings, goal)
    if len(spec.dataset_refs()) > 1:
        refuse("/datasets", f"{words.labels} are learned of one dataset, found several: name one")
    if spec.training.row_weights is not None:
        refuse(
            "/training/row_weights", f"weights are those of rows, and {words.places} have none: leave `row_weights` out"
        )
    if spec.quantization is not None:
        detail = f"training with rounded weights is not there for networks that answer for {words.places}: leave it out"
        way_out = ', and `"exports": ["int8"]` quantizes the file after training' if goal.kind == "token_class" else ""
        refuse("/quantization", detail + way_out)
    rounded = [each for each in spec.exports if each != "onnx"]
    if rounded and goal.kind == "map":
        place = f"/exports/{spec.exports.index(rounded[0])}"
        refuse(place, f"`{rounded[0]}` is not made of networks that answer for {words.places}: use `onnx`")
    for pointer, _ in searches(spec.model_dump(mode="json")):
        refuse(pointer, f"tasks on {words.labels} have no searches: give a number")
    for each in goals:
        if each.shape is not None and each.shape[0] * each.shape[1] * each.size * dataset.rows > MOST_NUMBERS:
            findings.problem(
                "/dataset",
                "map_too_large",
                f"{dataset.rows:,} rows of {each.shape[0]}x{each.shape[1]} pixels and {each.size} classes have more "
                f"than {MOST_NUMBERS:,} logits, expected no more, as a worker keeps all of them: upload smaller maps, "
                "or fewer rows",
            )


def _check_network_of_texts(spec: TrainJob | DistillJob, goal: Goal, dataset: DatasetFacts, findings: Findings) -> None:
    network = spec.network
    place = f"/{spec.network_field}"
    if not isinstance(network, HuggingFace) or network.reads != "tokens":
        _refuse(
            findings,
            goal,
            f"{place}/family",
            f"expected a network with a head for each token, found one of the family `{network.family}`: use one of "
            'transformers for texts, such as `{"family": "huggingface", "name": "bert"}`',
        )
        return
    labelled = dataset.targets[goal.name].input
    read = network.inputs or tuple(dataset.inputs)
    if labelled is not None and len(dataset.inputs) > 1 and read != (labelled,):
        _refuse(
            findings,
            goal,
            f"{place}/inputs",
            f"`{goal.name}` labels the tokens of `{labelled}`, and the network reads another input: "
            f'give `"inputs": ["{labelled}"]`',
        )


def _check_distillation(
    spec: DistillJob | MultitaskJob,
    teachers: Sequence[TeacherRef],
    distillation: DistillationSpec | None,
    goal: Goal,
    findings: Findings,
    place: str,
) -> None:
    refuse, words = partial(_refuse, findings, goal), _WORDS[goal.kind]
    if spec.store.top_k is not None:
        refuse("/store/top_k", f"all scores of {words.places} are kept: leave `top_k` out")
    if distillation is not None and distillation.features:
        refuse(f"{place}/distillation/features", f"layers of {words.places} are not compared: leave `features` out")
    for i, term in enumerate((distillation.soft_targets if distillation is not None else None) or ()):
        if term.row_weights is not None:
            pointer = f"{place}/distillation/soft_targets/{i}/row_weights"
            refuse(pointer, f"{words.places} have no row weights: leave them out")
    if len(teachers) > 1:
        refuse(f"{place}/teachers/1", f"{words.labels} have one teacher, found {len(teachers)}: name one")


def _check_teachers(
    spec: DistillJob | MultitaskJob,
    teachers: Sequence[TeacherRef],
    goal: Goal,
    models: Models,
    own: TokenEncoding | None,
    findings: Findings,
    place: str,
) -> None:
    for i, ref in enumerate(teachers[:1]):
        facts = models.get(ref.model or ref.job or "")
        if facts is not None:
            _check_teacher(spec, ref, facts, goal, own, findings, f"{place}/teachers/{i}")


def _check_teacher(
    spec: DistillJob | MultitaskJob,
    ref: TeacherRef,
    facts: ModelFacts,
    goal: Goal,
    own: TokenEncoding | None,
    findings: Findings,
    pointer: str,
) -> None:
    """A teacher must answer for maps of the same size, and read the tokens that the student reads."""
    theirs = facts.outputs[ref.output].spec if ref.output in facts.outputs else None
    shape = theirs.shape if isinstance(theirs, MapOutput) else goal.shape
    if goal.kind == "map" and shape != goal.shape:
        findings.problem(
            pointer,
            "shape_mismatch",
            f"the maps of the teacher have shape {list(shape or ())}, those of `{goal.name}` {list(goal.shape or ())}: "
            "bring the maps of the dataset to the teacher's size, or use another teacher",
        )
    _check_tokens(tokens_of(facts), own, spec.network.input_shape, pointer, findings)


def _check_tokens(
    theirs: TokenEncoding | None,
    own: TokenEncoding | None,
    shape: tuple[int, ...] | None,
    pointer: str,
    findings: Findings,
) -> None:
    """A teacher must read the tokens that the student reads, as their answers are compared one by one."""
    if theirs is None or own is None:
        return
    if not reads_same_tokens(theirs, own):
        findings.problem(
            pointer,
            "tokens_differ",
            "teacher and student must read the same tokens, as their answers for each are compared, and these read "
            'by other tokenizers: give the student the teacher\'s, `"tokenizer": "<the teacher\'s model>"`, or use '
            "another teacher",
        )
    elif shape is not None and theirs.length < shape[0]:
        findings.problem(
            pointer,
            "tokens_differ",
            f"the teacher reads rows of up to {theirs.length} tokens, and the student's have {shape[0]}: give the "
            "dataset's input a smaller `length`",
        )
