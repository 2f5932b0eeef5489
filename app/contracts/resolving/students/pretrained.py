"""Networks that start from the weights of a model: do these fit, which heads are new, and how are rows read?"""

from collections.abc import Sequence

from app.contracts.layouts.starting_tensors import blocks_of, kept_heads, source_names
from app.contracts.problems import listed
from app.contracts.resolving.data.class_names import names_of
from app.contracts.resolving.data.forms import form_of_files
from app.contracts.resolving.data.inputs import shapes_of, student_inputs
from app.contracts.resolving.data.targets import Goal
from app.contracts.resolving.findings import Findings
from app.contracts.resolving.students.inits import tensors
from app.contracts.resources.facts import DatasetFacts, InputFacts, ModelFacts
from app.contracts.resources.manifests import InputTransform
from app.contracts.specs.architectures import Architecture, LibraryFamily
from app.contracts.specs.families.family import Cut
from app.contracts.specs.sharing import scheme_of

_CLOSE = 1e-6


def check_start(
    network: Architecture,
    facts: ModelFacts | None,
    dataset: DatasetFacts,
    goals: Sequence[Goal],
    findings: Findings,
    pointer: str,
) -> None:
    """Problems and warnings of a described network that starts from the model with these facts (None: not known yet).
    The trunk of a network of a library is compared as it is measured.
    """
    if network.pretrained is None or not network.is_described or findings.problems:
        return
    if facts is None:
        findings.unknown()
        return
    theirs = facts.architecture
    if not isinstance(network, LibraryFamily) and _is_misfit(network, theirs, findings, f"{pointer}/pretrained"):
        return
    if theirs is None:
        return
    classes = {goal.name: goal.classes for goal in goals}
    kept = kept_heads(network, theirs, classes, classes_of(facts))
    new = [output for output in network.outputs or {} if output not in kept]
    if new:
        findings.warn(
            "new_head",
            f"the head of {listed(new)} starts from random weights: expected an output of the same name, size and "
            f"classes in the model that the network starts from, found {listed(theirs.outputs or {})}",
        )
    if network.transform is not None and not is_read_alike(network, facts, dataset):
        findings.problem(
            f"{pointer}/transform",
            "transform_undefined",
            "expected rows of one input of numbers, with the channels of the model's, found others: leave `transform` "
            "out, and rows are standardised as the dataset's manifest says",
        )
    if not isinstance(network, LibraryFamily):
        warn_of_inputs(network, facts, dataset, findings)


def classes_of(facts: ModelFacts) -> dict[str, tuple[str, ...] | None]:
    """The names of the classes of a model's outputs, where it says them."""
    return {name: names_of(output.spec) for name, output in facts.outputs.items()}


def _is_misfit(network: Architecture, theirs: Architecture | None, findings: Findings, place: str) -> bool:
    """Whether a network that Stillhouse builds cannot start from a model's weights; then there is a problem."""
    found = _misfit(network, theirs)
    if found is not None:
        findings.problem(
            place,
            "pretrained_misfit",
            f"expected a model with the trunk of this {network.family}, found {found}: name a model of the same "
            "network, for rows of the same shape where its weights depend on it, or let the network start from random "
            "weights",
        )
    return found is not None


def _misfit(network: Architecture, theirs: Architecture | None) -> str | None:
    """What the model has instead of the weights that a network needs; None where they fit."""
    if theirs is None:
        return "a graph"
    if theirs.family != network.family:
        return f"one of the family `{theirs.family}`"
    if network.cut is not None:
        blocks = blocks_of(theirs)
        if isinstance(blocks, str):
            return f"{blocks}, which cannot be cut"
        if max(network.cut.layers) >= blocks.count:
            return f"one of {blocks.count} blocks, without number {max(network.cut.layers)}"
    shared = scheme_of(network.sharing) is not None or scheme_of(theirs.sharing) is not None
    if shared and (network.sharing, network.outputs) != (theirs.sharing, theirs.outputs):
        return "one that shares by another scheme, or between other tasks"
    ours, known = tensors(network), tensors(theirs)
    for name, source in source_names(network, theirs, ours, ()).items():
        found = known.get(source)
        if found is None:
            return f"one without `{source}`"
        if found != ours[name] and not is_slice(network.cut, ours[name], found):
            return f"one whose `{source}` has shape {list(found)}, and {list(ours[name])} here"
    return None


