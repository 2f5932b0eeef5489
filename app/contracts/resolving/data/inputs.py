"""Which inputs of a dataset a model reads, and whether their shapes fit.

A network has one input tensor: several inputs of the dataset are concatenated, each flat. A graph with several inputs
reads each by its name. Pure, so that the dry run and the worker give the same answer.
"""

from collections.abc import Mapping, Sequence
from math import prod

from app.contracts.problems import Problem
from app.contracts.resolving.findings import quoted
from app.contracts.resources.facts import DatasetFacts, ModelFacts, OpenShape
from app.contracts.resources.manifests import InputTransform
from app.contracts.resources.row_layouts import (
    assumed_order,
    channels_behind,
    fed_shape,
    has_two_orders,
    is_resized,
    misfit,
    rows_shape,
    statistics_misfit,
    way_out,
)

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of one row of each input, in the order of the manifest."""
MAX_JOINED = 65_536
"""Maximum number of elements of concatenated inputs: the largest dimension of a shape."""


def shapes_of(dataset: DatasetFacts) -> dict[str, tuple[int, ...]]:
    """The shape of one row of each input of a dataset."""
    return {name: facts.shape for name, facts in dataset.inputs.items()}


def student_inputs(
    selected: Sequence[str] | None, shapes: Shapes
) -> tuple[tuple[str, ...], tuple[int, ...], Problem | None]:
    """(inputs that a student reads in the dataset's order, shape of its rows, what is wrong with them)."""
    unknown = sorted(set(selected or ()) - set(shapes))
    if unknown:
        detail = f"the dataset has no input {quoted(unknown)}: it has {quoted(shapes)}"
        return (), (), _problem("unknown_input", detail)
    names = tuple(name for name in shapes if selected is None or name in selected)
    if len(names) == 1:
        return names, shapes[names[0]], None
    deep = {name: list(shapes[name]) for name in names if len(shapes[name]) > 1}
    if deep:
        flat = [name for name in names if name not in deep]
        detail = (
            f"a student reads one tensor, and inputs are concatenated only where each is flat: {_shown(deep)}. Select "
            f'what it reads, such as "inputs": ["{next(iter(deep))}"]'
            + (f' or "inputs": [{", ".join(_double(flat))}]' if flat else "")
        )
        return names, (), _problem("inputs_not_flat", detail)
    size = sum(prod(shapes[name]) for name in names)
    if size > MAX_JOINED:
        detail = f"the inputs have {size} numbers a row together, {MAX_JOINED} at most: select fewer with `inputs`"
        return names, (), _problem("shape_mismatch", detail)
    return names, (size,), None


def inputs_read(model: ModelFacts, shapes: Shapes) -> tuple[tuple[str, ...], Problem | None]:
    """(inputs of the dataset that a model reads, in its order, what is wrong with them); for models of numbers."""
    names, problem = _by_name(model, shapes) if model.reads_several_tensors else _of_one_tensor(model, shapes)
    if problem is not None:
        return names, problem
    if model.reads_several_tensors:
        return names, next(filter(None, (_misfit_of_several(model, name, shapes[name]) for name in names)), None)
    if len(names) > 1:
        return names, _joined_misfit(model, names, shapes)
    return names, _single_misfit(model, names[0], shapes[names[0]], alone=len(shapes) == 1)


def assumed_orders(model: ModelFacts, shapes: Shapes) -> list[str]:
    """What is assumed of rows that fit a model by their number alone."""
    names, problem = inputs_read(model, shapes)
    if problem is not None:
        return []
    if len(names) > 1 and not model.reads_several_tensors and not model.inputs:
        return [
            f"the dataset's inputs {', '.join(_double(names))} are concatenated in this order to one tensor: "
            "name what it reads in the model's `inputs`"
        ]
    if model.reads_several_tensors:
        expected = {name: model.input_shapes[name] for name in names}
    else:
        expected = {name: model.input_shape or () for name in names if len(names) == 1}
    fixed = {name: tuple(side for side in shape if side is not None) for name, shape in expected.items()}
    notes = (assumed_order(shapes[name], shape) for name, shape in fixed.items())
    return [note for note in notes if note is not None]


def _misfit_of_several(model: ModelFacts, name: str, found: tuple[int, ...]) -> Problem | None:
    transform = model.inputs.get(name, InputTransform())
    expected = _in_front(model.input_shapes[name], transform)
    fixed = tuple(side for side in expected if side is not None)
    rows = fixed if len(fixed) == len(expected) else found
    if _is_order_unknown(expected, found, transform):
        return _unknown_order(expected)
    return _misfit(name, model.input_shapes[name], found, transform) or _statistics_misfit(name, transform, rows)


def _in_front(shape: OpenShape, transform: InputTransform) -> OpenShape:
    """The shape of the rows that the transform takes: with the channels in front where the model has them last."""
    return (shape[-1], *shape[:-1]) if transform.layout == "channels_last" else shape


def _by_name(model: ModelFacts, shapes: Shapes) -> tuple[tuple[str, ...], Problem | None]:
    names = tuple(model.input_shapes)
    if all(name in shapes for name in names):
        return names, None
    detail = (
        f"the teacher reads {quoted(names)}, the dataset has {quoted(shapes)}: map the graph's names to the dataset's "
        "with `rename` in the model's manifest"
    )
    return names, _problem("input_mismatch", detail)


def _of_one_tensor(model: ModelFacts, shapes: Shapes) -> tuple[tuple[str, ...], Problem | None]:
    if len(shapes) == 1:
        return tuple(shapes), None
    named = tuple(model.inputs)
    missing = [name for name in named if name not in shapes]
    if missing:
        detail = (
            f"the teacher reads {quoted(named)}, the dataset has {quoted(shapes)}: name the dataset's inputs in the "
            "model's `inputs`"
        )
        return named, _problem("input_mismatch", detail)
    own = tuple(model.graph_inputs)
    if not named and own and own[0] in shapes:
        return own, None
    return named or tuple(shapes), None


def _single_misfit(model: ModelFacts, name: str, found: tuple[int, ...], *, alone: bool) -> Problem | None:
    """`alone`: whether the dataset has no other input, beside which rows are not resized."""
    label, transform = next(iter(model.inputs.items()), (name, InputTransform()))
    if alone and model.input_shape is not None and len(model.inputs) < 2:
        expected_rows = rows_shape(transform, model.input_shape)
        if is_resized(transform, found, expected_rows):
            return _statistics_misfit(label, transform, expected_rows)
    if model.input_shape is not None and len(model.inputs) < 2:
        return _fixed_misfit(label, rows_shape(transform, model.input_shape), found, transform)
    if model.input_shape is not None:
        return _fixed_misfit(label, model.input_shape, found, InputTransform())
    own, expected = next(iter(model.input_shapes.items()), (name, None))
    if expected is not None:
        problem = _misfit(own, expected, found, transform)
        if problem is not None:
            return problem
    return _statistics_misfit(label, transform, found)


def _fixed_misfit(
    label: str, expected: tuple[int, ...], found: tuple[int, ...], transform: InputTransform
) -> Problem | None:
    """Rows of shape `found` must be readable as `expected` without a guess, and the statistics fit that shape."""
    if _is_order_unknown(expected, found, transform):
        return _unknown_order(expected)
    code = misfit(found, expected)
    if code is None:
        return _statistics_misfit(label, transform, expected)
    detail = f"the teacher expects rows of shape {list(expected)}, the dataset's have {list(found)}: "
    if len(found) == len(expected) == 3 and found[0] == expected[0]:
        detail += 'for images, set `"resize": "bilinear"` in the teacher\'s `inputs`, or '
    return _problem(code, detail + way_out(found, expected, teacher=True))


def _is_order_unknown(expected: OpenShape, found: tuple[int, ...], transform: InputTransform) -> bool:
    """Whether rows are flat and the model's are images that it takes with the channels last. `expected` has them in
    front.
    """
    fixed = [side for side in expected if side is not None]
    last = transform.layout == "channels_last" and len(fixed) == len(expected)
    return last and len(found) == 1 and has_two_orders(fixed)


def _unknown_order(expected: OpenShape) -> Problem:
    channels, *sides = expected
    detail = (
        f"the teacher expects images of shape {[*sides, channels]} with the channels last, the dataset has flat rows, "
        f'which may list channels or pixels first: give its input `"shape": {[*sides, channels]}, "layout": '
        f'"channels_last"`, or `"shape": {list(expected)}`'
    )
    return _problem("layout_mismatch", detail)


def _statistics_misfit(label: str, transform: InputTransform, shape: tuple[int, ...]) -> Problem | None:
    wrong = statistics_misfit(transform, shape)
    if wrong is None:
        return None
    detail = f"the teacher's `inputs.{label}`: {wrong}; upload it with statistics of that many numbers"
    return _problem("shape_mismatch", detail)


def _joined_misfit(model: ModelFacts, names: Sequence[str], shapes: Shapes) -> Problem | None:
    deep = {name: list(shapes[name]) for name in names if len(shapes[name]) > 1}
    if deep:
        detail = (
            f"the teacher reads one tensor, and inputs are concatenated only where each is flat: {_shown(deep)}. Name "
            "the one that it reads in the model's `inputs`"
        )
        return _problem("inputs_not_flat", detail)
    sizes = {name: prod(shapes[name]) for name in names}
    for name, size in sizes.items():
        expected = model.input_shapes.get(name)
        if expected is not None and model.inputs and None not in expected and prod(filter(None, expected)) != size:
            return _misfit(name, expected, shapes[name], InputTransform())
    if model.input_shape is None or prod(model.input_shape) == sum(sizes.values()):
        return None
    detail = (
        f"the teacher expects rows of shape {list(model.input_shape)}, the dataset's inputs have "
        f"{' + '.join(map(str, sizes.values()))} numbers ({quoted(names)}): name what it reads in the model's `inputs`"
    )
    return _problem("shape_mismatch", detail)


def _misfit(name: str, expected: OpenShape, found: tuple[int, ...], transform: InputTransform) -> Problem | None:
    """`name`: of the model's input, whose rows are `expected` in the graph's own order."""
    if fed_shape(expected, channels_behind(transform, found)) is not None:
        return None
    sides = ", ".join("any" if side is None else str(side) for side in _in_front(expected, transform))
    detail = (
        f"the teacher expects rows of shape [{sides}] for `{name}`, the dataset's have {list(found)}: give the "
        "dataset's input that `shape` or layout"
    )
    if len(expected) == 1 and None in expected:
        detail += f', or, for flat rows, the model\'s manifest `"inputs": {{"{name}": {{"shape": [{prod(found)}]}}}}`'
    return _problem("shape_mismatch", detail)


def _shown(shapes: Mapping[str, Sequence[int]]) -> str:
    return ", ".join(f"`{name}` has rows of shape {list(shape)}" for name, shape in shapes.items())


def _double(names: Sequence[str]) -> list[str]:
    return [f'"{name}"' for name in names]


def _problem(code: str, detail: str) -> Problem:
    return Problem(pointer="", code=code, detail=detail)
