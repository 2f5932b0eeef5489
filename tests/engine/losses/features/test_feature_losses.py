"""Losses on features against formulas written out and values of their authors' code, and batches at their edges."""

from collections.abc import Callable
from math import ceil, floor

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn.functional import adaptive_avg_pool2d

from tests.engine.losses.formulas import drawn, fixed, gradient, kl, softmax
from workers.engine.losses.features.attention import attention_transfer
from workers.engine.losses.features.crd import info_nce
from workers.engine.losses.features.fitnets import hint, unit_hint
from workers.engine.losses.features.projectors import projector
from workers.engine.losses.features.rkd import rkd_angle, rkd_distance
from workers.engine.losses.features.shapes import flat, matched
from workers.engine.losses.features.similarity import similarity
from workers.engine.losses.features.transformers import hidden_states, relations

Loss = Callable[[Tensor, Tensor], Tensor]

LOSSES: dict[str, tuple[Loss, tuple[int, ...], tuple[int, ...]]] = {
    "hint": (hint, (3, 4, 4), (3, 4, 4)),
    "unit hint": (unit_hint, (3, 4, 4), (3, 4, 4)),
    "hint, other size": (hint, (3, 4, 4), (3, 2, 3)),
    "attention": (attention_transfer, (3, 4, 4), (3, 4, 4)),
    "attention, other size": (attention_transfer, (3, 4, 4), (5, 2, 3)),
    "similarity": (similarity, (6,), (6,)),
    "similarity, other width": (similarity, (2, 3, 3), (5,)),
    "rkd_distance": (rkd_distance, (6,), (6,)),
    "rkd_distance, other width": (rkd_distance, (2, 3, 3), (5,)),
    "rkd_angle": (rkd_angle, (6,), (6,)),
    "rkd_angle, other width": (rkd_angle, (2, 3, 3), (5,)),
    "info_nce": (lambda s, t: info_nce(s, t, 0.5), (6,), (6,)),
    "hidden_states": (hidden_states, (4, 6), (4, 6)),
    "relations": (lambda s, t: relations(s, t, 2), (4, 6), (4, 6)),
    "relations, other width": (lambda s, t: relations(s, t, 2), (4, 6), (4, 10)),
}
"""Name -> the loss, one row's shape of the student's features, and of the teacher's."""
every_loss = pytest.mark.parametrize("name", LOSSES)
OF_BATCHES = ("similarity", "rkd", "info_nce")


def features(name: str, rows: int = 5) -> tuple[Loss, Tensor, Tensor]:
    loss, student, teacher = LOSSES[name]
    return loss, drawn(rows, *student, seed=1, spread=1.0), drawn(rows, *teacher, seed=2, spread=1.0)


@every_loss
def test_the_gradient_is_that_of_the_loss(name: str) -> None:
    loss, student, teacher = features(name)
    assert gradcheck(lambda s: loss(s, teacher), student.requires_grad_())


@every_loss
def test_there_is_a_loss_a_row_or_one_for_the_batch(name: str) -> None:
    loss, student, teacher = features(name)
    found = loss(student, teacher)
    assert found.shape == (() if name.startswith(OF_BATCHES) else (5,))
    assert float(found.min()) > 1e-4


@pytest.mark.parametrize("name", [name for name in LOSSES if "other" not in name and name != "info_nce"])
def test_a_student_that_equals_its_teacher_loses_nothing(name: str) -> None:
    loss, student, _ = features(name)
    found = loss(student.requires_grad_(), student.detach().clone())
    assert float(found.detach().abs().max()) < 1e-14
    assert float(gradient(found.sum(), student).abs().max()) < 1e-12


@every_loss
def test_float32_agrees_with_float64_and_half_precision_is_computed_in_float32(name: str) -> None:
    loss, student, teacher = features(name)
    exact = loss(student, teacher)
    assert exact.dtype == torch.float64
    torch.testing.assert_close(loss(student.float(), teacher.float()).double(), exact, rtol=1e-3, atol=1e-6)
    for low in (torch.float16, torch.bfloat16):
        found = loss(student.to(low), teacher.to(low))
        assert found.dtype == torch.float32
        assert torch.equal(found, loss(student.to(low).float(), teacher.to(low).float()))


