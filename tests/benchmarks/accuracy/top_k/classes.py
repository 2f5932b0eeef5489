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
TEACHER_SHARE = 4
"""The teacher was trained on this many times the rows of the students."""


@dataclass(frozen=True)
class Size:
    """How many classes, groups of classes, rows that train a student, and steps."""

    classes: int
    groups: int
    rows: int
    steps: int
    teacher_steps: int


@dataclass(frozen=True)
class Problem:
    """Rows with labels, the teacher's logits on those that train, and its predictions on the test rows."""

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

        def rows(number: int) -> tuple[Tensor, Tensor]:
            labels = torch.randint(0, size.classes, (number,), generator=drawn)
            points = (centres[labels] + 1.1 * torch.randn(number, INPUTS, generator=drawn)) @ mixing
            return torch.tanh(points) + 0.3 * points, labels

        all_x, all_labels = rows(TEACHER_SHARE * size.rows)
        test_x, test_labels = rows(4000)
        teacher = Mlps.of(1, (INPUTS, 128, size.classes), seed=0)
        train(
            teacher,
            len(all_x),
            size.teacher_steps,
            256,
            5e-3,
            1e-2,
            lambda batch: cross_entropy(teacher(all_x[batch]), all_labels[batch], reduction="none"),
        )
        x, labels = all_x[: size.rows], all_labels[: size.rows]
        with torch.no_grad():
            return cls(size, x, labels, teacher(x), test_x, test_labels, teacher(test_x))


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
        hidden = torch.baddbmm(first_bias, x.unflatten(0, (self.number, -1)), first).relu()
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
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
