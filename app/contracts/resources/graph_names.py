"""Names of the inputs and outputs of an exported graph.

For each task `<task>.logits` and `<task>.probabilities` [n, size] of classes and labels, [n, tokens, size] of classes
of tokens, [n, size, height, width] of maps, `<task>.value` [n, 1], `<task>.vector` [n, size].
"""

from collections.abc import Iterable, Mapping
from typing import Final, assert_never

from app.contracts.resources.manifests import (
    ClassOutput,
    MapOutput,
    MultilabelOutput,
    OutputSpec,
    TokenClassOutput,
    ValueOutput,
    VectorOutput,
)

OPSET: Final = 18
"""The ONNX opset of exported graphs."""
GRAPH_VERSION: Final = 2
"""A graph of version 1 begins after the transform in its `inputs` and puts out the network's own numbers."""
VERSION_TEXT: Final = f'"version":{GRAPH_VERSION}'
"""What the metadata of a graph of this version have, as they are written into its file."""


def answer_names(task: str, spec: OutputSpec) -> tuple[str, ...]:
    """The names of a task's answers, in their order."""
    match spec:
        case ClassOutput() | TokenClassOutput() | MapOutput() | MultilabelOutput():
            return f"{task}.logits", f"{task}.probabilities"
        case ValueOutput():
            return (f"{task}.value",)
        case VectorOutput():
            return (f"{task}.vector",)
        case _:
            assert_never(spec)


def all_answer_names(outputs: Mapping[str, OutputSpec]) -> tuple[str, ...]:
    """The names of all answers, in order."""
    return tuple(name for task, spec in outputs.items() for name in answer_names(task, spec))


def graph_input_names(inputs: Iterable[str], outputs: Mapping[str, OutputSpec]) -> dict[str, str]:
    """The graph's name of each input: its own, unless an answer has it."""
    taken = all_answer_names(outputs)
    return {name: name if name not in taken else f"{name}_input" for name in inputs}
