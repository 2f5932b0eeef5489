"""A graph in fewer bytes, with the same arithmetic: short names for inner values, equal constants once, no attributes
that say the default, and no notes.

In a quantized graph every weight has a scale, a zero point and a name for each: of a small network they are as large
as the weights.
"""

from collections.abc import Mapping
from itertools import count

import onnx
from onnx import numpy_helper


def compact(model: onnx.ModelProto) -> None:
    """Make the graph smaller, in place. The names of its inputs and outputs stay."""
    graph = model.graph
    del graph.value_info[:]
    _drop_identities(graph)
    _drop_zero_points_of_biases(graph)
    names = _merged(graph)
    versions = {each.domain: each.version for each in model.opset_import}
    for node in graph.node:
        node.name = ""
        node.input[:] = [names.get(value, value) for value in node.input]
        _drop_defaults(node, versions)
    _rename(graph)


_DEFAULTS = {"strides": 1, "dilations": 1, "pads": 0}
"""Lists of such numbers are the default of convolutions and pooling, which the schemas say in words alone."""


def _drop_defaults(node: onnx.NodeProto, versions: Mapping[str, int]) -> None:
    """Remove the attributes that have the default of their operator."""
    if not onnx.defs.has(node.op_type, node.domain):
        return  # an operator of ONNX Runtime
    known = onnx.defs.get_schema(node.op_type, versions[node.domain], node.domain).attributes
    kept = [each for each in node.attribute if each.name not in known or not _is_default(each, known[each.name])]
    del node.attribute[:]
    node.attribute.extend(kept)


def _is_default(attribute: onnx.AttributeProto, known: onnx.defs.OpSchema.Attribute) -> bool:
    if attribute.name in _DEFAULTS and not known.required:
        return bool(set(attribute.ints) == {_DEFAULTS[attribute.name]})
    default: onnx.AttributeProto = known.default_value
    return bool(default == attribute)


def _drop_identities(graph: onnx.GraphProto) -> None:
    """Remove the Identity nodes between inner values."""
    public = {each.name for each in graph.output}
    same = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Identity"}
    same = {output: source for output, source in same.items() if output not in public}
    kept = [node for node in graph.node if node.output[0] not in same]
    for node in kept:
        node.input[:] = [_source(value, same) for value in node.input]
    del graph.node[:]
    graph.node.extend(kept)


def _drop_zero_points_of_biases(graph: onnx.GraphProto) -> None:
    """Remove zero points of 32 bits, which are 0 and the default."""
    zeros = {each.name for each in graph.initializer if each.data_type == onnx.TensorProto.INT32 and _is_zero(each)}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and len(node.input) > 2 and node.input[2] in zeros:
            del node.input[2:]
    used = {name for node in graph.node for name in node.input}
    kept = [each for each in graph.initializer if each.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _is_zero(tensor: onnx.TensorProto) -> bool:
    return not numpy_helper.to_array(tensor).any()


def _source(value: str, same: Mapping[str, str]) -> str:
    while value in same:
        value = same[value]
    return value


def _merged(graph: onnx.GraphProto) -> dict[str, str]:
    """Keep one of equal constants; returns the name of the kept one by that of each other."""
    first: dict[tuple[object, ...], str] = {}
    names, kept = {}, []
    for each in graph.initializer:
        key = (each.data_type, tuple(each.dims), numpy_helper.to_array(each).tobytes())
        if key in first:
            names[each.name] = first[key]
        else:
            first[key] = each.name
            kept.append(each)
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return names


def _rename(graph: onnx.GraphProto) -> None:
    public = {each.name for each in (*graph.input, *graph.output)}
    inner = [each.name for each in graph.initializer]
    inner += [name for node in graph.node for name in node.output if name and name not in public]
    free = (short for i in count() if (short := _short(i)) not in public)
    names: Mapping[str, str] = dict(zip([name for name in inner if name not in public], free, strict=False))
    for node in graph.node:
        node.input[:] = [names.get(value, value) for value in node.input]
        node.output[:] = [names.get(value, value) for value in node.output]
    for each in graph.initializer:
        each.name = names[each.name]


def _short(number: int) -> str:
    """A name of base 36, which no value of a person has: theirs have no `/`."""
    digits, text = "0123456789abcdefghijklmnopqrstuvwxyz", ""
    while True:
        number, digit = divmod(number, len(digits))
        text = digits[digit] + text
        if number == 0:
            return f"/{text}"
