"""Do the teachers fit the task and the data: output, kind, size, class order, input shape, methods."""

from collections.abc import Mapping, Sequence

from app.contracts.resolving.data.class_names import names_of
from app.contracts.resolving.data.column_order import check_model_columns
from app.contracts.resolving.data.forms import own_form
from app.contracts.resolving.data.inputs import assumed_orders, inputs_read, shapes_of
from app.contracts.resolving.data.predictions import predicted_outputs
from app.contracts.resolving.data.targets import Goal, learnable
from app.contracts.resolving.data.texts import teacher_of_texts, texts_unread, tokens_of
from app.contracts.resolving.distillation.methods import check_combination, check_terms
from app.contracts.resolving.distillation.phases import check_phases
from app.contracts.resolving.distillation.rows import check_rows
from app.contracts.resolving.findings import Findings, quoted
from app.contracts.resolving.recipe.distillation import with_terms
from app.contracts.resources.facts import DatasetFacts, InputFacts, ModelFacts, OutputFacts
from app.contracts.resources.row_layouts import moved_grey_rows
from app.contracts.resources.tables import InputEncoding
from app.contracts.specs.distillation import DistillationSpec
from app.contracts.specs.jobs import TeacherRef
from app.contracts.specs.supervision.metrics import CLASS_KINDS

_OWN_TARGET = (
    'name the teacher\'s output, as `"target": "{}"`, to learn it without labels, or another `target` or `output`'
)


def facts_of_teacher(
    ref: TeacherRef, dataset: DatasetFacts | None, models: Mapping[str, ModelFacts | None]
) -> ModelFacts | OutputFacts | None:
    """A model's facts, or the output that columns or predictions are; None where that is not known yet."""
    if ref.stored_as is None:
        return models.get(ref.model or ref.job or "")
    target = dataset.targets.get(ref.stored_as) if dataset else None
    if target is None or target.predicts is None:
        return None
    return OutputFacts(spec=target.predicts, size=target.size)


def named_output(
    ref: TeacherRef,
    dataset: DatasetFacts,
    models: Mapping[str, ModelFacts | None],
    task: str | None,
    findings: Findings,
    pointer: str,
) -> TeacherRef:
    """The reference with its output filled in where the teacher leaves no doubt."""
    names = _output_names(ref, dataset, models)
    if not names:
        return ref
    if ref.output is not None:
        if ref.output not in names:
            findings.problem(
                f"{pointer}/output",
                "unknown_output",
                f"the teacher has no output `{ref.output}`: it has {quoted(names)}",
            )
        return ref
    if len(names) == 1:
        return ref.model_copy(update={"output": names[0]})
    if task in names:
        return ref.model_copy(update={"output": task})
    findings.problem(f"{pointer}/output", "output_needed", f"say which output teaches: the teacher has {quoted(names)}")
    return ref


def _output_names(ref: TeacherRef, dataset: DatasetFacts, models: Mapping[str, ModelFacts | None]) -> Sequence[str]:
    """The outputs that a model or predictions have; none of columns, and while they are not known."""
    if ref.predictions is not None:
        return predicted_outputs(ref.predictions, dataset)
    facts = models.get(ref.model or ref.job or "")
    return list(facts.outputs) if facts is not None else ()


def taught_alone(teachers: Sequence[TeacherRef], dataset: DatasetFacts, models: Mapping[str, ModelFacts | None]) -> str:
    """What the first teacher puts out that is learned without labels as a target of that name; "" for nothing."""
    if not teachers:
        return ""
    first = teachers[0]
    own = first.output or first.columns
    names = set((own,) if own is not None else _output_names(first, dataset, models)) - set(learnable(dataset))
    if not names:
        return ""
    return f', and the teacher the output {quoted(names)}, learned without labels by `"target": "{min(names)}"`'


def _same_classes(goal: Goal, output: OutputFacts, findings: Findings, pointer: str) -> None:
    """Names that differ; where the teacher has all of the goal's they were matched (`with_classes`)."""
    theirs = names_of(output.spec)
    if theirs is None or goal.classes is None or set(goal.classes) <= set(theirs):
        return
    findings.problem(
        pointer,
        "class_names_differ",
        f"teacher and dataset name other classes: only in the teacher {quoted(set(theirs) - set(goal.classes))}, "
        f"only in the dataset {quoted(set(goal.classes) - set(theirs))}; say which of the teacher's classes are the "
        "dataset's in `classes` of the teacher",
    )


def _fits_goal(goal: Goal, output: OutputFacts, findings: Findings, pointer: str, own: str | None) -> None:
    """`own`: the name of the output where the task may learn it without labels instead."""
    if output.spec.kind != goal.kind:
        findings.problem(
            pointer,
            "kind_mismatch",
            f"`{goal.name}` is a {goal.kind} task, the teacher's output is of kind {output.spec.kind}: "
            + ("name another `target` or `output`" if own is None else _OWN_TARGET.format(own)),
        )
        return
    _same_classes(goal, output, findings, pointer)
    named = names_of(output.spec) is not None and goal.classes is not None
    if output.size != goal.size and not named:
        hint = (
            "say which of its classes are the dataset's in `classes` of the teacher"
            if goal.kind in CLASS_KINDS and output.size > goal.size
            else "a teacher must know every class of the target: use another, or a target of its classes"
            if goal.kind in CLASS_KINDS
            else "name another `target` or `output`"
        )
        findings.problem(
            pointer,
            "size_mismatch",
            f"`{goal.name}` has {goal.size} numbers in each row, the teacher's output has {output.size}: {hint}",
        )


