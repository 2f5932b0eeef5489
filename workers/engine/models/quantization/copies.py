"""Copies of graphs, for functions that change them."""

import onnx


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a graph."""
    other = onnx.ModelProto()
    other.CopyFrom(model)
    return other
