"""A dataset of another kind than a ready model reads is refused before a file is measured on its rows."""

from typing import Any

import pytest

from app.contracts.resolving.rows_of_models import rows_misfit
from app.contracts.resources.facts import DatasetFacts, InputFacts, ModelFacts, TargetFacts
from app.contracts.resources.inputs.images import ImageForm
from app.contracts.resources.inputs.texts import TokenEncoding, encoding_of_ids
from app.contracts.resources.manifests import InputTransform
from app.contracts.resources.raw_rows import form_of
from app.contracts.resources.splits import SplitName
from app.contracts.resources.statistics import ColumnCounts
from app.contracts.resources.tables import InputEncoding
from tests.contracts.resolving.test_resolve import teacher

WORDS = TokenEncoding(tokenizer="0" * 64, vocabulary=40, padding=0, padding_token="[PAD]", length=6)
OTHER_WORDS = WORDS.model_copy(update={"tokenizer": "1" * 64})
IDS, OTHER_IDS = encoding_of_ids(12, 0, 6), encoding_of_ids(9, 0, 6)
COLOURS = InputEncoding(columns=("c",), categories=(("red", "blue"),), encoding="ordinal")
OTHERS = COLOURS.model_copy(update={"categories": (("blue", "red"),)})
FILLED = InputEncoding(columns=("c",), missing="mean", fill=(1.0,) * 6)
MARKED = FILLED.model_copy(update={"missing": "indicator"})
COUNTED: dict[str, dict[SplitName, ColumnCounts]] = {"c": {"train": ColumnCounts(missing=3)}}
MAP = {"map": TargetFacts(kind="map", size=2, shape=(8, 8), labelled={"train": 60})}


def model(shape: tuple[int, ...], transform: InputTransform | None = None) -> ModelFacts:
    return teacher(shape=shape).model_copy(update={"inputs": {} if transform is None else {"x": transform}})


def data(targets: dict[str, TargetFacts] | None = None, **inputs: InputFacts) -> DatasetFacts:
    return DatasetFacts(rows=100, splits={"train": 60, "test": 40}, inputs=inputs, targets=targets or {})


def photos(**changes: Any) -> InputFacts:
    """Rows that a dataset makes of files of images."""
    form = ImageForm.model_validate({"size": (8, 8), **changes})
    return InputFacts(shape=(3, 8, 8), raw=form_of(InputTransform(form=form), ()))


MODELS = {
    "six numbers": model((6,)),
    "images": model((3, 8, 8), InputTransform(resize="bilinear")),
    "photos": model((3, 8, 8), InputTransform(form=ImageForm(size=(8, 8)))),
    "a text": model((6,), InputTransform(tokens=WORDS)),
    "ids": model((6,), InputTransform(tokens=IDS)),
    "colours": model((1,), InputTransform(encoding=COLOURS)),
    "filled numbers": model((6,), InputTransform(encoding=FILLED)),
    "two inputs": model((6,)).model_copy(
        update={"inputs": {"a": InputTransform(), "b": InputTransform()}, "input_shapes": {"a": (2,), "b": (4,)}}
    ),
}
DATASETS = {
    "six numbers": data(x=InputFacts(shape=(6,))),
    "gaps": data(x=InputFacts(shape=(6,), encoding=FILLED, column_counts=COUNTED)),
    "no gaps": data(x=InputFacts(shape=(6,), encoding=FILLED, column_counts={})),
    "indicators": data(x=InputFacts(shape=(6,), encoding=MARKED, column_counts={})),
    "images": data(x=InputFacts(shape=(3, 8, 8))),
    "images with maps": data(MAP, x=InputFacts(shape=(3, 8, 8))),
    "larger images": data(x=InputFacts(shape=(3, 16, 16))),
    "grey images": data(x=InputFacts(shape=(1, 8, 8))),
    "sounds": data(x=InputFacts(shape=(1, 64, 101))),
    "photos": data(x=photos()),
    "squeezed photos": data(x=photos(fit="stretch")),
    "samples": data(x=InputFacts(shape=(16_000,))),
    "a text": data(x=InputFacts(shape=(6,), tokens=OTHER_WORDS)),
    "words": data(x=InputFacts(shape=(6,), tokens=WORDS.model_copy(update={"words": True}))),
    "two texts": data(a=InputFacts(shape=(6,), tokens=WORDS), b=InputFacts(shape=(6,), tokens=WORDS)),
    "ids": data(x=InputFacts(shape=(6,), tokens=IDS)),
    "other ids": data(x=InputFacts(shape=(6,), tokens=OTHER_IDS)),
    "colours": data(x=InputFacts(shape=(1,), encoding=COLOURS)),
    "other colours": data(x=InputFacts(shape=(1,), encoding=OTHERS)),
    "two inputs": data(a=InputFacts(shape=(2,)), b=InputFacts(shape=(4,))),
    "a text beside numbers": data(x=InputFacts(shape=(6,)), t=InputFacts(shape=(6,), tokens=WORDS)),
}
READ = {
    "six numbers": {"six numbers", "no gaps"},
    "images": {"images", "images with maps", "photos", "squeezed photos"},
    "photos": {"images", "images with maps", "photos"},
    "a text": {"a text", "a text beside numbers"},
    "ids": {"ids"},
    "colours": {"colours"},
    "filled numbers": {"six numbers", "gaps", "no gaps", "a text beside numbers"},
    "two inputs": {"two inputs"},
}
CODES = {
    ("six numbers", "gaps"): "missing_mismatch",
    ("six numbers", "indicators"): "missing_mismatch",
    ("six numbers", "a text"): "input_mismatch",
    ("six numbers", "samples"): "shape_mismatch",
    ("six numbers", "a text beside numbers"): "input_mismatch",
    ("images", "larger images"): "shape_mismatch",
    ("images", "a text"): "input_mismatch",
    ("images", "sounds"): "shape_mismatch",
    ("photos", "squeezed photos"): "shape_mismatch",
    ("a text", "images"): "input_mismatch",
    ("a text", "two texts"): "input_mismatch",
    ("a text", "words"): "input_mismatch",
    ("a text", "ids"): "input_mismatch",
    ("ids", "other ids"): "input_mismatch",
    ("ids", "a text"): "input_mismatch",
    ("colours", "other colours"): "category_mismatch",
    ("filled numbers", "indicators"): "missing_mismatch",
    ("two inputs", "six numbers"): "input_mismatch",
}


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("network", MODELS)
def test_every_kind_of_dataset_is_read_or_refused_for_every_kind_of_model(network: str, dataset: str) -> None:
    problem = rows_misfit(MODELS[network], DATASETS[dataset])
    assert (problem is None) == (dataset in READ[network]), problem
    if problem is not None:
        assert problem.code == CODES.get((network, dataset), problem.code)
        assert ": " in problem.detail, "names a way out"
        assert problem.code != "shape_mismatch" or "name a dataset" in problem.detail


def test_an_input_without_a_name_is_not_read_of_several() -> None:
    """Its file takes one input, and a network would have read both as one tensor."""
    problem = rows_misfit(model((6,)), DATASETS["two inputs"])
    assert problem is not None
    assert problem.code == "shape_mismatch"


def test_whether_numbers_are_missing_is_left_to_the_job_where_an_older_version_counted_none() -> None:
    rows: dict[str, Any] = {"shape": (6,), "encoding": FILLED}
    assert rows_misfit(MODELS["six numbers"], data(x=InputFacts(**rows))) is None
