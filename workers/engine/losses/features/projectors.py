"""Projectors: small layers that carry a student's features into the width of its teacher's.

They are trained with the student and are no part of what is exported. A projector is always trained, also between
equal shapes, as FitNets' regressor is: two networks trained apart do not order their channels alike, so an identity
would make the student match one arbitrary basis.
"""

from math import sqrt

import torch
from torch import nn

from workers.engine.common.seeds import generator

KINDS = {1: "flat [F]", 2: "tokens [T, D]", 3: "maps [C, H, W]"}
"""Features by the number of their dimensions without the batch."""


def projector(student_shape: tuple[int, ...], teacher_shape: tuple[int, ...]) -> nn.Module:
    """A layer from one row's features of the student to those of the teacher; shapes are without the batch.

    Maps [C, H, W]: a 1x1 convolution without bias, whatever both sizes are (see `shapes.matched`). Flat [F]: a linear
    layer. Tokens [T, D]: a linear layer on the last dimension, T must agree. Both linear layers have a bias, as
    TinyBERT's code has and its formula has not. `draw` gives the weights.

    Raises ValueError where kinds or numbers of tokens do not fit.
    """
    fits = len(student_shape) == len(teacher_shape) and len(student_shape) in KINDS
    if not fits or (len(student_shape) == 2 and student_shape[0] != teacher_shape[0]):
        raise ValueError(
            f"no projector from features of shape {student_shape} to {teacher_shape}: both must be of one kind, "
            f"{', '.join(KINDS.values())}, and tokens as many"
        )
    with torch.random.fork_rng(devices=[]):  # a new layer draws weights from torch's own generator
        if len(student_shape) == 3:
            return nn.Conv2d(student_shape[0], teacher_shape[0], kernel_size=1, bias=False)
        return nn.Linear(student_shape[-1], teacher_shape[-1])


@torch.no_grad()
def draw(module: nn.Module, seed: int, stream: str) -> None:
    """Initial weights, in place, as a function of (seed, stream, parameter name) alone: U(-1/√fan_in, 1/√fan_in) for
    linear layers and convolutions, as for the networks. Neither the order of draws nor torch's own generators matter.

    Raises TypeError for other layers with parameters, which would keep weights that no seed names.
    """
    for place, layer in module.named_modules():
        own = dict(layer.named_parameters(recurse=False))
        if own and not isinstance(layer, nn.Linear | nn.Conv2d):
            raise TypeError(f"expected linear layers and convolutions, found {type(layer).__name__} at `{place}`")
        for name, parameter in own.items():
            bound = 1.0 / sqrt(own["weight"][0].numel())
            source = generator(seed, f"{stream}/{place}.{name}")
            drawn = torch.rand(parameter.shape, generator=source, dtype=torch.float32)
            parameter.copy_(drawn.mul_(2.0).sub_(1.0).mul_(bound))