@every_loss
@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_features_that_are_all_alike_give_finite_losses_and_gradients(name: str, value: float) -> None:
    """A dead layer, or one that puts out its bias; against a living teacher and against one as dead."""
    loss, student, teacher = features(name)
    student = torch.full_like(student, value, dtype=torch.float32).requires_grad_()
    for target in (teacher.float(), torch.zeros_like(teacher, dtype=torch.float32)):
        found = loss(student, target).sum()
        assert bool(found.isfinite())
        assert bool((gradient(found, student).abs() < 100.0).all())
    moving = teacher.float().requires_grad_()
    found = loss(moving, student.detach()).sum() if "other" not in name else loss(student, moving).sum()
    assert bool(gradient(found, moving).isfinite().all())


@every_loss
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_small_batches_give_numbers(name: str, rows: int) -> None:
    loss, student, teacher = features(name, rows)
    found = loss(student.requires_grad_(), teacher).sum()
    assert bool(found.isfinite())
    assert bool(gradient(found, student).isfinite().all())


@pytest.mark.parametrize(("name", "least"), [("similarity", 2), ("rkd_distance", 2), ("rkd_angle", 3), ("info_nce", 2)])
def test_a_batch_too_small_to_relate_is_zero_with_a_gradient_of_zeros(name: str, least: int) -> None:
    loss, student, teacher = features(name, least - 1)
    student[0, 0] = torch.inf
    found = loss(student.requires_grad_(), teacher)
    assert float(found.detach()) == 0.0
    assert gradient(found, student).tolist() == [0.0] * student.numel()


class TestValuesOfTheAuthorsCode:
    """What the published implementations give for fixed tensors, in float64."""

    student, teacher = fixed(4, 3, k=3), fixed(4, 5, k=5)

    def test_attention_transfer(self) -> None:
        found = attention_transfer(fixed(2, 3, 2, 2, k=3), fixed(2, 4, 2, 2, k=5)).mean()
        assert float(found) == pytest.approx(0.0696527546221492, rel=1e-9)

    def test_similarity(self) -> None:
        assert float(similarity(self.student, self.teacher)) == pytest.approx(0.1347436357679705, rel=1e-9)

    def test_rkd(self) -> None:
        assert float(rkd_distance(self.student, self.teacher)) == pytest.approx(0.008835726173582456, rel=1e-9)
        assert float(rkd_angle(self.student, self.teacher)) == pytest.approx(0.017207613526149825, rel=1e-9)


