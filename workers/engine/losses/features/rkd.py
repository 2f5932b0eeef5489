"""Relational knowledge distillation (Park, Kim, Lu, Cho 2019, "Relational knowledge distillation").

    ψ_D(i, j)    = ‖x_i − x_j‖ / μ,   μ the mean of the distances that are not 0
    ψ_A(i, j, k) = cos ∠ x_i x_j x_k = ⟨x_i − x_j, x_k − x_j⟩ / (‖x_i − x_j‖ · ‖x_k − x_j‖)
    rkd          = mean over pairs, or triples, of Huber(ψ of the student − ψ of the teacher),  δ = 1

The mean runs over all N² pairs and N³ triples, as in the authors' code, whose weights (25 and 50 elsewhere) belong to
this scale; those with a point twice add 0. The paper sums over tuples of different points.

Distances and angles come from the inner products of the centred rows, which take N² and N³ numbers; differences written
out would take N² · F. Points whose squared distance is lost in rounding (below 16 ε of their squared distances from
the centre) count as one point: distance 0, cosine 0, no gradient. The authors' code puts 1e-6 there.
"""

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from workers.engine.losses.features.shapes import flat, nothing
from workers.engine.losses.softmax import widened


def rkd(student: Tensor, teacher: Tensor, distance: float, angle: float) -> Tensor:
    """Features [N, ...] of any two shapes -> the weighted sum of both losses, a scalar for the whole batch."""
    return distance * rkd_distance(student, teacher) + angle * rkd_angle(student, teacher)


def rkd_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Features [N, ...] of any two shapes -> a scalar for the whole batch; fewer than two rows give 0."""
    if len(student) < 2:
        return nothing(student)
    return smooth_l1_loss(_relative_distances(student), _relative_distances(teacher))


def rkd_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """Features [N, ...] of any two shapes -> a scalar for the whole batch; fewer than three rows give 0."""
    if len(student) < 3:
        return nothing(student)
    return smooth_l1_loss(_cosines(student), _cosines(teacher))


def _relative_distances(features: Tensor) -> Tensor:
    """ψ_D [N, N]."""
    _, squared, apart = _geometry(features)
    distances = torch.where(apart, squared.sqrt(), 0.0)
    mean = distances.sum() / apart.sum().clamp_min(1)
    return distances / torch.where(mean > 0.0, mean, 1.0)


def _cosines(features: Tensor) -> Tensor:
    """ψ_A [N, N, N]: at [j, i, k] that of the angle at j between i and k."""
    inner, squared, apart = _geometry(features)
    closeness = torch.where(apart, squared.rsqrt(), 0.0)
    products = inner - inner[:, :, None] - inner[:, None, :] + inner.diagonal()[:, None, None]
    return products * closeness[:, :, None] * closeness[:, None, :]


def _geometry(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(inner products of the centred rows, squared distances with 1 for 0, whether two points differ): all [N, N]."""
    points = widened(flat(features))
    points = points - points.mean(0)
    inner = points @ points.T
    lengths = inner.diagonal()
    scale = lengths[:, None] + lengths
    squared = scale - 2.0 * inner
    apart = squared > 16.0 * torch.finfo(points.dtype).eps * scale
    return inner, torch.where(apart, squared, 1.0), apart
