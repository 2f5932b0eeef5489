"""ReviewKD: fusion and hierarchical context against numpy written out and torch's own layers, gradients, seeds."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.nn.functional import adaptive_avg_pool2d, interpolate, mse_loss

from app.contracts.specs.distillation import ReviewTerm
from app.contracts.specs.families.layer_pairs import LayerPair
from tests.engine.losses.formulas import drawn, sigmoid
from workers.engine.data.rows.columns import Rows
from workers.engine.losses.feature_losses import FeatureTargets, TeacherLayer
from workers.engine.losses.features.projectors import draw
from workers.engine.losses.features.review import ResidualFusion, hierarchical_context
from workers.engine.losses.features.shapes import resized
from workers.engine.losses.term import TermInputs

Floats = NDArray[np.float64]
CPU = torch.device("cpu")
STUDENTS = ((3, 8, 6), (4, 4, 3), (5,))
TEACHERS = ((6, 5, 4), (7, 4, 4), (9,))


def fusion(students: tuple[tuple[int, ...], ...] = STUDENTS, seed: int = 0) -> ResidualFusion:
    module = ResidualFusion(students, TEACHERS)
    draw(module, seed, "projector/review")
    return module.double()


def layers(shapes: tuple[tuple[int, ...], ...], rows: int = 2, seed: int = 1) -> tuple[Tensor, ...]:
    return tuple(drawn(rows, *shape, seed=seed + i, spread=1.0) for i, shape in enumerate(shapes))


# The formula, in numpy.


def nearest(maps: Floats, height: int, width: int) -> Floats:
    rows = [i * maps.shape[1] // height for i in range(height)]
    columns = [j * maps.shape[2] // width for j in range(width)]
    return maps[:, rows][:, :, columns]


def convolved(maps: Floats, weight: Floats, bias: Floats) -> Floats:
    """A convolution of stride 1 that keeps the size: [C, H, W], [D, C, k, k], [D] -> [D, H, W]."""
    edge = weight.shape[-1] // 2
    padded = np.pad(maps, ((0, 0), (edge, edge), (edge, edge)))
    found = np.zeros((len(weight), *maps.shape[1:]))
    for i in range(maps.shape[1]):
        for j in range(maps.shape[2]):
            window = padded[:, i : i + weight.shape[-1], j : j + weight.shape[-1]]
            found[:, i, j] = (weight * window).sum((1, 2, 3)) + bias
    return found


def written(students: tuple[Tensor, ...], parameters: Mapping[str, Floats], row: int) -> list[Floats]:
    """What is compared with the teacher's layers, of one row."""
    found: list[Floats] = []
    later = np.zeros(0)
    for i in reversed(range(len(students))):
        layer = students[i][row].numpy()
        layer = layer if layer.ndim == 3 else layer[:, None, None]

        def conv(maps: Floats, name: str, at: int = i) -> Floats:
            return convolved(maps, parameters[f"layers.{at}.{name}.weight"], parameters[f"layers.{at}.{name}.bias"])

        fused = conv(layer, "reduced")
        if i < len(students) - 1:
            later = nearest(later, *fused.shape[1:])
            shares = sigmoid(conv(np.concatenate([fused, later]), "attention"))
            fused = fused * shares[0] + later * shares[1]
        size = TEACHERS[i][1:] if len(TEACHERS[i]) == 3 else (1, 1)
        later = nearest(fused, *size)
        found.insert(0, conv(later, "output"))
    return found