def is_slice(cut: Cut | None, ours: Sequence[int], theirs: Sequence[int]) -> bool:
    """Whether a tensor of shape `ours` is the leading rows and columns of one of shape `theirs`, and may be."""
    sliced = cut is not None and cut.sliced and len(ours) == len(theirs)
    return sliced and all(size <= whole for size, whole in zip(ours, theirs, strict=True))


def read_input(network: Architecture, dataset: DatasetFacts) -> InputFacts | None:
    """The only input that a network reads; None where it reads several."""
    names, _, problem = student_inputs(network.inputs, shapes_of(dataset))
    return dataset.inputs[names[0]] if problem is None and len(names) == 1 else None


def is_read_alike(network: Architecture, facts: ModelFacts, dataset: DatasetFacts) -> bool:
    """Whether the dataset's rows can be scaled and standardised as a model's: one input of numbers each, without
    categories, with as many means as both have channels.
    """
    rows, transform = read_input(network, dataset), _transform(facts)
    if rows is None or transform is None or network.reads != "numbers" or facts.input_shape is None:
        return False
    if rows.encoding is not None or transform.encoding is not None or transform.layout is not None:
        return False
    counts = {len(each) for each in (transform.mean, transform.std) if isinstance(each, tuple)}
    same_first = len(rows.shape) == len(facts.input_shape) and rows.shape[0] == facts.input_shape[0]
    return not counts or (same_first and counts == {rows.shape[0]})


def differs(facts: ModelFacts, rows: InputFacts) -> bool:
    """Whether a model scales and standardises rows otherwise than a dataset does."""
    transform = _transform(facts)
    if transform is None:
        return False
    ours = (rows.scale, rows.mean or (0.0,), rows.std or (1.0,))
    theirs = (transform.scale, _numbers(transform.mean), _numbers(transform.std))
    size = max(len(each) for each in (*ours[1:], *theirs[1:]))
    if abs(ours[0] - theirs[0]) > _CLOSE * abs(ours[0]):
        return True
    pairs = ((_spread(a, size), _spread(b, size)) for a, b in zip(ours[1:], theirs[1:], strict=True))
    return any(abs(x - y) > _CLOSE * max(1.0, abs(x)) for a, b in pairs for x, y in zip(a, b, strict=False))


def _spread(values: tuple[float, ...], size: int) -> tuple[float, ...]:
    """A number for each of `size` elements, of one for each element of the first side; as they are where that is no
    whole multiple.
    """
    return tuple(value for value in values for _ in range(size // len(values))) if size % len(values) == 0 else values


def _numbers(values: float | tuple[float, ...]) -> tuple[float, ...]:
    return values if isinstance(values, tuple) else (values,)


def _transform(facts: ModelFacts) -> InputTransform | None:
    """The transform of a model's only input; None where it has several."""
    if len(facts.inputs) > 1:
        return None
    return next(iter(facts.inputs.values()), InputTransform())


def warn_of_inputs(network: Architecture, facts: ModelFacts, dataset: DatasetFacts | None, findings: Findings) -> None:
    """`pretrained_inputs` where a network reads rows as its dataset standardises them, and its weights were trained on
    rows of another transform.
    """
    transform = _transform(facts)
    rows = read_input(network, dataset) if dataset is not None else None
    if transform is None or network.transform is not None or network.reads == "tokens":
        return
    form = _other_form(transform, rows)
    if rows is not None and not form and not differs(facts, rows):
        return
    findings.warn(
        "pretrained_inputs",
        f"the pretrained model was trained on rows of {list(facts.input_shape or ())} as {_shown(transform)}{form}, "
        "and the student reads the dataset's as `standardize` has them: its first layers have to adapt; train long "
        "enough, with all layers",
    )


def _other_form(transform: InputTransform, rows: InputFacts | None) -> str:
    """How a model makes its rows of files, where a dataset of files makes others; empty otherwise."""
    ours = form_of_files(rows) if rows is not None else None
    if transform.form is None or ours is None or transform.form == ours:
        return ""
    return f", made of files by {transform.form.model_dump_json()}"


def _shown(transform: InputTransform) -> str:
    return f"(x * {transform.scale:.4g} - {transform.mean}) / {transform.std}"
