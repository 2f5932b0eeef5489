"""`README.md` of a bundle: the model card, from what is stored of the model and from the report of its job."""

from collections.abc import Iterable, Iterator
from typing import Final

from app.contracts.resources.manifests import ClassOutput, PositionOutput
from app.models.bundle.bundled import BundledModel
from app.models.bundle.figures import cost_lines, quality_lines, quantized_lines
from app.models.bundle.libraries import loading_lines

_SHOWN: Final = 20
"""How many columns or classes the card names; `config.json` has all."""
_MEANINGS: Final = {
    "class": "scores and probabilities of {size} classes",
    "token_class": "scores and probabilities of {size} classes for each token of a row",
    "map": "scores and probabilities of {size} classes for each pixel, [rows, classes, height, width]",
    "multilabel": "log-odds and probabilities of {size} labels",
    "value": "one number, in its own units",
    "vector": "a vector of {size} numbers, in their own units",
}


def card(model: BundledModel) -> bytes:
    """The file, in Markdown."""
    sections = (
        ("", _what(model)),
        ("Running it", _running(model)),
        ("What it takes", _takes(model)),
        ("What it answers", _answers(model)),
        ("Data", _data(model)),
        ("Quality on the test split", quality_lines(model)),
        ("In 8 and 16 bits", quantized_lines(model)),
        ("What it must not be used for", _limits(model)),
        ("Size and speed", cost_lines(model)),
        ("Provenance", _provenance(model)),
    )
    parts = []
    for heading, lines in sections:
        text = "\n".join(lines).strip()
        if text:
            parts.append(f"## {heading}\n\n{text}" if heading else text)
    return ("\n\n".join(parts) + "\n").encode()


def _what(model: BundledModel) -> Iterator[str]:
    facts = model.facts
    family = facts.architecture.family if facts.architecture is not None else "unknown"
    count = f" with {facts.parameters:,} parameters" if facts.parameters is not None else ""
    yield f"# {model.name}"
    yield ""
    yield f"Network of the family `{family}`{count}, as an ONNX graph that takes rows as they stand in a file."
    yield f"Licence: {model.licence or 'not stated'}."


def _running(model: BundledModel) -> Iterator[str]:
    yield "With Python 3.11 or newer, numpy and onnxruntime:"
    yield ""
    yield "    python predict.py --check     # compares this folder's model with the answers in reference.npz"
    if model.reads_texts:
        yield "    python texts.py rows.npz texts.csv    # with tokenizers: texts of csv, jsonl or txt, as rows"
        yield "    python predict.py rows.npz    # a line of JSON for each row"
    else:
        yield "    python predict.py rows.csv    # or rows.jsonl, rows.npz: a line of JSON for each row"
    if model.reads_images:
        yield "    python images.py rows.npz photos/    # with Pillow: image files, in the order of their paths"
    if model.reads_sounds:
        yield "    python sounds.py rows.npz sounds/    # with soundfile: sound files, in the order of their paths"
    if model.reads_ids:
        yield "    python ids.py rows.npz rows.jsonl    # lists of ids, filled up, as rows for predict.py"
    yield ""
    lines = list(loading_lines(model))
    yield from (*lines, "") if lines else ()
    kind = model.file.format if model.file is not None else None
    if kind == "parquet" and not (model.reads_images or model.reads_sounds):
        yield "The dataset was a parquet file: write its rows as jsonl or npz first, under the same names."
    yield "A csv is read as the dataset's was written (delimiter, decimal point, encoding), as `config.json` says."
    if model.has_real_rows:
        yield "`reference.npz` has rows of the dataset, as they stand in its file, and the service's answers for them."
    elif "reference.npz" in model.files:
        yield (
            "`reference.npz` has invented rows, since the dataset was not at hand when the graph was written, and the "
            "service's answers for them."
        )


def _takes(model: BundledModel) -> Iterator[str]:
    for name, each in model.inputs.items():
        shape = ", ".join(["batch", *("tokens" if side is None else str(side) for side in each.takes.shape)])
        yield f"- `{name}`: {each.takes.dtype} [{shape}]; from {_named(each.columns)}"
    yield ""
    yield (
        "Scale, standardisation, categories and fills are in the graph. A number that is missing is NaN: it is filled "
        "as in training, or the answers of the row are NaN. Categories that training has not seen, and missing ones, "
        "share one slot."
    )


def _answers(model: BundledModel) -> Iterator[str]:
    for task, spec in model.outputs.items():
        meaning = _MEANINGS[spec.kind].format(size=model.facts.outputs[task].size)
        names = f": {_named(spec.classes)}" if isinstance(spec, ClassOutput | PositionOutput) and spec.classes else ""
        yield f"- `{task}`: {meaning}{names}"


def _named(names: Iterable[str]) -> str:
    known = list(names)
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return ", ".join(f"`{name}`" for name in known[:_SHOWN]) + more


def _data(model: BundledModel) -> Iterator[str]:
    if model.report is None:
        yield "Not known: the model was uploaded or trained as a peer, or the report of its job is gone."
        return
    for use in model.report.get("datasets") or ():
        rows = ", ".join(f"{number:,} {split}" for split, number in use.get("rows", {}).items())
        yield f"- {use['name']} (`{use['dataset']}`): {rows} rows"
    splits = {
        split for use in model.report.get("datasets") or () for split, number in use.get("rows", {}).items() if number
    }
    yield ""
    if "test" in splits:
        yield "The test rows were used once, at the end."
    if "validation" in splits:
        yield "Which epoch is kept was decided on the validation rows."


def _limits(model: BundledModel) -> Iterator[str]:
    yield (
        "- Rows that come from elsewhere than its data: other devices, places, times or groups of people. Nothing was "
        "measured there."
    )
    if any(isinstance(spec, ClassOutput | PositionOutput) for spec in model.outputs.values()):
        yield (
            "- Rows that belong to none of its classes: it names one of them all the same, often with a high "
            "probability."
        )
    yield "- Decisions about people without human review: errors were counted over all rows, not by group."
    if model.report is None:
        yield "- Anything that needs a known quality: none was measured here."
    report = model.report or {}
    yield from (f"- Not measured, {what}: {reason}" for what, reason in (report.get("not_measured") or {}).items())
    for warning in report.get("warnings") or ():
        yield f"- Warning of its job, {warning.get('code')}: {warning.get('message')}"
    if model.licence is None:
        yield "- Passing it on, before its licence and that of its data and teachers are clear: none is stated."


def _provenance(model: BundledModel) -> Iterator[str]:
    yield f"- model `{model.id}`" + (f", trained by `{model.job}`" if model.job else ", uploaded")
    yield from (f"- {key}: {text}" for key, text in sorted(model.metadata.items()))
    report = model.report or {}
    yield from (f"- {name}: sha256 {digest}" for name, digest in sorted((report.get("digests") or {}).items()))
    yield from (f"- `{name}`: sha256 {file.sha256}" for name, file in sorted(model.files.items()))
    student = report.get("student") or {}
    if student.get("steps") is not None:
        yield f"- {student['steps']:,} optimizer steps, seed {student.get('seed')}"
    versions = (report.get("environment") or {}).get("versions") or {}
    if versions:
        yield "- made with " + ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