def check_teacher(
    ref: TeacherRef,
    facts: ModelFacts | OutputFacts | None,
    goal: Goal,
    dataset: DatasetFacts,
    findings: Findings,
    pointer: str,
    *,
    is_first: bool,
) -> None:
    """A teacher must predict what the task learns, from the rows that the dataset has; `classes` are checked before.

    `is_first`: of the task's teachers, whose output is learned where it is the target and has no labels.
    """
    if facts is None:
        check_unknown(ref, dataset, findings, pointer)
        return
    name = ref.output or ref.columns
    own = name if is_first and name not in learnable(dataset) else None
    if isinstance(facts, OutputFacts):
        place = f"{pointer}/{'columns' if ref.predictions is None else 'predictions'}"
        if ref.classes is None:
            _fits_goal(goal, facts, findings, place, own)
        check_rows(ref.stored_as or "", dataset, findings, place)
        return
    if ref.output in facts.outputs and ref.classes is None:
        _fits_goal(goal, facts.outputs[ref.output], findings, pointer, own)
    if own_form(facts) is not None:
        return  # what it reads depends on the whole job: `check_forms`
    if tokens_of(facts) is None:
        check_numbers(facts, dataset, findings, pointer)
        return
    _, problem = teacher_of_texts(facts, dataset)
    if problem is not None:
        findings.problem(pointer, problem.code, problem.detail)


def check_numbers(facts: ModelFacts, dataset: DatasetFacts, findings: Findings, pointer: str) -> None:
    """A teacher of numbers must find the inputs that it reads, in their shapes and order."""
    names, problem = inputs_read(facts, shapes_of(dataset))
    unread = texts_unread(names, dataset.inputs)
    if unread is not None:
        findings.problem(pointer, "input_mismatch", f"the teacher does not fit: {unread}")
        return
    if problem is not None:
        findings.problem(pointer, problem.code, problem.detail)
    else:
        read = {name: dataset.inputs[name] for name in names}
        check_model_columns(facts.inputs, read, "the data that the teacher was trained on", findings, pointer)
    moved = _moved(facts, dataset)
    if moved is not None and problem is None:
        findings.problem(pointer, "layout_mismatch", moved)
    for note in assumed_orders(facts, shapes_of(dataset)):
        findings.warn("order_assumed", f"{note} (of the teacher at `{pointer}`)")
    _check_categories(facts, dataset, findings, pointer)


def _moved(facts: ModelFacts, dataset: DatasetFacts) -> str | None:
    """What is wrong with the layout of a dataset's grey images for the images that a teacher reads."""
    if len(dataset.inputs) > 1 or facts.input_shape is None:
        return None
    rows = next(iter(dataset.inputs.values()))
    return moved_grey_rows(rows.layout, rows.shape, facts.input_shape)


def _check_categories(facts: ModelFacts, dataset: DatasetFacts, findings: Findings, pointer: str) -> None:
    """A teacher of categories reads those that it was trained on, in their order, and numbers filled as then."""
    for name, transform in facts.inputs.items():
        source = dataset.inputs.get(name) or next(iter(dataset.inputs.values()))
        theirs, ours = transform.encoding, source.encoding
        if theirs is not None and _is_filled_otherwise(theirs, source):
            findings.warn(
                "fill_differs",
                f"the teacher was trained on rows of {quoted(theirs.columns)} whose missing numbers were filled in "
                "another way than the dataset's: fill them before uploading where that matters",
            )
        if theirs is None or theirs.categories is None:
            continue
        if ours is None or (ours.categories, ours.encoding) != (theirs.categories, theirs.encoding):
            findings.problem(
                pointer,
                "category_mismatch",
                f"the teacher was trained on the categories of {quoted(theirs.columns)} in another order or number "
                "than the dataset has: list the `categories` of the teacher's `inputs` in the dataset's manifest",
            )


def _is_filled_otherwise(theirs: InputEncoding, rows: InputFacts) -> bool:
    """Whether missing numbers of the rows were replaced by others than a model replaces them by. Rows without missing
    numbers are the same for any.
    """
    ours = rows.encoding.fill if rows.encoding is not None else None
    return theirs.missing is not None and rows.may_have_missing and ours != theirs.fill


def check_unknown(ref: TeacherRef, dataset: DatasetFacts, findings: Findings, pointer: str) -> None:
    """Columns that the dataset lacks are a problem; a model or job without facts may still get them, and what is wrong
    with predictions is said elsewhere.
    """
    if ref.columns is None:
        findings.unknown()
        return
    columns = [name for name, target in dataset.targets.items() if target.kind == "teacher"]
    findings.problem(
        f"{pointer}/columns",
        "unknown_columns",
        f"the dataset has no target `{ref.columns}` of kind `teacher`: it has {quoted(columns)}",
    )


def resolved_terms(
    distillation: DistillationSpec | None,
    goal: Goal,
    outputs: Sequence[OutputFacts | None],
    rows: int,
    findings: Findings,
    pointer: str,
) -> DistillationSpec:
    """The distillation with everything chosen that was left out; undefined methods, and weights of 0 alone, are
    problems. `outputs` are its teachers', None where unknown; `rows` is the number of training rows.
    """
    spec = with_terms(distillation or DistillationSpec(), goal, rows, findings, pointer)
    terms = spec.soft_targets or ()
    check_terms(terms, goal, outputs, findings, pointer)
    check_combination(spec, goal, len(outputs), findings, pointer)
    weights = [(term.share, term.phase) for term in (*terms, *(spec.features or ()))]
    labels = [(spec.supervised.share, spec.supervised.phase)] if goal.labelled > 0 else []
    check_phases([*weights, *labels], findings, pointer)
    if goal.labelled == 0 and sum(weight for weight, _ in weights) == 0.0:
        findings.problem(
            pointer, "nothing_to_learn", f"`{goal.name}` has no labels and its soft targets weigh 0: raise a weight"
        )
    return spec