@pytest.mark.parametrize(
    ("larger", "smaller"), [((4, 4), (2, 2)), ((5, 7), (3, 2)), ((7, 7), (1, 1)), ((6, 4), (4, 4))]
)
def test_maps_are_matched_by_adaptive_average_pooling(larger: tuple[int, int], smaller: tuple[int, int]) -> None:
    big, small = drawn(2, 3, *larger, seed=1), drawn(2, 5, *smaller, seed=2)
    written = np.zeros((2, 3, *smaller))
    for i in range(smaller[0]):
        for j in range(smaller[1]):
            top, bottom = floor(i * larger[0] / smaller[0]), ceil((i + 1) * larger[0] / smaller[0])
            left, right = floor(j * larger[1] / smaller[1]), ceil((j + 1) * larger[1] / smaller[1])
            written[:, :, i, j] = big.numpy()[:, :, top:bottom, left:right].mean((2, 3))
    for pooled, same in (matched(big, small), matched(small, big)[::-1]):
        np.testing.assert_allclose(pooled, written, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(pooled, adaptive_avg_pool2d(big, smaller))
        assert same is small


def test_each_axis_goes_to_the_smaller_of_both_and_what_is_no_map_passes() -> None:
    wide, high = matched(drawn(2, 3, 2, 8), drawn(2, 3, 8, 4))
    assert wide.shape == high.shape == (2, 3, 2, 4)
    tokens = drawn(2, 7, 3)
    assert matched(tokens, tokens) == (tokens, tokens)


def test_flat_features_keep_their_rows() -> None:
    x = drawn(4, 3, 2, 2)
    assert torch.equal(flat(x), x.reshape(4, 12))
    assert torch.equal(flat(x[:, :, 0, 0]), x[:, :, 0, 0])
    assert flat(x[:0]).shape == (0, 12)


@pytest.mark.parametrize("shape", [(6,), (3, 2, 2), (4, 3)])
def test_hint_is_the_mean_squared_difference_over_all_numbers(shape: tuple[int, ...]) -> None:
    student, teacher = drawn(5, *shape, seed=1), drawn(5, *shape, seed=2)
    s, t = student.numpy().reshape(5, -1), teacher.numpy().reshape(5, -1)
    written = [sum((a - b) ** 2 for a, b in zip(s[n], t[n], strict=True)) / s.shape[1] for n in range(5)]
    np.testing.assert_allclose(hint(student, teacher), written, rtol=1e-6)


def test_unit_hint_is_the_squared_distance_of_unit_vectors_whatever_their_sizes() -> None:
    student, teacher = drawn(3, 5, seed=1), drawn(3, 5, seed=2)
    unit = [side / side.norm(dim=1, keepdim=True) for side in (student, teacher)]
    expected = 2.0 - 2.0 * (unit[0] * unit[1]).sum(1)
    torch.testing.assert_close(unit_hint(student, teacher), expected)
    torch.testing.assert_close(unit_hint(1e3 * student, 1e-3 * teacher), expected)
    assert torch.equal(unit_hint(torch.zeros(1, 3), torch.zeros(1, 3)), torch.zeros(1))


def test_hint_is_the_same_whether_maps_are_projected_or_pooled_first() -> None:
    """So that the cheaper order may be taken."""
    module = projector((3, 4, 4), (5, 2, 2)).double()
    student, teacher = drawn(2, 3, 4, 4, seed=1), drawn(2, 5, 2, 2, seed=2)
    pooled, _ = matched(student, teacher)
    torch.testing.assert_close(hint(module(student), teacher), hint(module(pooled), teacher))


@pytest.mark.parametrize("loss", [hint, hidden_states])
def test_shapes_that_would_broadcast_are_refused(loss: Loss) -> None:
    with pytest.raises(ValueError, match=r"expected features of one shape, found \(5, 4, 1\) and \(5, 4, 6\)"):
        loss(drawn(5, 4, 1), drawn(5, 4, 6))


def test_attention_is_where_the_squares_are_whatever_their_scale() -> None:
    student, teacher = drawn(2, 3, 2, 2, seed=1), drawn(2, 5, 2, 2, seed=2)
    s, t = student.numpy(), teacher.numpy()
    for n in range(2):
        ours = np.array([np.mean([s[n, c, i, j] ** 2 for c in range(3)]) for i in range(2) for j in range(2)])
        theirs = np.array([np.mean([t[n, c, i, j] ** 2 for c in range(5)]) for i in range(2) for j in range(2)])
        apart = ours / np.sqrt(sum(ours**2)) - theirs / np.sqrt(sum(theirs**2))
        found = attention_transfer(student, teacher)[n]
        assert float(found) == pytest.approx(sum(apart**2) / 4, rel=1e-6)
    torch.testing.assert_close(attention_transfer(9.0 * student, 0.1 * teacher), attention_transfer(student, teacher))


def test_attention_needs_maps() -> None:
    with pytest.raises(ValueError, match=r"expected maps \[N, C, H, W\], found \(2, 3\) and \(2, 3\)"):
        attention_transfer(drawn(2, 3), drawn(2, 3))


def test_similarity_compares_the_normalised_rows_of_gramians() -> None:
    student, teacher = drawn(5, 2, 2, 2, seed=1), drawn(5, 3, seed=2)
    s, t = student.numpy().reshape(5, -1), teacher.numpy()
    written = 0.0
    for i in range(5):
        ours, theirs = (np.array([x[i] @ x[j] for j in range(5)]) for x in (s, t))
        written += sum((ours / np.sqrt(ours @ ours) - theirs / np.sqrt(theirs @ theirs)) ** 2) / 25
    assert float(similarity(student, teacher)) == pytest.approx(written, rel=1e-6)


def huber(a: float, b: float) -> float:
    return 0.5 * (a - b) ** 2 if abs(a - b) <= 1.0 else abs(a - b) - 0.5


def relative_distances(x: np.ndarray) -> np.ndarray:
    raw = np.array([[np.linalg.norm(a - b) for b in x] for a in x])
    return np.asarray(raw / raw[raw > 0].mean())


def cosine_of_angle(x: np.ndarray, i: int, j: int, k: int) -> float:
    a, b = x[i] - x[j], x[k] - x[j]
    size = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / size) if size > 0 else 0.0


