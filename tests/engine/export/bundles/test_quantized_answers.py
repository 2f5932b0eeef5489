"""The reference answers of a quantized file: those of its graph, in the blocks in which its figures were measured."""

from pathlib import Path

import numpy as np
import torch

from tests.engine.export.raw_students import raw_student
from tests.engine.models.sharing.networks import made, parsed
from workers.engine.export.graph_outputs import GraphOutputs
from workers.engine.export.onnx import trace
from workers.engine.jobs.exports.quantized_students import QuantizedStudent
from workers.engine.jobs.exports.student_graph import SampleRows
from workers.engine.models.quantization.copies import copied
from workers.engine.models.quantization.post_training import quantize_dynamically


def test_the_reference_answers_of_a_dynamic_file_are_those_of_single_rows(tmp_path: Path) -> None:
    spec = {"family": "mlp", "input_shape": [6], "hidden": [16], "outputs": {"y": 3}}
    student = raw_student(made(parsed(spec)).eval())
    sample = SampleRows.made_for(student)
    model = quantize_dynamically(copied(trace(student).model))

    def outputs_of(rows: torch.Tensor) -> dict[str, torch.Tensor]:
        return GraphOutputs(model, student.outputs, sample.feeds, 1)(rows)

    quantized = QuantizedStudent("int8", "dynamic", model, outputs_of, ())
    sample.write_reference(tmp_path / "reference.npz", student, {"student.int8.onnx": quantized})
    with np.load(tmp_path / "reference.npz") as file:
        found = file["answers/student.int8.onnx/y.logits"]
    first = torch.arange(len(found))
    np.testing.assert_array_equal(found, outputs_of(first)["y"].numpy())
    at_once = GraphOutputs(model, student.outputs, sample.feeds, len(found))(first)["y"].numpy()
    assert np.abs(found - at_once).max() > 1e-4, "else the block does not matter"
