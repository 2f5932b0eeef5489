"""The outputs of a graph for rows of a dataset, in the units of the network: a file as a party of an evaluation."""

from collections.abc import Callable, Iterator, Mapping

import onnx
import torch
from torch import Tensor

from app.contracts.resources.graph_names import answer_names
from app.contracts.resources.manifests import ClassOutput, MapOutput, MultilabelOutput, OutputSpec, TokenClassOutput
from workers.engine.common.onnx_session import onnx_session
from workers.engine.common.progress import moved
from workers.engine.data.formats.common import Array
from workers.engine.data.formats.files.encoded import RawRows
from workers.engine.data.rows.joined import InputLayout
from workers.engine.export.raw_student import RawStudent
from workers.engine.export.row_nodes import rows_name
from workers.engine.losses.target_scaling import standardised
from workers.engine.models.families.map_head import as_positions

BLOCK = 256
"""Rows at once; graphs that are run with fewer get parts of what is made for so many."""
Feeds = Callable[[Tensor], dict[str, Array]]
"""Rows of a dataset (int64 [n]) -> what a graph takes for them, by its names."""


def feeds_of(student: RawStudent, raw: RawRows, layout: InputLayout) -> Feeds:
    """What a `RowsGraph` of the student takes, of rows of `raw` ([N, …], as the student reads them)."""

    def feeds(rows: Tensor) -> dict[str, Array]:
        chosen = raw[rows]
        return {
            rows_name(public): student.as_rows(name, layout.part(chosen, name)).numpy()
            for name, public in student.input_names.items()
        }

    return feeds


class GraphOutputs:
    """Dataset rows (int64 [n]) -> outputs by task ([n, size], float32, CPU), `block` rows at once."""

    def __init__(
        self, model: onnx.ModelProto, specs: Mapping[str, OutputSpec], feeds: Feeds, block: int = BLOCK
    ) -> None:
        self._block = block
        self._specs = specs
        self._feeds = feeds
        self._session = onnx_session(model.SerializeToString(), torch.get_num_threads())
        self._names = {task: answer_names(task, spec)[0] for task, spec in specs.items()}

    def __call__(self, rows: Tensor) -> dict[str, Tensor]:
        names = list(self._names.values())
        blocks = [self._session.run(names, block) for block in self._blocks(rows)]
        answers = [torch.cat([torch.from_numpy(block[i]) for block in blocks]) for i in range(len(self._names))]
        return {
            task: _in_network_units(answer, self._specs[task])
            for task, answer in zip(self._names, answers, strict=True)
        }

    def _blocks(self, rows: Tensor) -> Iterator[dict[str, Array]]:
        """What the graph takes, of so many rows as it is run with."""
        for part in torch.split(rows, max(BLOCK // self._block, 1) * self._block):
            moved()
            feeds = self._feeds(part)
            for first in range(0, max(len(part), 1), self._block):
                yield {name: values[first : first + self._block] for name, values in feeds.items()}


def answer_specs(specs: Mapping[str, OutputSpec]) -> dict[str, OutputSpec]:
    """What `GraphOutputs` of these outputs are: logits of classes and labels, whatever the network puts out."""
    return {
        task: spec.model_copy(update={"output": "logits"}) if isinstance(spec, ClassOutput | MultilabelOutput) else spec
        for task, spec in specs.items()
    }


def _in_network_units(answer: Tensor, spec: OutputSpec) -> Tensor:
    """Answers are logits of classes and labels, and numbers in the units of the labels."""
    if isinstance(spec, MapOutput):
        return as_positions(answer)
    return answer if isinstance(spec, ClassOutput | TokenClassOutput | MultilabelOutput) else standardised(answer, spec)
