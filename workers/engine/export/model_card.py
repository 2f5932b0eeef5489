"""Metadata of an exported network: one JSON object with a short model card.

Equal networks have equal metadata, so that their files are identical: no times, ids or host names. Results of the
control and the verdict are only in the job's report, so that a control does not change the student's file. The text of
the card is part of the file: another wording changes the digests of all exported models.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.contracts.resources.manifests import InputTransform, OutputSpec
from app.contracts.specs.architectures import Architecture
from app.contracts.specs.distillation import TaskKind

METADATA_VERSION = 1
TRAINING = "## Training"
"""The heading of the part of a card that is the same in every format."""
_COLUMNS = 20
"""How many columns of an input the card names."""

_MEANINGS: dict[TaskKind, str] = {
    "class": "scores of {size} classes: softmax gives probabilities",
    "token_class": "scores of {size} classes for each token: softmax gives probabilities",
    "map": "scores of {size} classes for each pixel, a row of pixels after the other: softmax gives probabilities",
    "multilabel": "one log-odds for each of {size} labels: sigmoid gives probabilities",
    "value": "one number; value = output * std + mean",
    "vector": "a vector of {size} numbers",
}


@dataclass(frozen=True)
class Provenance:
    """The training of a network, for its model card.

    `datasets` and `teachers` are SHA-256 digests of files. `metrics` are those on the test split by task,
    `not_measured` the reasons why a task has none.
    """

    kind: str
    datasets: tuple[str, ...]
    teachers: tuple[str, ...] = ()
    control: bool = False
    steps: int | None = None
    seed: int | None = None
    losses: Mapping[str, str] = field(default_factory=dict)
    """The loss on labels by task, where it is not the default one."""
    metrics: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    not_measured: Mapping[str, str] = field(default_factory=dict)


def metadata(
    architecture: Architecture,
    inputs: Mapping[str, InputTransform],
    outputs: Mapping[str, OutputSpec],
    provenance: Provenance,
) -> dict[str, object]:
    """The JSON object in the file: architecture, inputs, outputs, card."""
    return {
        "version": METADATA_VERSION,
        "architecture": architecture.model_dump(mode="json"),
        "inputs": {name: transform.model_dump(mode="json") for name, transform in sorted(inputs.items())},
        **input_order(inputs),
        "outputs": {name: spec.model_dump(mode="json") for name, spec in sorted(outputs.items())},
        "card": card(architecture, inputs, outputs, provenance),
    }


def input_order(inputs: Mapping[str, InputTransform]) -> dict[str, object]:
    """The order in which several inputs are concatenated, which a JSON object does not keep; nothing for one."""
    return {"input_order": list(inputs)} if len(inputs) > 1 else {}


def card(
    architecture: Architecture,
    inputs: Mapping[str, InputTransform],
    outputs: Mapping[str, OutputSpec],
    provenance: Provenance,
) -> str:
    """A model card in Markdown: inputs and outputs, training, quality, limits."""
    sections = [
        _what(architecture, inputs, outputs),
        _origin(provenance) + _start(architecture),
        _quality(provenance),
        _limits(provenance),
    ]
    return "\n\n".join(sections) + "\n"


def training_part(text: str) -> str:
    """What a card says of training, quality and limits; nothing where it does not."""
    _, heading, rest = text.partition(TRAINING)
    return heading + rest


def _what(architecture: Architecture, inputs: Mapping[str, InputTransform], outputs: Mapping[str, OutputSpec]) -> str:
    shape = " x ".join(str(side) for side in architecture.input_shape or ())
    sizes = architecture.outputs or {}
    lines = [
        f"# A network of the family `{architecture.family}`",
        "",
        f"Takes rows of shape {shape} after the transform in `inputs`: (x * scale - mean) / std.",
        *_encoded(inputs),
        "Gives:",
    ]
    for name, spec in sorted(outputs.items()):
        meaning = _MEANINGS[spec.kind].format(size=sizes.get(name, "?"))
        lines.append(f"- `{name}`: {meaning}")
    return "\n".join(lines)


def _encoded(inputs: Mapping[str, InputTransform]) -> list[str]:
    """How columns of a table become a row, for inputs of which `encoding` says so."""
    lines = []
    for name, transform in sorted(inputs.items()):
        if (encoding := transform.encoding) is not None:
            how = f"{encoding.encoding} of the `categories`" if encoding.encoding else "missing ones replaced by `fill`"
            columns = ", ".join(f"`{column}`" for column in encoding.columns[:_COLUMNS])
            more = f" and {len(encoding.columns) - _COLUMNS} more" if len(encoding.columns) > _COLUMNS else ""
            lines.append(f"`{name}` holds {columns}{more}: {how}, as `encoding` in `inputs` says.")
    return lines


def _origin(provenance: Provenance) -> str:
    lines = [TRAINING]
    how = {"train": "from labels", "distill": "by distillation", "multitask": "for several tasks at once"}
    manner = "from labels alone, as a control" if provenance.control else how.get(provenance.kind, provenance.kind)
    length = f", {provenance.steps} optimiser steps" if provenance.steps is not None else ""
    seed = f", seed {provenance.seed}" if provenance.seed is not None else ""
    lines.append(f"Trained by Stillhouse {manner}{length}{seed}.")
    lines += [f"- loss on the labels of `{task}`: {loss}" for task, loss in sorted(provenance.losses.items())]
    lines += [f"- data: sha256 {digest}" for digest in provenance.datasets]
    if not provenance.control:
        lines += [f"- teacher: sha256 {digest}" for digest in provenance.teachers]
    return "\n".join(lines)


def _start(architecture: Architecture) -> str:
    """The model whose weights it started from, as a line; nothing where these were random."""
    if architecture.pretrained is None:
        return ""
    cut = architecture.cut
    blocks = f", blocks {', '.join(map(str, cut.layers))} of it" if cut is not None else ""
    narrower = ", leading rows and columns" if cut is not None and cut.sliced else ""
    return f"\n- started from the weights of `{architecture.pretrained}`{blocks}{narrower}"


def _quality(provenance: Provenance) -> str:
    lines = ["## Quality on the test split"]
    for task, metrics in sorted(provenance.metrics.items()):
        figures = ", ".join(f"{name} {value:.6g}" for name, value in sorted(metrics.items()) if value is not None)
        lines.append(f"- `{task}`: {figures}")
    lines += [f"- `{task}`: not measured, {why}" for task, why in sorted(provenance.not_measured.items())]
    return "\n".join(lines)


def _limits(provenance: Provenance) -> str:
    """The limits of the metrics."""
    lines = [
        "## Limits",
        "Measured on rows of the same dataset that it was trained on; other data may differ.",
        "One seed: another training run would give somewhat other figures.",
    ]
    if provenance.teachers and not provenance.control:
        lines.append("What its teachers get wrong it may have learnt too. Whether they helped at all, the report says.")
    return "\n".join(lines)
