"""Datasets from pandas frames, sent as parquet where pyarrow is installed, else as csv."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, BinaryIO, Final, cast

from stillhouse.errors import Unreadable
from stillhouse.sources.converting import reading
from stillhouse.sources.inference import (
    MOST_CATEGORIES,
    class_target,
    float_target,
    is_split,
    ordered,
    whole_number_target,
)
from stillhouse.sources.upload import JSON, FilePart, Upload, Wishes, named

NUMBERS: Final = "numbers"
"""Name of the input of all columns of numbers."""
CATEGORIES: Final = "categories"
"""Name of the input of all columns of categories."""


def dataset_of_frame(frame: Any, wishes: Wishes) -> Upload:
    """A dataset of a frame, without its index.

    Unless `inputs` says otherwise, all columns that are no target, split or weight are read: numbers, truth values and
    times as the input `numbers`, columns of few different texts as `categories`, other texts each as an input of texts.
    A column named `split` that holds `train`, `validation` and `test` says the split of each row.
    """
    columns = {str(label): frame[label] for label in frame.columns}
    if len(columns) != len(frame.columns):
        raise Unreadable("expected columns with different names, found two of one name: rename one of them")
    split = _split(columns, wishes)
    targets = {name: _completed(name, spec, columns) for name, spec in (named(wishes.targets) or {}).items()}
    used = {split, *(spec.get("column", name) for name, spec in targets.items())}
    used |= {each for spec in targets.values() for each in spec.get("columns", ())}
    used |= {spec.get("column", name) for name, spec in (wishes.manifest.get("weights") or {}).items()}
    chosen = named(wishes.inputs)
    if chosen is not None and any(chosen.values()):
        inputs = chosen
    else:
        with reading("the columns to read"):
            inputs = _inputs({name: _column(name, columns) for name in chosen or columns if name not in used})
    form = wishes.format or ("parquet" if find_spec("pyarrow") else "csv")
    inferred: JSON = {"name": "frame", "format": form, "inputs": inputs, "targets": targets}
    inferred |= {"splits": {"column": split}} if split else {}
    return Upload(wishes.completed(inferred), (FilePart(f"frame.{form}", lambda: _written(frame, columns, form)),))


def _split(columns: dict[str, Any], wishes: Wishes) -> str | None:
    if isinstance(wishes.splits, str):
        return wishes.splits
    found = wishes.splits is None and "split" in columns and is_split(columns["split"].unique())
    return "split" if found else None


def _column(name: str, columns: dict[str, Any]) -> Any:
    if name not in columns:
        raise Unreadable(f"expected a column `{name}`, found {sorted(columns)[:20]}: correct the name")
    return columns[name]


def _completed(name: str, spec: JSON, columns: dict[str, Any]) -> JSON:
    if "kind" in spec:
        return spec
    label = spec.get("column", name)
    column = _column(label, columns)
    with reading(f"the column `{label}`"):
        return {**_target(name, column), **spec}


def _target(name: str, column: Any) -> JSON:
    kind, known = column.dtype.kind, column.dropna()
    if str(column.dtype) == "category":
        there = set(known.unique())
        return class_target(name, [str(each) for each in column.cat.categories if each in there])
    if _is_text(column):
        return class_target(name, ordered(known.unique().tolist()))
    if kind == "b":
        return {"kind": "class", "classes": 2}
    if kind in "iu" and len(known):
        return whole_number_target(int(known.min()), int(known.max()), int(known.nunique()))
    if kind == "f":
        return float_target(known.to_numpy(dtype=float), len(known) < len(column))
    return {"kind": "value"}


def _is_text(column: Any) -> bool:
    """Whether a column holds texts or categories: those of pandas have types of their own."""
    return column.dtype.kind not in "biufcmM" or str(column.dtype) == "category"


def _inputs(columns: dict[str, Any]) -> dict[str, JSON]:
    numbers = [name for name, column in columns.items() if not _is_text(column)]
    texts = {name: column for name, column in columns.items() if _is_text(column)}
    categories = [name for name, column in texts.items() if _is_category(column)]
    found: dict[str, JSON] = {}
    if numbers:
        found[NUMBERS] = {"kind": "array", "columns": numbers}
        if any(columns[name].isna().any() for name in numbers):
            found[NUMBERS]["missing"] = "mean"
    if categories:
        found[CATEGORIES] = {"kind": "category", "columns": categories}
    found |= {name: {"kind": "text", "columns": [name]} for name in texts if name not in categories}
    if not found:
        raise Unreadable("expected columns to read, found none beside targets and splits: name some as `inputs`")
    return found


def _is_category(column: Any) -> bool:
    different = column.nunique()
    return str(column.dtype) == "category" or (different <= MOST_CATEGORIES and 2 * different <= len(column))


@contextmanager
def _written(frame: Any, columns: dict[str, Any], form: str) -> Iterator[BinaryIO]:
    with reading("the frame"):
        plain = frame.set_axis(list(columns), axis="columns")
        texts = [name for name, column in columns.items() if str(column.dtype) == "category"]
        plain = plain.astype(dict.fromkeys(texts, object))
    with tempfile.TemporaryFile() as target:
        with reading(f"the frame, written as {form},"):
            if form == "parquet":
                plain.to_parquet(target, index=False)
            else:
                plain.to_csv(target, index=False)
        target.seek(0)
        yield cast(BinaryIO, target)
