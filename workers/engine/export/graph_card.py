"""Metadata of an exported ONNX graph: what it takes, what it puts out, what it does in between, and its model card."""

from math import prod

from app.contracts.base import digest_of
from app.contracts.resources.graph_names import GRAPH_VERSION, OPSET, answer_names
from app.contracts.resources.manifests import ClassOutput, InputTransform, OutputSpec, PositionOutput
from app.contracts.resources.raw_rows import RawInput
from app.contracts.resources.tables import Missing
from workers.engine.export.raw_student import RawStudent

_COLUMNS = 20
"""How many columns of an input the card names."""
_OTHERS = "values that the training rows did not have, and missing ones, share one slot"
_CATEGORIES = {
    "string": "categories as text, as they stand in a file or as Python, numpy and data frames write them",
    "bool": "categories as booleans",
}
_FILLED: dict[Missing, str] = {
    "mean": "NaN is filled with the mean of the training rows",
    "median": "NaN is filled with the median of the training rows",
    "zero": "NaN is filled with zero",
    "indicator": "NaN is filled with the mean of the training rows, and each number has an indicator of it",
}
_COLUMNS_OF_TABLES = (
    "Booleans are 0 and 1, dates and timestamps seconds since 1970-01-01 UTC, times of day and durations seconds"
)


def graph_metadata(student: RawStudent, training: str = "", *, brief: bool = False) -> dict[str, object]:
    """The JSON object in the file. `training`: what the card says beside inputs and outputs; `brief`: with the digest
    of means and deviations in place of the numbers, of which the graph has its own.
    """
    names = student.input_names
    return {
        "version": GRAPH_VERSION,
        "opset": OPSET,
        "architecture": student.network.architecture.model_dump(mode="json"),
        "inputs": {
            names[name]: _input(name, form, student.inputs[name], brief=brief)
            for name, form in sorted(student.forms.items())
        },
        "input_order": list(names.values()),
        "outputs": {task: _output(student, task, spec) for task, spec in sorted(student.outputs.items())},
        "card": "\n\n".join(part for part in (_card(student), training) if part).rstrip() + "\n",
    }


def statistics_digest(transform: InputTransform) -> str:
    """SHA-256 of the means and deviations of a transform."""
    return digest_of([transform.mean, transform.std])


def _input(name: str, form: RawInput, transform: InputTransform, *, brief: bool) -> dict[str, object]:
    left_out = {"mean", "std"} if brief else None
    stated = transform.model_dump(mode="json", exclude=left_out)
    return {
        "input": name,
        "dtype": form.dtype,
        "shape": ["batch", *form.shape],
        "columns": list(columns) if (columns := _columns(transform)) else None,
        "form": form.model_dump(mode="json"),
        "transform_in_graph": stated,
        **({"statistics_sha256": statistics_digest(transform)} if brief else {}),
    }


def _columns(transform: InputTransform) -> tuple[str, ...]:
    return transform.columns or (transform.encoding.columns if transform.encoding is not None else ())


def _output(student: RawStudent, task: str, spec: OutputSpec) -> dict[str, object]:
    names = answer_names(task, spec)
    document: dict[str, object] = {
        "kind": spec.kind,
        **{name.removeprefix(f"{task}."): name for name in names},
        "size": student.network.output_sizes[task],
        "spec_of_network": spec.model_dump(mode="json"),
    }
    if isinstance(spec, ClassOutput | PositionOutput):
        document["classes"] = list(spec.classes or map(str, range(student.network.output_sizes[task])))
    return document


def _card(student: RawStudent) -> str:
    architecture = student.network.architecture
    lines = [
        f"# A network of the family `{architecture.family}`",
        "",
        f"ONNX of opset {OPSET}. Takes any number of {student.rows_are}; the transform is in the graph.",
        *(_takes(name, student) for name in student.inputs),
        "Gives:",
        *(line for task, spec in sorted(student.outputs.items()) for line in _gives(task, spec, student)),
    ]
    return "\n".join(lines)


def _takes(name: str, student: RawStudent) -> str:
    form, transform = student.forms[name], student.inputs[name]
    shape = ", ".join(["batch", *map(str, form.shape)])
    line = f"- `{student.input_names[name]}`: {form.dtype} [{shape}]"
    columns = _columns(transform)
    if columns and len(columns) == prod(form.shape):
        more = f" and {len(columns) - _COLUMNS} more" if len(columns) > _COLUMNS else ""
        line += " of " + ", ".join(f"`{column}`" for column in columns[:_COLUMNS]) + more
    return f"{line}; {_meaning(form, transform)}"


def _meaning(form: RawInput, transform: InputTransform) -> str:
    encoding = transform.encoding
    if encoding is not None and encoding.categories is not None:
        return f"{_CATEGORIES.get(form.dtype, 'categories as whole numbers')}; {_OTHERS}"
    if not form.dtype.startswith("float"):
        return "booleans" if form.dtype == "bool" else "whole numbers"
    gaps = _FILLED[encoding.missing] if encoding is not None and encoding.missing is not None else "NaN gives NaN"
    numbers = f"numbers; {gaps}, and infinity NaN"
    # Dates are float64, and images hold neither them nor booleans.
    return f"{numbers}. {_COLUMNS_OF_TABLES}" if len(form.shape) < 2 and form.dtype == "float64" else numbers


def _gives(task: str, spec: OutputSpec, student: RawStudent) -> list[str]:
    size = student.network.output_sizes[task]
    names = answer_names(task, spec)
    shown = " and ".join(f"`{name}`" for name in names)
    what = {
        "class": f"scores and probabilities of {size} classes, named in `outputs`",
        "token_class": f"scores and probabilities of {size} classes for each token, named in `outputs`",
        "map": f"scores and probabilities of {size} classes for each pixel, [batch, classes, height, width], named in "
        "`outputs`",
        "multilabel": f"log-odds and probabilities of {size} labels",
        "value": "one number, in its own units",
        "vector": f"a vector of {size} numbers, in their own units",
    }[spec.kind]
    return [f"- {shown}: {what}"]