@pytest.mark.parametrize("centre", [0.0, 100.0])
def test_rkd_distance_compares_distances_in_units_of_their_mean(centre: float) -> None:
    student, teacher = drawn(6, 2, 2, seed=1) + centre, 10.0 * drawn(6, 3, seed=2)
    ours, theirs = (relative_distances(x.numpy().reshape(6, -1)) for x in (student, teacher))
    written = np.mean([huber(a, b) for a, b in zip(ours.flat, theirs.flat, strict=True)])
    assert float(rkd_distance(student, teacher)) == pytest.approx(written, rel=1e-6)
    torch.testing.assert_close(rkd_distance(5.0 * student, teacher), rkd_distance(student, teacher))


@pytest.mark.parametrize("centre", [0.0, 100.0])
def test_rkd_angle_compares_the_cosines_of_all_angles(centre: float) -> None:
    student, teacher = drawn(6, 2, 2, seed=1) + centre, 10.0 * drawn(6, 3, seed=2)
    s, t = student.numpy().reshape(6, -1), teacher.numpy()
    triples = [(i, j, k) for i in range(6) for j in range(6) for k in range(6)]
    written = np.mean([huber(cosine_of_angle(s, *one), cosine_of_angle(t, *one)) for one in triples])
    assert float(rkd_angle(student, teacher)) == pytest.approx(written, rel=1e-6)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_rkd_of_identical_points_counts_them_as_one(kind: torch.dtype) -> None:
    """Rows 0 and 3, far from the origin, where rounding would give them a distance. The teacher tells them apart."""
    student, teacher = drawn(6, 8, seed=1) + 50.0, drawn(6, 3, seed=2)
    student[3] = student[0]
    s, t = student.to(kind).double().numpy(), teacher.numpy()
    ours, theirs = relative_distances(s), relative_distances(t)
    close = 1e-3 if kind == torch.float32 else 1e-6
    written = np.mean([huber(a, b) for a, b in zip(ours.flat, theirs.flat, strict=True)])
    moving = student.to(kind).requires_grad_()
    found = rkd_distance(moving, teacher.to(kind))
    assert float(found.detach()) == pytest.approx(written, rel=close)
    triples = [(i, j, k) for i in range(6) for j in range(6) for k in range(6)]
    written = np.mean([huber(cosine_of_angle(s, *one), cosine_of_angle(t, *one)) for one in triples])
    angle = rkd_angle(moving, teacher.to(kind))
    assert float(angle.detach()) == pytest.approx(written, rel=close)
    assert float(gradient(found + angle, moving).abs().max()) < 1.0


def test_rkd_of_points_that_differ_by_rounding_counts_them_as_one() -> None:
    """Their distance would be noise, and their angles noise divided by noise."""
    student, teacher = drawn(6, 8, seed=1).float(), drawn(6, 3, seed=2).float()
    student[3] = student[0]
    rounded = student.clone()
    rounded[3] = torch.nextafter(rounded[3], torch.full((8,), torch.inf))
    assert not torch.equal(rounded, student)
    for loss in (rkd_distance, rkd_angle):
        torch.testing.assert_close(loss(rounded, teacher), loss(student, teacher), rtol=1e-5, atol=0)


