"""`config.json` of a bundle: what the graph takes and puts out, and how the file of the dataset is written."""

import json
from collections.abc import Mapping
from typing import Any, Final

from app.contracts.resources.graph_names import OPSET, answer_names
from app.contracts.resources.manifests import ClassOutput, OutputSpec, PositionOutput
from app.contracts.resources.tables import CsvOptions
from app.models.bundle.bundled import BundledInput, BundledModel

VERSION: Final = 1
_NULL_VALUES: Final = ("", "null", "NULL", "NaN", "nan", "NA", "N/A", "<NA>", "None", "NaT")
"""Texts that mean a missing number, as the service's readers take them."""


def configuration(model: BundledModel) -> bytes:
    """The file, as JSON."""
    document = {
        "version": VERSION,
        "model": model.id,
        "name": model.name,
        "job": model.job,
        "licence": model.licence,
        "metadata": dict(model.metadata),
        "opset": OPSET,
        "architecture": model.facts.architecture.model_dump(mode="json") if model.facts.architecture else None,
        "inputs": {name: _input(each) for name, each in model.inputs.items()},
        "outputs": {task: _output(model, task, spec) for task, spec in model.outputs.items()},
        "classes": {
            task: _classes(model, task, spec)
            for task, spec in model.outputs.items()
            if isinstance(spec, ClassOutput | PositionOutput)
        },
        "dataset_file": model.file.model_dump(mode="json") if model.file is not None else None,
        "csv": _csv(model),
        "files": {name: {"bytes": file.bytes, "sha256": file.sha256} for name, file in sorted(model.files.items())},
    }
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _input(found: BundledInput) -> Mapping[str, Any]:
    return {
        "input": found.name,
        "columns": list(found.columns),
        "dtype": found.takes.dtype,
        "shape": ["batch", *found.takes.shape],
        "raw": found.raw.model_dump(mode="json") if found.raw is not None else None,
        "transform_in_graph": found.transform.model_dump(mode="json"),
    }


def _output(model: BundledModel, task: str, spec: OutputSpec) -> Mapping[str, Any]:
    return {
        "kind": spec.kind,
        "size": model.facts.outputs[task].size,
        "answers": list(answer_names(task, spec)),
        "spec_of_network": spec.model_dump(mode="json"),
    }


def _classes(model: BundledModel, task: str, spec: ClassOutput | PositionOutput) -> list[str]:
    """The names of the classes; their numbers where they have none."""
    return list(spec.classes or map(str, range(model.facts.outputs[task].size)))


def _csv(model: BundledModel) -> Mapping[str, Any]:
    """How `predict.py` reads a csv: as the dataset's is written, else as usual."""
    options = (model.file.csv if model.file is not None else None) or CsvOptions()
    return {
        "encoding": "utf-8-sig" if options.encoding == "utf-8" else options.encoding,
        "decimal": options.decimal,
        "null_values": [*_NULL_VALUES, *options.null_values],
        "reader": {
            "fieldnames": None if options.header else list(options.columns or _numbered(model)),
            "delimiter": options.delimiter,
            "skipinitialspace": True,
            # The columns of a file without names are known up to the last that is read: the rest of a row is put here.
            **({} if options.header or options.columns else {"restkey": "more"}),
        },
    }


def _numbered(model: BundledModel) -> list[str]:
    """`0`, `1` and so on, up to the last column that is read."""
    read = [int(column) for each in model.inputs.values() for column in each.columns if column.isdigit()]
    return [str(i) for i in range(max(read, default=0) + 1)]
