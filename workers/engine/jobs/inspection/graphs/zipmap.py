"""ZipMap nodes, by which scikit-learn's converter puts out a list of {class: probability}: the table before is used."""

import onnx


def cut_zip_maps(model: onnx.ModelProto) -> bool:
    """Replace each ZipMap that makes an output of the graph: the output becomes the table [n, classes] that the ZipMap
    reads. Returns whether there was one.
    """
    outputs = {output.name: output for output in model.graph.output}
    cut = False
    for node in model.graph.node:
        if node.op_type != "ZipMap" or node.domain != "ai.onnx.ml" or len(node.input) != 1 or len(node.output) != 1:
            continue
        output = outputs.get(node.output[0])
        if output is None:
            continue
        classes = next((max(len(a.ints), len(a.strings)) for a in node.attribute if a.ints or a.strings), None)
        source, name = node.input[0], node.output[0]
        node.CopyFrom(onnx.helper.make_node("Identity", [source], [name]))
        output.CopyFrom(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, classes]))
        cut = True
    return cut