def test_rkd_of_points_far_from_the_origin_is_not_lost_in_their_inner_products() -> None:
    """In float32, at a hundred times the points' spread: 1e4 of inner product for 1 of squared distance."""
    student, teacher = (drawn(6, 8, seed=1, spread=1.0) + 100.0).float(), drawn(6, 3, seed=2).float()
    for loss in (rkd_distance, rkd_angle):
        exact = loss(student.double(), teacher.double())
        torch.testing.assert_close(loss(student, teacher).double(), exact, rtol=1e-4, atol=0)


def test_rkd_is_free_of_rotations_and_shifts() -> None:
    teacher = drawn(6, 4)
    rotation, _ = np.linalg.qr(drawn(4, 4, seed=3).numpy())
    turned = 3.0 * teacher @ torch.from_numpy(rotation) + 7.0
    assert float(rkd_distance(turned, teacher)) < 1e-12
    assert float(rkd_angle(turned, teacher)) < 1e-12


def test_info_nce_lets_each_side_find_its_own_among_the_other() -> None:
    student, teacher = drawn(5, 3, seed=1), drawn(5, 3, seed=2)
    s, t = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (student.numpy(), teacher.numpy()))
    written = 0.0
    for i in range(5):
        forth, back = softmax([s[i] @ t[j] / 0.07 for j in range(5)]), softmax([s[j] @ t[i] / 0.07 for j in range(5)])
        written -= 0.5 * (np.log(forth[i]) + np.log(back[i])) / 5
    assert float(info_nce(student, teacher, 0.07)) == pytest.approx(written, rel=1e-6)
    torch.testing.assert_close(info_nce(teacher, student, 0.07), info_nce(student, teacher, 0.07))
    assert float(info_nce(teacher, teacher, 0.07)) < float(info_nce(student, teacher, 0.07))


def test_info_nce_trains_the_teachers_projector_and_a_temperature_too() -> None:
    student, teacher = drawn(5, 3, seed=1).requires_grad_(), drawn(5, 3, seed=2).requires_grad_()
    tau = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    assert gradcheck(info_nce, (student, teacher, tau))


def test_hidden_states_are_compared_over_tokens_and_width() -> None:
    student, teacher = drawn(3, 4, 5, seed=1), drawn(3, 4, 5, seed=2)
    s, t = student.numpy(), teacher.numpy()
    written = [sum((s[n, i, d] - t[n, i, d]) ** 2 for i in range(4) for d in range(5)) / 20 for n in range(3)]
    np.testing.assert_allclose(hidden_states(student, teacher), written, rtol=1e-6)


@pytest.mark.parametrize(("heads", "width"), [(1, 6), (2, 6), (3, 9), (6, 12)])
def test_relations_are_the_divergences_of_self_attentions_of_relation_heads(heads: int, width: int) -> None:
    student, teacher = drawn(3, 4, 6, seed=1), drawn(3, 4, width, seed=2)
    written = np.zeros(3)
    for n in range(3):
        for head in range(heads):
            ours, theirs = (
                softmax([[a @ b / np.sqrt(len(a)) for b in part] for a in part])
                for part in (np.split(x.numpy()[n], heads, axis=1)[head] for x in (student, teacher))
            )
            written[n] += sum(kl(theirs[i], ours[i]) for i in range(4)) / (4 * heads)
    np.testing.assert_allclose(relations(student, teacher, heads), written, rtol=1e-6)


def test_relations_refuse_heads_that_do_not_divide_and_tokens_that_differ() -> None:
    with pytest.raises(ValueError, match="expected a width that 4 heads divide, found 6"):
        relations(drawn(3, 4, 6), drawn(3, 4, 8), 4)
    with pytest.raises(ValueError, match=r"expected as many tokens, found \(3, 4, 6\) and \(3, 5, 6\)"):
        relations(drawn(3, 4, 6), drawn(3, 5, 6), 2)
