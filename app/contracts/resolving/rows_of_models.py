"""Does a ready model read the rows of a dataset, as they stand in it? Asked before its files are measured on them."""

from math import prod

from app.contracts.problems import Problem
from app.contracts.resolving.data.forms import form_of_files
from app.contracts.resolving.data.inputs import inputs_read, shapes_of
from app.contracts.resolving.data.texts import tokens_of
from app.contracts.resolving.findings import quoted
from app.contracts.resources.facts import DatasetFacts, InputFacts, ModelFacts
from app.contracts.resources.inputs.texts import TokenEncoding, reads_same_tokens
from app.contracts.resources.manifests import InputTransform
from app.contracts.resources.tables import InputEncoding


def rows_misfit(model: ModelFacts, dataset: DatasetFacts) -> Problem | None:
    """What is wrong with a dataset on whose rows a file of a model of a family is to be measured; None if nothing is.

    Codes are `input_mismatch`, `category_mismatch`, `missing_mismatch`, `shape_mismatch`, and those of `inputs_read`.
    Rows that a dataset makes of its files must be those of the model's own form: figures of others are not the file's.
    Whether numbers are missing is not known of datasets that an older version inspected: the job sees it.
    """
    theirs = tokens_of(model)
    if theirs is not None:
        return _text_misfit(model, theirs, dataset)
    names, problem = inputs_read(model, shapes_of(dataset))
    texts = [name for name in names if name in dataset.inputs and dataset.inputs[name].tokens is not None]
    if texts:
        detail = f"the model reads numbers, and {quoted(texts)} has texts or ids: name a dataset with rows of its kind"
        return Problem(pointer="", code="input_mismatch", detail=detail)
    if not set(names) <= set(dataset.inputs):
        return problem
    if len(model.inputs) > len(names):
        detail = (
            f"the model reads the inputs {quoted(model.inputs)}, and the dataset has {quoted(dataset.inputs)}: name a "
            "dataset with inputs of these names"
        )
        return Problem(pointer="", code="input_mismatch", detail=detail)
    read = names if len(model.inputs) > 1 else names[:1]
    transforms = tuple(model.inputs.values()) or (InputTransform(),)
    found = (
        _misfit(transform, dataset.inputs[source], source) for transform, source in zip(transforms, read, strict=True)
    )
    return _other_size(model, dataset, read) or problem or next(filter(None, found), None)


def _text_misfit(model: ModelFacts, theirs: TokenEncoding, dataset: DatasetFacts) -> Problem | None:
    """A model reads the input of its own input's name, else the only one that it can read."""
    found = {name: each.tokens for name, each in dataset.inputs.items() if each.tokens is not None}
    alike = [name for name, each in found.items() if _is_read(theirs, each)]
    if len([name for name in alike if name in model.inputs] or alike) == 1:
        return None
    what = f"ids below {theirs.vocabulary}" if theirs.ids else "lists of words" if theirs.words else "one text"
    detail = (
        f"the model reads {what}, called {quoted(model.inputs)}, and the dataset has the inputs "
        f"{quoted(dataset.inputs)}, of which not one alone is such: name a dataset with one such input"
    )
    return Problem(pointer="", code="input_mismatch", detail=detail)


def _is_read(model: TokenEncoding, rows: TokenEncoding) -> bool:
    """Texts and lists of words are read by the model's own tokenizer; ids must be those that it knows."""
    return (model.ids, model.words) == (rows.ids, rows.words) and (model.ids is None or reads_same_tokens(model, rows))


def _misfit(transform: InputTransform, rows: InputFacts, source: str) -> Problem | None:
    theirs, ours = transform.encoding, rows.encoding
    if theirs is not None and theirs.categories is not None:
        same = ours is not None and (ours.categories, ours.encoding) == (theirs.categories, theirs.encoding)
        if not same:
            detail = (
                f"the model was trained on the categories of {', '.join(theirs.columns)} in another order or number "
                f"than `{source}` of the dataset has: list the `categories` of the model's `inputs` in its manifest"
            )
            return Problem(pointer="", code="category_mismatch", detail=detail)
    missing = missing_misfit(theirs, ours, source, has_gaps=bool(rows.column_counts))
    return missing or _other_form(transform, rows, source)


def _other_form(transform: InputTransform, rows: InputFacts, source: str) -> Problem | None:
    own, found = transform.form, form_of_files(rows)
    if own is None or found is None or own == found:
        return None
    detail = (
        f"the model reads files as {own.model_dump_json()}, and `{source}` of the dataset makes other rows, "
        f"{found.model_dump_json()}: name a dataset whose input is described as the model's `form`"
    )
    return Problem(pointer="", code="shape_mismatch", detail=detail)


def missing_misfit(
    theirs: InputEncoding | None, ours: InputEncoding | None, source: str, *, has_gaps: bool
) -> Problem | None:
    """`missing_mismatch` where the model's file fills no missing number of the rows, or has indicators that the rows
    lack. `has_gaps`: whether a column of `source` has missing numbers or unseen categories.
    """
    missing = [each.missing if each is not None else None for each in (theirs, ours)]
    unfilled = has_gaps and missing[1] is not None and missing[0] is None
    if not unfilled and ("indicator" not in missing or missing[0] == missing[1]):
        return None
    detail = (
        f"the model was trained with `missing` {_json(missing[0])} and `{source}` of the dataset has "
        f"{_json(missing[1])}, so that its file answers otherwise: name a dataset without missing numbers, or with "
        "`missing` as the model has it"
    )
    return Problem(pointer="", code="missing_mismatch", detail=detail)


def _json(missing: str | None) -> str:
    return f'"{missing}"' if missing is not None else "null"


def _other_size(model: ModelFacts, dataset: DatasetFacts, read: tuple[str, ...]) -> Problem | None:
    """Rows that would be resized, or that are several inputs for a model of one: its file takes neither."""
    for source in read:
        shape = model.input_shape if len(read) == 1 else model.input_shapes.get(source)
        rows = dataset.inputs[source].shape
        if shape is not None and None not in shape and prod(rows) != prod(filter(None, shape)):
            detail = (
                f"rows of `{source}` have the shape {list(rows)}, and the model reads {list(shape)}: name a dataset of "
                "its kind"
            )
            return Problem(pointer="", code="shape_mismatch", detail=detail)
    return None
