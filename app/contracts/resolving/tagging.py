"""What a task on labels of tokens cannot be combined with, and whether its models read the same tokens."""

from collections.abc import Mapping
from functools import partial

from app.contracts.resolving.data.targets import Goal, goal_of
from app.contracts.resolving.data.texts import tokens_of
from app.contracts.resolving.distillation.searches import searches
from app.contracts.resolving.findings import Findings
from app.contracts.resolving.students.texts import encoding_of
from app.contracts.resources.facts import DatasetFacts, ModelFacts
from app.contracts.resources.inputs.texts import TokenEncoding, reads_same_tokens
from app.contracts.specs.families.library import HuggingFace
from app.contracts.specs.jobs import DistillJob, MultitaskJob, TeacherRef, TrainJob

Models = Mapping[str, ModelFacts | None]


def check_tagging(
    spec: TrainJob | DistillJob, goal: Goal, dataset: DatasetFacts, models: Models, findings: Findings
) -> None:
    """Problems of a job whose goal is a class for each token."""
    if goal.kind != "token_class":
        return

    refuse = partial(_refuse, findings)
    if goal_of(dataset, goal.name) is None:
        refuse(
            "/target",
            "expected a target of kind `token_class` in the dataset, whose lists say which tokens there are, found "
            "none: add one, with null where there are no labels",
        )
        return
    if len(spec.dataset_refs()) > 1:
        refuse("/datasets", "labels of tokens are learned of one dataset, found several: name one")
    if spec.training.row_weights is not None:
        refuse("/training/row_weights", "weights are those of rows, and tokens have none: leave `row_weights` out")
    if spec.quantization is not None:
        detail = "training with rounded weights is not there for networks that answer for tokens: leave it out, and "
        refuse("/quantization", f'{detail}`"exports": ["int8"]` quantizes the file after training')
    for pointer, _ in searches(spec.model_dump(mode="json")):
        refuse(pointer, "tasks on labels of tokens have no searches: give a number")
    _check_network(spec, goal, dataset, findings)
    if isinstance(spec, DistillJob):
        _check_distillation(spec, goal, dataset, models, findings)


def _refuse(findings: Findings, pointer: str, detail: str) -> None:
    findings.problem(pointer, "tagging_undefined", detail)


def check_alone(spec: MultitaskJob, goals: list[Goal | None], findings: Findings) -> None:
    """Labels of tokens are learned alone."""
    for i, goal in enumerate(goals):
        if goal is not None and goal.kind == "token_class":
            findings.problem(
                f"/tasks/{i}/target",
                "tagging_undefined",
                f"`{goal.name}` has labels of tokens, which are learned alone: use a job of kind `train` or `distill`",
            )


def _check_network(spec: TrainJob | DistillJob, goal: Goal, dataset: DatasetFacts, findings: Findings) -> None:
    network = spec.network
    place = f"/{spec.network_field}"
    if not isinstance(network, HuggingFace) or network.reads != "tokens":
        findings.problem(
            f"{place}/family",
            "tagging_undefined",
            f"expected a network with a head for each token, found one of the family `{network.family}`: use one of "
            'transformers for texts, such as `{"family": "huggingface", "name": "bert"}`',
        )
        return
    labelled = dataset.targets[goal.name].input
    read = network.inputs or tuple(dataset.inputs)
    if labelled is not None and len(dataset.inputs) > 1 and read != (labelled,):
        findings.problem(
            f"{place}/inputs",
            "tagging_undefined",
            f"`{goal.name}` labels the tokens of `{labelled}`, and the network reads another input: "
            f'give `"inputs": ["{labelled}"]`',
        )


def _check_distillation(
    spec: DistillJob, goal: Goal, dataset: DatasetFacts, models: Models, findings: Findings
) -> None:
    refuse = partial(_refuse, findings)
    if spec.mutual is not None:
        refuse("/mutual", "peers learn classes of rows, and these are classes of tokens: leave `mutual` out")
    if spec.store.top_k is not None:
        refuse("/store/top_k", "all scores of tokens are kept: leave `top_k` out")
    if spec.distillation.features:
        refuse("/distillation/features", "layers of tokens are not compared: leave `features` out")
    for i, term in enumerate(spec.distillation.soft_targets or ()):
        if term.row_weights is not None:
            refuse(f"/distillation/soft_targets/{i}/row_weights", "tokens have no row weights: leave them out")
    teachers = spec.teachers or ()
    if len(teachers) > 1:
        refuse("/teachers/1", f"labels of tokens have one teacher, found {len(teachers)}: name one")
    for i, ref in enumerate(teachers[:1]):
        facts = models.get(ref.model or ref.job or "")
        if facts is not None:
            _check_teacher(
                spec, ref, facts, goal, encoding_of(spec.student, dataset, models), findings, f"/teachers/{i}"
            )


def _check_teacher(
    spec: DistillJob,
    ref: TeacherRef,
    facts: ModelFacts,
    goal: Goal,
    own: TokenEncoding | None,
    findings: Findings,
    pointer: str,
) -> None:
    """A teacher must name the classes as the dataset does, and read the tokens that the student reads."""
    theirs = facts.outputs[ref.output].spec if ref.output in facts.outputs else None
    names = theirs.classes if theirs is not None and theirs.kind == "token_class" else None
    if names is not None and goal.classes is not None and names != goal.classes:
        findings.problem(
            pointer,
            "class_names_differ",
            f"expected the classes of `{goal.name}` in their order, found {', '.join(names[:8])}: list the "
            "dataset's `classes` as the teacher has them",
        )
    _check_tokens(tokens_of(facts), own, spec.student.input_shape, pointer, findings)


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
