"""Raw rows -> the rows of a dataset, by the nodes that stand before an exported student."""

from collections.abc import Mapping

import onnx
from onnx import helper

from app.contracts.resources.facts import ModelFacts
from app.contracts.resources.graph_names import OPSET
from app.contracts.resources.manifests import InputTransform
from workers.engine.common.onnx_session import onnx_session
from workers.engine.data.formats.common import Array
from workers.engine.export.raw_student import row_shape
from workers.engine.export.row_nodes import ML_DOMAIN, ML_OPSET, RowNodes, element_type, rows_name
from workers.engine.serving.rows.forms import raw_forms


class RowGraph:
    """The nodes of all inputs of a student as a graph of their own. `shapes`: of one row of the dataset, by input."""

    def __init__(self, student: ModelFacts, threads: int) -> None:
        forms = raw_forms(student)
        transforms = {name: student.inputs.get(name, InputTransform()) for name in forms}
        self.shapes = {name: row_shape(form, transforms[name].encoding) for name, form in forms.items()}
        made = [RowNodes.of(name, form, transforms[name], rows_name(name)) for name, form in forms.items()]
        outputs = [
            helper.make_tensor_value_info(rows_name(name), element_type(form.rows), None)
            for name, form in forms.items()
        ]
        graph = helper.make_graph(
            [node for each in made for node in each.nodes],
            "rows",
            [each.value for each in made],
            outputs,
            [constant for each in made for constant in each.constants],
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(ML_DOMAIN, ML_OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=onnx.IR_VERSION_2023_5_5)
        self._session = onnx_session(model.SerializeToString(), threads)

    def run(self, rows: Mapping[str, Array]) -> dict[str, Array]:
        """Rows of the dataset [n, *shape] by input."""
        names = list(self.shapes)
        found = self._session.run([rows_name(name) for name in names], dict(rows))
        return dict(zip(names, found, strict=True))
