"""ReviewKD (Chen, Liu, Zhao, Jia 2021, "Distilling knowledge via knowledge review").

With x_1 … x_L the student's layers and t_1 … t_L the teacher's, the deepest last, and W the width of the fusion,

    f_L = P_L(x_L),   f_l = a · P_l(x_l) + b · ↕f_{l+1}     (ABF: P 1x1 convolutions to W channels; ↕ nearest places)
    (a, b) = sigmoid(1x1 convolution of [P_l(x_l), ↕f_{l+1}] to 2 maps)
    y_l = 3x3 convolution of ↕f_l to t_l's channels, at t_l's size
    HCL(y, t) = Σ_k 2^−k · mean((pool_k(y) − pool_k(t))²) / Σ_k 2^−k     k = 0: no pooling; then to 4, 2 and 1 places
    review = Σ_l HCL(y_l, t_l)

The weights of HCL, W = min(512, channels of x_L) and the sizes of ↕ are those of the authors' code. A level of HCL
whose size is not below the height of the map is left out, as there; so vectors, which are maps of one place, as the
authors have the layer before the head, have the squared error alone.

Deviations: convolutions have a bias where the authors' are followed by BatchNorm, which is the same functions once
training is over; a row's loss must not depend on the other rows of the batch, so that micro-batches add up. `draw`
gives the weights. The weight's warm-up over epochs is a `phase` with a `ramp`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from workers.engine.losses.features.shapes import paired, pooled, resized

LEVELS = (4, 2, 1)
"""Sizes to which HCL pools."""
MOST_CHANNELS = 512

Shape = tuple[int, ...]


class Fusion(nn.Module):
    """The attention-based fusion (ABF) of one layer with what was fused of the later ones."""

    def __init__(self, student: Shape, width: int, teacher: Shape, is_last: bool) -> None:
        super().__init__()
        self.size = (teacher[1], teacher[2])
        self.reduced = nn.Conv2d(student[0], width, kernel_size=1)
        self.attention = None if is_last else nn.Conv2d(2 * width, 2, kernel_size=1)
        self.output = nn.Conv2d(width, teacher[0], kernel_size=3, padding=1)

    def forward(self, layer: Tensor, later: Tensor | None) -> tuple[Tensor, Tensor]:
        """(for the teacher's layer, fused for the layer before): both at the teacher's size."""
        fused: Tensor = self.reduced(layer)
        if self.attention is not None and later is not None:
            later = resized(later, fused.shape[2], fused.shape[3])
            shares = torch.sigmoid(self.attention(torch.cat([fused, later], dim=1)))
            fused = fused * shares[:, :1] + later * shares[:, 1:]
        fused = resized(fused, *self.size)
        return self.output(fused), fused


class ResidualFusion(nn.Module):
    """The fusions of all layers, from the last to the first. Shapes are of one row: maps [C, H, W] or vectors [F]."""

    def __init__(self, students: Sequence[Shape], teachers: Sequence[Shape]) -> None:
        super().__init__()
        ours, theirs = [_map_shape(shape) for shape in students], [_map_shape(shape) for shape in teachers]
        width, last = min(MOST_CHANNELS, ours[-1][0]), len(ours) - 1
        with torch.random.fork_rng(devices=[]):  # new layers draw weights from torch's own generator
            self.layers = nn.ModuleList(
                Fusion(student, width, teacher, i == last)
                for i, (student, teacher) in enumerate(zip(ours, theirs, strict=True))
            )

    def forward(self, layers: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The student's layers [N, …], the deepest last -> maps of the teacher's shapes [N, D, h, w]."""
        found: list[Tensor] = []
        later: Tensor | None = None
        for fusion, layer in zip(reversed(self.layers), reversed(layers), strict=True):
            output, later = fusion(_as_maps(layer), later)
            found.append(output)
        return tuple(reversed(found))


def hierarchical_context(students: Sequence[Tensor], teachers: Sequence[Tensor]) -> Tensor:
    """Σ HCL over pairs of maps [N, D, h, w] of one shape, or vectors [N, D] of the teacher -> [N]."""
    each = [_hierarchical_context(ours, _as_maps(theirs)) for ours, theirs in zip(students, teachers, strict=True)]
    return torch.stack(each).sum(0)


def _hierarchical_context(student: Tensor, teacher: Tensor) -> Tensor:
    student, teacher = paired(student, teacher)
    difference = student - teacher  # pooling is linear
    levels = [level for level in LEVELS if level < difference.shape[2]]
    total, weights = difference.square().mean((1, 2, 3)), 1.0
    for k, level in enumerate(levels, start=1):
        total = total + 0.5**k * pooled(difference, level, level).square().mean((1, 2, 3))
        weights += 0.5**k
    return total / weights


def _map_shape(shape: Shape) -> Shape:
    """A vector as a map of one place. Raises ValueError for layers that are neither."""
    if len(shape) not in (1, 3):
        raise ValueError(f"expected maps [C, H, W] or vectors [F], found a layer of shape {shape}")
    return shape if len(shape) == 3 else (*shape, 1, 1)


def _as_maps(layer: Tensor) -> Tensor:
    return layer if layer.dim() == 4 else layer[:, :, None, None]
