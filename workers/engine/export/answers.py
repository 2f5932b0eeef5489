"""What an exported student puts out: for each task the numbers that a person wants, in their own units.

`app.contracts.resources.graph_names` has the names and shapes.
"""

from collections.abc import Mapping
from typing import assert_never

import torch
from torch import Tensor

from app.contracts.resources.graph_names import answer_names
from app.contracts.resources.manifests import (
    ClassOutput,
    MapOutput,
    MultilabelOutput,
    OutputSpec,
    TokenClassOutput,
    ValueOutput,
    VectorOutput,
)
from workers.engine.losses.softmax import class_scores, label_log_odds
from workers.engine.losses.target_scaling import predicted_numbers
from workers.engine.models.families.map_head import as_map


def answers(specs: Mapping[str, OutputSpec], outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The outputs of a network [n, size] by task -> all answers by name, as predictions files have them."""
    found: dict[str, Tensor] = {}
    for task, spec in specs.items():
        found |= zip(answer_names(task, spec), _answers(spec, outputs[task]), strict=True)
    return found


def _answers(spec: OutputSpec, values: Tensor) -> tuple[Tensor, ...]:
    match spec:
        case ClassOutput():
            scores = class_scores(values, spec)
            return scores, torch.softmax(scores, dim=1)
        case TokenClassOutput():
            return values, torch.softmax(values, dim=2)
        case MapOutput():
            scores = as_map(values, spec.shape)
            return scores, torch.softmax(scores, dim=1)
        case MultilabelOutput():
            log_odds = label_log_odds(values, spec)
            return log_odds, torch.sigmoid(log_odds)
        case ValueOutput() | VectorOutput():
            return (predicted_numbers(values, spec),)
        case _:
            assert_never(spec)