def averaged(maps: Floats, size: int) -> Floats:
    found = np.zeros((len(maps), size, size))
    for i in range(size):
        for j in range(size):
            sides = zip((i, j), maps.shape[1:], strict=True)
            across, along = (slice(k * length // size, -(-(k + 1) * length // size)) for k, length in sides)
            found[:, i, j] = maps[:, across, along].mean((1, 2))
    return found


def context(student: Floats, teacher: Floats) -> float:
    total, weights = float(((student - teacher) ** 2).mean()), 1.0
    weight = 1.0
    for size in (4, 2, 1):
        if size < student.shape[1]:
            weight /= 2.0
            total += weight * float(((averaged(student, size) - averaged(teacher, size)) ** 2).mean())
            weights += weight
    return total / weights


def test_the_loss_is_the_formula_written_out() -> None:
    module, students, teachers = fusion(), layers(STUDENTS), layers(TEACHERS, seed=7)
    parameters = {name: value.detach().numpy() for name, value in module.named_parameters()}
    found = hierarchical_context(module(students), teachers).detach()
    for row in range(2):
        theirs = [layer[row].numpy() for layer in teachers]
        expected = sum(
            context(ours, each if each.ndim == 3 else each[:, None, None])
            for ours, each in zip(written(students, parameters, row), theirs, strict=True)
        )
        assert float(found[row]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8])
def test_the_context_is_that_of_the_authors_code_on_the_mean_of_the_rows(size: int) -> None:
    """Their loop, with torch's pooling; a level that is not below the height is left out."""
    ours, theirs = (drawn(3, 4, size, size, seed=seed) for seed in (1, 2))
    loss, share, total = mse_loss(ours, theirs), 1.0, 1.0
    for level in (4, 2, 1):
        if level >= size:
            continue
        share /= 2.0
        loss = loss + share * mse_loss(adaptive_avg_pool2d(ours, level), adaptive_avg_pool2d(theirs, level))
        total += share
    found = hierarchical_context([ours], [theirs])
    assert found.shape == (3,)
    torch.testing.assert_close(found.mean(), loss / total)


@pytest.mark.parametrize("size", [(3, 3), (1, 7), (8, 2), (16, 9), (5, 4)])
def test_maps_are_resized_as_torch_does_by_nearest_places(size: tuple[int, int]) -> None:
    maps = drawn(2, 3, 5, 4)
    assert torch.equal(resized(maps, *size), interpolate(maps, size, mode="nearest"))


def test_a_layer_is_compared_with_all_later_ones_and_none_before() -> None:
    """The review goes backwards: the first output depends on every layer, the last on its own alone."""
    module, students = fusion(), [layer.requires_grad_() for layer in layers(STUDENTS)]
    outputs = module(students)
    found = [torch.autograd.grad(each.sum(), students, allow_unused=True, retain_graph=True) for each in outputs]
    reached = [[gradient is not None for gradient in of_output] for of_output in found]
    assert reached == [[True, True, True], [False, True, True], [False, False, True]]


def test_the_gradient_is_that_of_the_loss_in_layers_and_parameters() -> None:
    module, teachers = fusion(), layers(TEACHERS, seed=7)
    students = tuple(layer.requires_grad_() for layer in layers(STUDENTS))
    assert gradcheck(lambda *ours: hierarchical_context(module(ours), teachers), students)
    loss = hierarchical_context(module(students), teachers).sum()
    found = torch.autograd.grad(loss, list(module.parameters()))
    assert all(float(each.abs().max()) > 0.0 for each in found)


def test_outputs_that_equal_the_teachers_layers_lose_nothing() -> None:
    teachers = layers(TEACHERS)
    found = hierarchical_context([each if each.dim() == 4 else each[:, :, None, None] for each in teachers], teachers)
    assert torch.equal(found, torch.zeros(2, dtype=torch.float64))


def test_a_rows_loss_does_not_depend_on_the_other_rows() -> None:
    """No BatchNorm in the fusions: micro-batches give the gradient of the batch."""
    module, students, teachers = fusion(), layers(STUDENTS, rows=5), layers(TEACHERS, rows=5, seed=7)
    whole = hierarchical_context(module(students), teachers)
    part = hierarchical_context(module([each[3:4] for each in students]), [each[3:4] for each in teachers])
    torch.testing.assert_close(part, whole[3:4])


def test_the_width_is_that_of_the_deepest_layer_and_bounded() -> None:
    assert fusion().layers[0].get_parameter("reduced.weight").shape == (5, 3, 1, 1)
    wide = ResidualFusion([(4, 2, 2), (600, 1, 1)], [(3, 2, 2), (8, 1, 1)])
    assert wide.layers[0].get_parameter("reduced.weight").shape == (512, 4, 1, 1)


def test_layers_of_tokens_are_refused_by_their_shape() -> None:
    with pytest.raises(ValueError, match=r"found a layer of shape \(5, 8\)"):
        ResidualFusion([(5, 8), (5, 8)], [(5, 8), (5, 8)])


def test_layers_of_other_shapes_than_the_teachers_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        hierarchical_context([drawn(2, 3, 4, 4)], [drawn(2, 3, 4, 5)])


# As a term.


def term_of(seed: int, name: str = "review", rows: int = 4) -> FeatureTargets:
    pairs = tuple(LayerPair(teacher_layer=f"t{i}", student_layer=f"s{i}") for i in range(3))
    shapes = {f"s{i}": shape for i, shape in enumerate(STUDENTS)}
    theirs = [TeacherLayer(tuple(each.shape[1:]), each.float().flatten(1)) for each in layers(TEACHERS, rows, seed=7)]
    return FeatureTargets.of(ReviewTerm(method="review", layers=pairs), name, shapes, theirs, seed, CPU)


def weights(module: nn.Module | None) -> dict[str, Tensor]:
    assert module is not None
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def test_a_term_of_several_layers_takes_them_in_its_order() -> None:
    term, ours = term_of(0), layers(STUDENTS, rows=4)
    taps = {f"s{i}": each.float() for i, each in enumerate(ours)}
    rows = torch.tensor([2, 0])
    inputs = TermInputs(torch.empty(2, 1), {name: tap[rows] for name, tap in taps.items()})
    found = term.losses(inputs, Rows.on(CPU, rows))
    expected = hierarchical_context(fusion()(ours), layers(TEACHERS, rows=4, seed=7)).float()
    torch.testing.assert_close(found, expected[rows], rtol=1e-5, atol=1e-6)
    assert term.taps == ("s0", "s1", "s2")
    assert not term.relational


def test_weights_are_a_function_of_seed_and_name_and_move_no_other_draw() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first = weights(term_of(1).module)
    assert torch.equal(torch.rand(4), expected)
    again = weights(term_of(1).module)
    assert all(torch.equal(again[name], value) for name, value in first.items())
    for other in (weights(term_of(2).module), weights(term_of(1, "review.2").module)):
        assert not any(torch.equal(other[name], value) for name, value in first.items())
    assert not torch.equal(first["layers.0.reduced.bias"], first["layers.1.reduced.bias"])
