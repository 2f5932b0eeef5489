"""Do a transformer's own numbers go together? Asked of specs when they are submitted, and of uploads."""

from app.contracts.problems import Problem
from app.contracts.specs.architectures import Transformer

MOST_SCORES = 1 << 28
"""Most attention scores of one row in one block: 1 GiB of float32."""


def misfits(architecture: Transformer, tokens: int) -> list[Problem]:
    """What is wrong with a transformer of so many tokens; pointers start at the architecture."""
    found = []
    width, heads = architecture.width, architecture.heads
    if width % heads:
        divisors = [n for n in range(1, min(width, 256) + 1) if width % n == 0]
        near = sorted(sorted(divisors, key=lambda n: abs(n - heads))[:4])
        detail = f"{heads} heads do not divide a width of {width}: use {_or(near)} heads, or another width"
        found.append(Problem(pointer="/heads", code="heads_do_not_divide", detail=detail))
    scores = heads * tokens * tokens
    if scores > MOST_SCORES:
        detail = (
            f"{heads} heads over {tokens} tokens make {scores} attention scores a row in each block, and at most "
            f"{MOST_SCORES} are taken: use fewer heads, or rows of fewer tokens"
        )
        found.append(Problem(pointer="/input_shape", code="too_many_tokens", detail=detail))
    return found


def _or(numbers: list[int]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} or {last}" if first else last
