"""Many classes in groups: Gaussian clusters whose centres are near each other inside a group, and a teacher of them."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

Losses = Callable[[Tensor], Tensor]
"""Rows int64 [n] -> one loss a row [n]."""
INPUTS = 32
NOISE = 1.1
TEACHER_SHARE = 4
"""The teacher was trained on this many times the rows of the students."""


@dataclass(frozen=True)
class Size:
    """How many classes, groups of classes and rows that train a student; the students' steps and batch size.

    `teacher_steps` trained the teacher, an mlp; None: it is the classes' true probability given a row.
    """

    classes: int
    groups: int
    rows: int
    steps: int
    batch: int
    teacher_steps: int | None


@dataclass(frozen=True)
class Problem:
    """Rows with labels, the teacher's logits on those that train, and on the test rows."""

    size: Size
    x: Tensor
    labels: Tensor
    logits: Tensor
    test_x: Tensor
    test_labels: Tensor
    teacher_test: Tensor

    @classmethod
    def of(cls, size: Size) -> "Problem":
        """Draw the rows and train the teacher; the same numbers each time on one machine."""
        drawn = torch.Generator().manual_seed(0)
        centres = torch.randn(size.groups, INPUTS, generator=drawn)[torch.arange(size.classes) % size.groups]
        centres = centres + 0.55 * torch.randn(size.classes, INPUTS, generator=drawn)
        mixing = 1.5 * torch.randn(INPUTS, INPUTS, generator=drawn) / math.sqrt(INPUTS)
        share = 1 if size.teacher_steps is None else TEACHER_SHARE
        points, labels = _points(centres, share * size.rows, drawn)
        test_points, test_labels = _points(centres, 4000, drawn)
        x, test_x = _mixed(points, mixing), _mixed(test_points, mixing)
        if size.teacher_steps is None:
            logits, teacher_test = (
                -torch.cdist(each, centres).square() / (2.0 * NOISE**2) for each in (points, test_points)
            )
        else:
            teacher = _teacher(x, labels, size.classes, size.teacher_steps)
            with torch.no_grad():
                logits, teacher_test = teacher(x[: size.rows]), teacher(test_x)
        return cls(size, x[: size.rows], labels[: size.rows], logits, test_x, test_labels, teacher_test)


def _points(centres: Tensor, number: int, drawn: torch.Generator) -> tuple[Tensor, Tensor]:
    """(points around the centres of their classes, classes)."""
    labels = torch.randint(0, len(centres), (number,), generator=drawn)
    return centres[labels] + NOISE * torch.randn(number, INPUTS, generator=drawn), labels


def _mixed(points: Tensor, mixing: Tensor) -> Tensor:
    """What students see of the points: an invertible function of them."""
    mixed = points @ mixing
    return torch.tanh(mixed) + 0.3 * mixed


def _teacher(x: Tensor, labels: Tensor, classes: int, steps: int) -> "Mlps":
    teacher = Mlps.of(1, (INPUTS, 128, classes), seed=0)

    def losses(batch: Tensor) -> Tensor:
        return cross_entropy(teacher(x[batch]), labels[batch], reduction="none")

    train(teacher, len(x), steps, 256, 5e-3, 1e-2, losses)
    return teacher


@dataclass(frozen=True)
class Mlps:
    """Networks of one shape and one hidden layer, which are computed together: rows [n · m, in] -> [n · m, out]."""

    number: int
    parameters: tuple[Tensor, Tensor, Tensor, Tensor]

    @classmethod
    def of(cls, number: int, widths: tuple[int, int, int], seed: int) -> "Mlps":
        """`number` networks, each with initial weights of its own."""
        drawn = torch.Generator().manual_seed(seed)
        inputs, hidden, outputs = widths
        weights = (
            torch.randn(number, inputs, hidden, generator=drawn) * math.sqrt(2.0 / inputs),
            torch.zeros(number, 1, hidden),
            torch.randn(number, hidden, outputs, generator=drawn) * math.sqrt(1.0 / hidden),
            torch.zeros(number, 1, outputs),
        )
        first, second, third, fourth = (weight.requires_grad_() for weight in weights)
        return cls(number, (first, second, third, fourth))

    def __call__(self, x: Tensor) -> Tensor:
        """The logits: the first m of the rows are those of the first network, and so on."""
        first, first_bias, second, second_bias = self.parameters
        if self.number == 1:
            hidden = linear(x, first[0].T, first_bias[0, 0]).relu()
            return linear(hidden, second[0].T, second_bias[0, 0])
        hidden = torch.baddbmm(first_bias, x.reshape(self.number, -1, x.shape[1]), first).relu()
        return torch.baddbmm(second_bias, hidden, second).flatten(0, 1)


def train(
    networks: Mlps,
    rows: int,
    steps: int,
    batch: int,
    rate: float,
    decay: float,
    losses: Losses,
) -> None:
    """AdamW, warm-up over a tenth of the steps, then half a cosine to 0; `losses` of rows int64 [n · batch]."""
    first, first_bias, second, second_bias = networks.parameters
    groups = [
        {"params": [first, second], "weight_decay": decay},
        {"params": [first_bias, second_bias], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate, fused=True)
    drawn = torch.Generator().manual_seed(1)
    for step in range(steps):
        share = step / steps
        factor = share / 0.1 if share < 0.1 else 0.5 * (1.0 + math.cos(math.pi * (share - 0.1) / 0.9))
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
        optimizer.zero_grad()
        loss = losses(torch.randint(0, rows, (networks.number * batch,), generator=drawn)).sum() / batch
        torch.autograd.backward(loss)
        optimizer.step()
