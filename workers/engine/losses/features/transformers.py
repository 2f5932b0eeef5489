"""Terms between transformers: hidden states, and relations between tokens.

    hidden_states = mean over tokens and width of (projector(student) − teacher)²
                    (Jiao et al. 2020, "TinyBERT"; its formula has no bias, its code has one)
    relations     = mean over heads and tokens of KL(R_T ‖ R_S),   R = softmax(X · Xᵀ / √d)
                    (Wang et al. 2021, "MiniLMv2"; X the queries, the keys or the values of a layer)

For relations the vectors of all attention heads are concatenated and split into `heads` relation heads of
width d, so that neither widths nor numbers of attention heads have to agree. Queries are related to queries, keys to
keys, values to values, each by a call of its own. `tokens`, bool [N, T], says which places of a row are tokens: means
are over these, and no token is related to padding. Without it every place counts.
"""

from math import sqrt

from torch import Tensor
from torch.nn.functional import log_softmax

from workers.engine.losses.features.shapes import paired
from workers.engine.losses.softmax import widened
from workers.engine.models.taps import mean_of_tokens

_UNRELATED = -1e30
"""A score whose softmax is 0 beside any other, and whose difference to another is a number."""


def hidden_states(projected_student: Tensor, teacher: Tensor, tokens: Tensor | None = None) -> Tensor:
    """Both [N, T, D] -> [N]."""
    projected, teacher = paired(projected_student, teacher)
    differences = (projected - teacher).square()
    return differences.mean((1, 2)) if tokens is None else mean_of_tokens(differences.mean(2), tokens)


def relations(student: Tensor, teacher: Tensor, heads: int, tokens: Tensor | None = None) -> Tensor:
    """Vectors [N, T, D] and [N, T, E] -> [N]; raises ValueError unless `heads` divides D and E, and tokens agree."""
    if student.shape[:2] != teacher.shape[:2]:
        raise ValueError(f"expected as many tokens, found {tuple(student.shape)} and {tuple(teacher.shape)}")
    ours, theirs = _log_relations(student, heads, tokens), _log_relations(teacher, heads, tokens)
    divergence = (theirs.exp() * (theirs - ours)).sum(-1)
    return divergence.mean((1, 2)) if tokens is None else mean_of_tokens(divergence.mean(1), tokens)


def _log_relations(vectors: Tensor, heads: int, tokens: Tensor | None) -> Tensor:
    """[N, T, D] -> log R [N, heads, T, T]; of places that are no tokens so small that R is 0, and finite."""
    rows, places, width = vectors.shape
    if width % heads:
        raise ValueError(f"expected a width that {heads} heads divide, found {width}")
    split = widened(vectors).reshape(rows, places, heads, width // heads).transpose(1, 2)
    scores = split @ split.transpose(-1, -2) / sqrt(width // heads)
    if tokens is not None:
        scores = scores.masked_fill(~tokens[:, None, None, :], _UNRELATED)
    return log_softmax(scores, dim=-1)
