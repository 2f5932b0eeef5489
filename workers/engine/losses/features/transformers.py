"""Terms between transformers: hidden states, and relations between tokens.

    hidden_states = mean over tokens and width of (projector(student) − teacher)²
                    (Jiao et al. 2020, "TinyBERT"; its formula has no bias, its code has one)
    relations     = mean over heads and tokens of KL(R_T ‖ R_S),   R = softmax(X · Xᵀ / √d)
                    (Wang et al. 2021, "MiniLMv2"; X the queries, the keys or the values of a layer)

For relations the vectors of all attention heads are concatenated and split into `heads` relation heads of
width d, so that neither widths nor numbers of attention heads have to agree. Queries are related to queries, keys to
keys, values to values, each by a call of its own. Every token counts: there is no mask for padding.
"""

from math import sqrt

from torch import Tensor
from torch.nn.functional import log_softmax

from workers.engine.losses.features.shapes import paired
from workers.engine.losses.softmax import widened


def hidden_states(projected_student: Tensor, teacher: Tensor) -> Tensor:
    """Both [N, T, D] -> [N]."""
    projected, teacher = paired(projected_student, teacher)
    return (projected - teacher).square().mean((1, 2))


def relations(student: Tensor, teacher: Tensor, heads: int) -> Tensor:
    """Vectors [N, T, D] and [N, T, E] -> [N]; raises ValueError unless `heads` divides D and E, and tokens agree."""
    if student.shape[:2] != teacher.shape[:2]:
        raise ValueError(f"expected as many tokens, found {tuple(student.shape)} and {tuple(teacher.shape)}")
    ours, theirs = _log_relations(student, heads), _log_relations(teacher, heads)
    return (theirs.exp() * (theirs - ours)).sum(-1).mean((1, 2))


def _log_relations(vectors: Tensor, heads: int) -> Tensor:
    """[N, T, D] -> log R [N, heads, T, T]."""
    rows, tokens, width = vectors.shape
    if width % heads:
        raise ValueError(f"expected a width that {heads} heads divide, found {width}")
    split = widened(vectors).reshape(rows, tokens, heads, width // heads).transpose(1, 2)
    return log_softmax(split @ split.transpose(-1, -2) / sqrt(width // heads), dim=-1)
