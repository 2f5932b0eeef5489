"""The graphs that a student in float32 becomes in 8 or 16 bits, in every way that makes sense for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import onnx
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.reports.quantized import QuantizationMethod
from app.contracts.specs.quantization import QuantizedFormat
from workers.engine.data.formats.common import Array
from workers.engine.export.onnx import RowsGraph, trace
from workers.engine.export.raw_student import RawStudent
from workers.engine.models.quantization.compact import compact
from workers.engine.models.quantization.copies import copied
from workers.engine.models.quantization.folding import fold_integers
from workers.engine.models.quantization.half import LARGEST, largest_number, to_half
from workers.engine.models.quantization.post_training import quantize_dynamically, quantize_statically
from workers.engine.models.quantization.qdq import quantize_layers
from workers.engine.models.quantization.tables import quantize_tables
from workers.engine.models.quantization.weighted_nodes import CONVOLUTION, weighted_nodes

Graphs = dict[QuantizationMethod, onnx.ModelProto]


@dataclass(frozen=True)
class Quantization:
    """What a student is quantized from: its graph in float32, calibration rows as the graph takes them, in batches, and
    the ranges [2] of its layers' inputs where it was trained with quantization.
    """

    student: RawStudent
    graph: RowsGraph
    batches: Sequence[Mapping[str, Array]]
    input_ranges: Mapping[str, Tensor]

    def graphs(self, wanted: QuantizedFormat) -> Graphs:
        """The graphs of a format, compact. Raises UserError `nothing_to_quantize`, and `out_of_half_range`."""
        if not weighted_nodes(self.graph.model):
            raise UserError(
                "nothing_to_quantize",
                f"an {wanted} file is smaller by the weights of linear and convolution layers, and this network has "
                "none: leave it out",
            )
        found = self._half() if wanted == "fp16" else self._integers()
        for model in found.values():
            compact(model)
        return found

    def _half(self) -> Graphs:
        network = self.graph.network
        reached = largest_number(copied(self.graph.model), network, self.batches)
        if not reached <= LARGEST:
            raise UserError(
                "out_of_half_range",
                f"float16 holds numbers up to {LARGEST:g}, and the network reaches {reached:.3g} on training rows: "
                "standardise the inputs, or leave fp16 out",
            )
        model = copied(self.graph.model)
        to_half(model, network)
        return {"half": model}

    def _integers(self) -> Graphs:
        """A network that was trained for one arithmetic has no other. Convolutions are never dynamic; tables
        of embeddings of networks of texts are quantized in both ways.
        """
        if self.input_ranges:
            return {"aware": aware_graph(self.student, self.input_ranges)}
        found: Graphs = {"static": quantize_statically(copied(self.graph.model), self.batches)}
        if not weighted_nodes(self.graph.model, CONVOLUTION):
            found["dynamic"] = quantize_dynamically(copied(self.graph.model))
        if self.student.network.architecture.reads == "tokens":
            for model in found.values():
                quantize_tables(model)
        return found


def aware_graph(student: RawStudent, input_ranges: Mapping[str, Tensor]) -> onnx.ModelProto:
    """The graph of a student that was trained with rounded weights and inputs, from the dataset's rows to the answers.
    `input_ranges`: those [2] of its layers' inputs by layer.
    """
    model = trace(student, partial(quantize_layers, ranges=input_ranges)).model
    fold_integers(model)
    return model
