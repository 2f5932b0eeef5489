"""Reference rows: the uploaded model must give the outputs that its owner has for them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.manifests import ModelManifest, ValueOutput, VectorOutput
from app.contracts.resources.reference import Reference
from workers.engine.data.rows.joined import IDENTITY, InputLayout, joined, transformed
from workers.engine.data.transform import apply
from workers.engine.evaluation.examples import RawModel
from workers.engine.jobs.inspection.trial import TrialFailedError

RELATIVE = 1e-3
OF_SPREAD = 1e-4
ROUNDED = 0.02
"""Share of the spread below which differences may come from weights of 8 bits, as bfloat16 has."""
OF_SIZE = 1e-9
_Outputs = Mapping[str, Tensor]


def check_reference(manifest: ModelManifest, model: RawModel, open_inputs: Sequence[str] = ()) -> None:
    """Compare the outputs for the manifest's reference rows, if it has any.

    Raises UserError `reference_mismatch`, `unknown_input`, `shape_mismatch`, `open_shape`.
    """
    if manifest.reference is None:
        return
    rows = reference_rows(manifest.reference, model.layout, open_inputs)
    expected = {name: torch.tensor(values, dtype=torch.float64) for name, values in manifest.reference.outputs.items()}
    try:
        found = model.predict(rows)
    except TrialFailedError as error:
        raise UserError("reference_mismatch", f"the model does not run on the reference rows: {error}") from None
    for name, values in expected.items():
        if found[name].shape != values.shape:
            raise UserError(
                "reference_mismatch",
                f"reference output `{name}` has {values.shape[1]} numbers a row, the model's has "
                f"{found[name].shape[1]}: give all of them",
            )
    if all(_agree(found[name], values) for name, values in expected.items()):
        return
    hint = _hint(manifest, model, rows, found, expected)
    raise UserError("reference_mismatch", _message(found, expected, hint))


def reference_rows(reference: Reference, layout: InputLayout, open_inputs: Sequence[str] = ()) -> Tensor:
    """The reference rows as raw rows of a model, float64, several inputs joined; a single input matches by being
    single. Raises UserError `unknown_input`, `shape_mismatch`, `open_shape`.
    """
    shapes = layout.shapes
    given = dict(reference.inputs)
    if len(given) == len(shapes) == 1:
        given = {next(iter(shapes)): next(iter(given.values()))}
    if set(given) != set(shapes):
        raise UserError(
            "unknown_input",
            f"`reference.inputs` names {sorted(given)}, expected {sorted(shapes)}: use the model's names",
        )
    parts = []
    for name, shape in shapes.items():
        values = torch.tensor(given[name], dtype=torch.float64)
        if values[0].numel() != torch.Size(shape).numel():
            if name in open_inputs:
                raise UserError(
                    "open_shape",
                    f"the graph leaves the shape of `{name}` open: give the shape of the reference rows as "
                    f'"inputs": {{"{name}": {{"shape": […]}}}}',
                )
            raise UserError(
                "shape_mismatch",
                f"rows of `reference.inputs.{name}` have {values[0].numel()} numbers, the model's have shape "
                f"{list(shape)}: give one number for each element",
            )
        parts.append(values.reshape(len(values), *shape))
    return joined(parts)


def _spread(expected: Tensor) -> Tensor:
    return expected.max() - expected.min() if expected.numel() > 1 else expected.abs().max()


def _tolerance(expected: Tensor) -> Tensor:
    size = min(1.0, float(expected.abs().max())) or 1.0
    return RELATIVE * expected.abs() + OF_SPREAD * _spread(expected) + OF_SIZE * size


def _agree(found: Tensor, expected: Tensor) -> bool:
    return bool(((found.double() - expected).abs() <= _tolerance(expected)).all())


def _message(found: _Outputs, expected: _Outputs, hint: str | None) -> str:
    """The largest difference, relative to what is allowed, and where it is."""
    excess = {name: (found[name].double() - values).abs() / _tolerance(values) for name, values in expected.items()}
    excess = {name: values.nan_to_num(nan=torch.inf) for name, values in excess.items()}
    name = max(excess, key=lambda each: float(excess[each].max()))
    row, place = divmod(int(excess[name].argmax()), excess[name].shape[1])
    ours, theirs = float(found[name][row, place]), float(expected[name][row, place])
    wrong = int((excess[name] > 1.0).any(1).sum())
    begin = (
        f"the model does not reproduce its reference: output `{name}`, row {row}, number {place} is {ours:.6g}, "
        f"expected {theirs:.6g} (difference {abs(ours - theirs):.3g}; {wrong} of {len(excess[name])} rows differ)"
    )
    return f"{begin}. {hint or _without_variant(found, expected)}"


def _without_variant(found: _Outputs, expected: _Outputs) -> str:
    """What is said where no other way to compute the outputs explains the differences."""
    share = max(
        float((found[name].double() - values).abs().max() / _spread(values).clamp_min(1e-30))
        for name, values in expected.items()
    )
    if share > ROUNDED:
        return _NO_HINT
    return (
        f"All differences are small, {100 * share:.2g} % of the spread of the outputs at most: were the reference and "
        "the weights computed in different precision (bfloat16, float16)? Load the saved weights, and compute the "
        "reference with `model.float().eval()`"
    )


_NO_HINT = (
    "Neither another scale, order of channels or of normalisation, nor softmax explains it: compare the layers (an "
    "activation, the place of the normalisation, `rename`), and that the reference was computed in evaluation mode"
)


@dataclass(frozen=True)
class _Variant:
    """Another way to compute the outputs, and what it means if the reference was computed so."""

    outputs: Callable[[], _Outputs]
    hint: str


def _hint(manifest: ModelManifest, model: RawModel, rows: Tensor, found: _Outputs, expected: _Outputs) -> str | None:
    """The first variant that reproduces the reference."""
    for variant in (_in_units(manifest, found), *_variants(model, rows, found, expected)):
        try:
            outputs = variant.outputs()
        except (UserError, RuntimeError, TrialFailedError):  # such as fractions for an integer input
            continue
        if all(_agree(outputs[name], values) for name, values in expected.items()):
            return variant.hint
    return None


def _variants(model: RawModel, rows: Tensor, found: _Outputs, expected: _Outputs) -> Iterator[_Variant]:
    yield from _of_outputs(found, expected)
    for factor, shown in ((1 / 255, "1/255"), (255.0, "255")):
        yield _Variant(
            partial(model.predict, rows * factor),
            f"It does with the reference rows times {shown}: give raw rows, or another `scale` in `inputs`",
        )
    if model.transforms:
        yield _Variant(
            lambda: model.forward(transformed(rows, model.layout, {}, model.dtype)),
            "It does without the transform in `inputs`: the reference rows are transformed already, or the model does "
            "it itself",
        )
        yield _Variant(
            lambda: model.forward(_normalised_first(rows, model)),
            "It does where `mean` and `std` are applied before `scale`: give them in the units of the scaled numbers, "
            "(x * scale - mean) / std",
        )
    yield from _of_axes(model, rows)


def _in_units(manifest: ModelManifest, found: _Outputs) -> _Variant:
    """Values and vectors in the units of the target."""

    def in_units(name: str, values: Tensor) -> Tensor:
        spec = manifest.outputs[name]
        if not isinstance(spec, ValueOutput | VectorOutput) or spec.mean is None or spec.std is None:
            return values
        return values.double() * torch.tensor(spec.std) + torch.tensor(spec.mean)

    return _Variant(
        lambda: {name: in_units(name, values) for name, values in found.items()},
        "The reference is output * std + mean, in the units of the target: give the outputs of the model themselves, "
        "(reference - mean) / std, or leave `mean` and `std` out where the model puts out these units",
    )


def _of_outputs(found: _Outputs, expected: _Outputs) -> Iterator[_Variant]:
    """Softmax on one side, or the same numbers in another order."""
    yield _Variant(
        lambda: {name: values.double().softmax(1) for name, values in found.items()},
        "The reference is the softmax of the model's outputs: give logits as the reference, or keep the softmax in the "
        "model and declare `probabilities`",
    )
    yield _Variant(
        lambda: {name: values.double().log_softmax(1) for name, values in found.items()},
        "The reference is the logarithm of the softmax of the model's outputs: give logits as the reference",
    )
    yield _Variant(
        lambda: {name: values.double().sigmoid() for name, values in found.items()},
        "The reference is the sigmoid of the model's outputs: give logits as the reference",
    )
    if all(_agree(found[name].double(), values.softmax(1)) for name, values in expected.items()):
        yield _Variant(
            lambda: expected,
            "The model's outputs are the softmax of the reference: declare `probabilities`, and give those",
        )
    permuted = {name: _same_numbers(found[name].double(), values) for name, values in expected.items()}
    if all(order is not None for order in permuted.values()):
        shown = {name: order[:10] for name, order in permuted.items() if order is not None}
        yield _Variant(lambda: expected, f"The numbers are the same in another order of the outputs (classes): {shown}")


def _same_numbers(found: Tensor, expected: Tensor) -> list[int] | None:
    """For each column of the reference the column of the outputs that agrees with it, if each has its own."""
    if expected.shape[1] > 256:
        return None
    order = []
    for column in range(expected.shape[1]):
        gap = (found - expected[:, column : column + 1]).abs().amax(0)
        order.append(int(gap.argmin()))
    if len(set(order)) < len(order) or not _agree(found[:, order], expected):
        return None
    return order


def _of_axes(model: RawModel, rows: Tensor) -> Iterator[_Variant]:
    """Rows of images whose numbers stand in another order."""
    if len(model.layout.shapes) != 1:
        return
    shape = next(iter(model.layout.shapes.values()))
    if len(shape) == 3:
        channels, height, width = shape
        last = rows.reshape(-1, height, width, channels).permute(0, 3, 1, 2)
        yield _Variant(
            lambda: model.predict(last.contiguous()),
            "It does where the reference rows are [height, width, channels]: bring the channels first",
        )
        yield _Variant(
            lambda: model.predict(rows.flip(1)),
            "It does with the channels in reverse order: is it trained on BGR images?",
        )
    if len(shape) >= 2:
        swapped = rows.reshape(len(rows), *shape[:-2], shape[-1], shape[-2]).transpose(-1, -2)
        yield _Variant(
            lambda: model.predict(swapped.contiguous()),
            "It does where the last two dimensions of the reference rows are swapped",
        )


def _normalised_first(rows: Tensor, model: RawModel) -> Tensor:
    """(x - mean) / std * scale instead of (x * scale - mean) / std."""
    parts = []
    for name in model.layout.shapes:
        transform = model.transforms.get(name, IDENTITY)
        unscaled = transform.model_copy(update={"scale": 1.0})
        parts.append(apply(model.layout.part(rows, name), unscaled, model.dtype) * transform.scale)
    return joined(parts)
