"""ONNX nodes that make the rows of a file the rows of a dataset, as the readers of `workers.engine.data` do: categories
become numbers, gaps are filled, rows are brought into shape and rounded.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from app.contracts.resources.manifests import InputTransform
from app.contracts.resources.raw_rows import RawInput, Spellings
from app.contracts.resources.tables import InputEncoding
from workers.engine.data.tables.keys import boolean_keys, text_keys, whole_number_keys

ML_DOMAIN = "ai.onnx.ml"
ML_OPSET = 3
TOKENS_SIDE = "tokens"
"""The name of the open side of rows of tokens."""


def rows_name(name: str) -> str:
    """The dataset's rows of the graph's input `name`. Names of a person have no `/`."""
    return f"{name}/rows"


def element_type(dtype: str) -> int:
    """The ONNX type of a `RawType`."""
    return TensorProto.STRING if dtype == "string" else helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


@dataclass
class RowNodes:
    """The nodes of one input. `name` is that of the graph's input, `rows` that of the dataset's rows that come out."""

    name: str
    form: RawInput
    rows: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    @classmethod
    def of(cls, name: str, form: RawInput, transform: InputTransform, rows: str) -> "RowNodes":
        """The nodes for rows of this form, with the transform's encoding."""
        made = cls(name, form, rows)
        encoding = transform.encoding
        if encoding is not None and encoding.categories is not None:
            last = made._encoded(encoding, encoding.categories)
        else:
            last = made._filled(made._arranged(made._add("Cast", name, to=element_type(form.rows))), encoding)
        made.nodes.append(helper.make_node("Identity", [last], [rows]))
        return made

    @property
    def value(self) -> onnx.ValueInfoProto:
        """The graph's input: rows of the file, any number of them."""
        is_open = self.form.tokens is not None and self.form.shape[0] > 1
        sides = [TOKENS_SIDE] if is_open else self.form.shape
        return helper.make_tensor_value_info(self.name, element_type(self.form.dtype), ["batch", *sides])

    def _add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node of one output; returns its name."""
        output = f"{self.name}/{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], domain=domain, **attributes))
        return output

    def _constant(self, values: NDArray[np.generic]) -> str:
        name = f"{self.name}/constant-{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def _reshaped(self, rows: str, shape: Sequence[int]) -> str:
        return self._add("Reshape", rows, self._constant(np.array([0, *shape], np.int64)))  # 0: the batch as it is

    def _arranged(self, rows: str) -> str:
        """Rows of the file -> in the shape of the manifest, channels in front."""
        form = self.form
        if form.arranged != form.shape:
            rows = self._reshaped(rows, form.arranged)
        if not form.channels_last:
            return rows
        sides = len(form.arranged)
        return self._add("Transpose", rows, perm=[0, sides, *range(1, sides)])

    def _filled(self, rows: str, encoding: InputEncoding | None) -> str:
        """Rows without NaN; with an indicator for each number where the encoding says so."""
        if encoding is None or encoding.missing is None or encoding.fill is None:
            return rows
        dtype = np.dtype(self.form.dtype)
        fill = np.array(encoding.fill).astype(dtype).astype(self.form.rows)  # in the type of the file, as the reader
        form = self.form
        shape = (form.arranged[-1], *form.arranged[:-1]) if form.channels_last else form.arranged
        absent = self._add("IsNaN", rows)
        filled = self._add("Where", absent, self._constant(fill.reshape(shape)), rows)
        if encoding.missing != "indicator":
            return filled
        indicator = self._add("Cast", absent, to=element_type(form.rows))
        flat = [self._reshaped(each, [len(encoding.fill)]) for each in (filled, indicator)]
        return self._add("Concat", *flat, axis=1)

    def _encoded(self, encoding: InputEncoding, categories: Sequence[Sequence[str]]) -> str:
        """Categories -> one 0 or 1 for each of them and for others, or their places."""
        rows = self.name
        if self.form.arranged != self.form.shape:
            rows = self._reshaped(rows, self.form.arranged)
        if self.form.dtype != "string":
            rows = self._add("Cast", rows, to=TensorProto.INT64)
        parts = []
        for i, names in enumerate(categories):
            column = rows if len(categories) == 1 else self._add("Gather", rows, self._constant(np.array([i])), axis=1)
            places = self._places(column, names, self.form.spellings[i] if self.form.spellings else {})
            if encoding.encoding == "ordinal":
                parts.append(self._add("Cast", places, to=element_type(self.form.rows)))
            else:
                parts.append(self._one_hot(places, len(names) + 1))
        return parts[0] if len(parts) == 1 else self._add("Concat", *parts, axis=1)

    def _places(self, column: str, names: Sequence[str], spelled: Spellings) -> str:
        """The place of each value [n, 1] among the categories, int64; their number for another or none."""
        if self.form.dtype == "string":
            texts = text_keys(names, spelled)
            return self._looked_up(column, len(names), keys_strings=list(texts), values_int64s=list(texts.values()))
        numbers = boolean_keys(names) if self.form.dtype == "bool" else whole_number_keys(names)
        return self._looked_up(column, len(names), keys_int64s=list(numbers), values_int64s=list(numbers.values()))

    def _looked_up(self, column: str, other: int, **table: list[str] | list[int]) -> str:
        """`other` for what the table has not; it may not be empty, for the operator."""
        filled = {name: values or [other] for name, values in table.items()}
        return self._add("LabelEncoder", column, domain=ML_DOMAIN, default_int64=other, **filled)

    def _one_hot(self, places: str, size: int) -> str:
        values = self._constant(np.array([0, 1], self.form.rows))
        depth = self._constant(np.array(size, np.int64))
        return self._reshaped(self._add("OneHot", places, depth, values, axis=-1), [size])
