"""F1 over entities: spans of tokens that names of classes tell by `B-…`, `I-…` and `O` (Ramshaw and Marcus 1995)."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

_OUTSIDE: Final = "O"
_BEGIN, _INSIDE = "B-", "I-"


def entity_f1(predicted: Tensor, labels: Tensor, names: Sequence[str]) -> float | None:
    """2 · found / (predicted + labelled) of entities, int [n, tokens] both, labels below 0 where a token has none.

    An entity is found where a predicted one has the same first and last token and type. Only labelled tokens count, one
    after another. `I-x` behind another type or `O` begins an entity, as in the script of CoNLL 2000. None where names
    are not such, and without any entity.
    """
    kinds = _kinds(names)
    if kinds is None:
        return None
    known = labels >= 0
    rows = torch.arange(len(labels))[:, None].expand(labels.shape)[known]
    spans = [_spans(each[known].long(), rows, *kinds) for each in (predicted, labels)]
    total = sum(map(len, spans))
    return 2.0 * len(spans[0] & spans[1]) / total if total else None


def names_entities(names: Sequence[str] | None) -> bool:
    """Whether names of classes tell entities."""
    return names is not None and _kinds(names) is not None


def _kinds(names: Sequence[str]) -> tuple[Tensor, Tensor] | None:
    """(the type of each class, -1 outside, whether it begins an entity); None where a name is neither."""
    types: dict[str, int] = {}
    places, begins = [], []
    for name in names:
        if name != _OUTSIDE and not (name.startswith((_BEGIN, _INSIDE)) and len(name) > len(_BEGIN)):
            return None
        places.append(-1 if name == _OUTSIDE else types.setdefault(name[len(_BEGIN) :], len(types)))
        begins.append(name.startswith(_BEGIN))
    return (torch.tensor(places), torch.tensor(begins)) if types else None


def _spans(classes: Tensor, rows: Tensor, kinds: Tensor, begins: Tensor) -> set[tuple[int, int, int]]:
    """(first token, last token, type) of each entity, of tokens [t] of rows one after another."""
    types = kinds[classes]
    before, first_of_row = types.roll(1), rows != rows.roll(1)
    if len(rows):
        first_of_row[0] = True
    starts = (types >= 0) & (begins[classes] | (types != before) | first_of_row)
    inside = (types >= 0).nonzero().reshape(-1)
    groups = starts.long().cumsum(0)[inside]
    last = torch.ones_like(groups, dtype=torch.bool)
    last[:-1] = groups[1:] != groups[:-1]
    firsts, ends = starts.nonzero().reshape(-1), inside[last]
    return set(zip(firsts.tolist(), ends.tolist(), types[firsts].tolist(), strict=True))
