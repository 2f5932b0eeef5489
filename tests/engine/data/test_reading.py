"""From files to datasets: the same content gives the same dataset in every format; inputs, scales, statistics."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from numpy.typing import NDArray

from app.contracts.resources.manifests import DatasetManifest
from app.contracts.wire.orders import DatasetInput, InspectionOutcome
from tests.engine.jobs.inspection.uploads import TABLE, ignore_event, inspection, read, refused
from workers.engine.data.dataset import Dataset
from workers.engine.data.rows.inputs import Inputs
from workers.engine.data.transform import apply
from workers.engine.jobs.inspection.inspect import inspect

ROWS = 12
Columns = dict[str, NDArray[Any]]


def content(rows: int = ROWS, seed: int = 0) -> Columns:
    draw = np.random.default_rng(seed)
    return {
        "a": draw.normal(size=rows).astype(np.float32),
        "b": np.arange(rows),
        "y": draw.integers(0, 2, rows),
        "name": np.array(["cat", "dog", "", "cat"] * rows)[:rows],
        "size": np.where(np.arange(rows) % 5 == 4, np.nan, draw.normal(size=rows)),
        "split": np.array(["train", "train", "validation", "test"] * rows)[:rows],
    }


def written(columns: Columns, kind: str, folder: Path) -> Path:
    """The columns as a file of this kind; what is missing is null, an empty field or NaN, as the kind has it."""
    path = folder / f"data.{kind}"
    rows = [{name: _plain(column[i]) for name, column in columns.items()} for i in range(len(columns["a"]))]
    if kind == "npz":
        np.savez(path, **columns)  # type: ignore[arg-type]  # the stub takes them for allow_pickle
    elif kind == "parquet":
        pa.parquet.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = [",".join("" if value is None else str(value) for value in row.values()) for row in rows]
        path.write_text("\n".join([",".join(columns), *lines]) + "\n")
    return path


def _plain(value: Any) -> Any:
    plain = value.item()
    return None if plain == "" or plain != plain else plain


TARGETS: dict[str, Any] = {
    "y": {"kind": "class", "classes": 2},
    "animal": {"kind": "class", "column": "name", "classes": ["dog", "cat"]},
    "size": {"kind": "value"},
    "pair": {"kind": "vector", "columns": ["size", "b"]},
}


def every_format(folder: Path, **manifest: Any) -> dict[str, Dataset]:
    kinds = ("npz", "parquet", "csv", "jsonl")
    return {kind: read(written(content(), kind, folder), format=kind, **manifest) for kind in kinds}


def test_the_same_content_is_the_same_dataset_in_every_format(tmp_path: Path) -> None:
    found = every_format(tmp_path, targets=TARGETS, splits={"column": "split"})
    expected = content()
    for dataset in found.values():
        assert dataset.rows == ROWS
        assert torch.equal(dataset.inputs["x"], torch.tensor(np.stack([expected["a"], expected["b"]], 1)).float())
        assert dataset.targets["y"].values.tolist() == expected["y"].tolist()
        assert dataset.targets["animal"].values.tolist() == [1, 0, -1, 1] * 3
        size = torch.from_numpy(expected["size"]).float()
        torch.testing.assert_close(dataset.targets["size"].values, size, rtol=0, atol=0, equal_nan=True)
        assert dataset.targets["size"].labelled.tolist() == (~np.isnan(expected["size"])).tolist()
        assert dataset.targets["pair"].values.shape == (ROWS, 2)
        assert torch.equal(dataset.targets["pair"].labelled, dataset.targets["size"].labelled)
        assert {name: rows.tolist() for name, rows in dataset.splits.items()} == {
            name: np.flatnonzero(expected["split"] == name).tolist() for name in ("train", "validation", "test")
        }


def test_the_same_content_is_dealt_alike_in_every_format(tmp_path: Path) -> None:
    fractions = {"train": 0.5, "validation": 0.25, "test": 0.25}
    found = list(every_format(tmp_path, splits={"fractions": fractions, "seed": 3, "stratify": "y"}).values())
    for dataset in found[1:]:
        assert all(torch.equal(rows, found[0].splits[name]) for name, rows in dataset.splits.items())


def arrays(folder: Path, **columns: NDArray[Any]) -> Path:
    np.savez(folder / "arrays.npz", **columns)  # type: ignore[arg-type]  # the stub takes them for allow_pickle
    return folder / "arrays.npz"


def images(folder: Path, x: NDArray[Any], **spec: Any) -> Dataset:
    path = arrays(folder, x=x, y=np.arange(len(x)) % 2)
    splits = spec.pop("splits", {"fractions": {"train": 1.0}})
    return read(path, format="npz", inputs={"x": {"kind": "array", **spec}}, splits=splits)


@pytest.mark.parametrize("order", ["C", "F"])
def test_bytes_stay_bytes_and_flat_rows_take_the_shape_they_are_given(order: Any, tmp_path: Path) -> None:
    x = np.asarray(np.arange(96).reshape(6, 16), np.uint8, order=order)
    found = images(tmp_path, x, shape=[1, 4, 4]).inputs["x"]
    assert found.dtype == torch.uint8
    assert found.tolist() == x.reshape(6, 1, 4, 4).tolist()
    assert images(tmp_path, x.astype(np.int16)).inputs["x"].dtype == torch.float32


def test_bytes_of_one_column_stay_bytes_and_may_be_written_to(tmp_path: Path) -> None:
    """Trap: Arrow's memory is read-only, and torch would write to it."""
    columns = {"a": pa.array([[1, 2], [3, 4]], pa.list_(pa.uint8())), "y": pa.array([0, 1])}
    pa.parquet.write_table(pa.table(columns), tmp_path / "d.parquet")
    found = read(tmp_path / "d.parquet", format="parquet", inputs={"a": {"kind": "array"}}).inputs["a"]
    assert found.dtype == torch.uint8
    found[0, 0] = 9
    assert found.tolist() == [[9, 2], [3, 4]]


def test_a_row_of_one_number_is_a_row(tmp_path: Path) -> None:
    assert images(tmp_path, np.arange(3.0)).inputs["x"].tolist() == [[0.0], [1.0], [2.0]]


def test_the_scale_comes_first_and_the_raw_numbers_stay_as_they_are(tmp_path: Path) -> None:
    found = images(tmp_path, np.array([[0], [51], [255]], np.uint8), scale=0.2, standardize=False)
    assert found.inputs["x"].tolist() == [[0], [51], [255]]
    assert apply(found.inputs["x"], found.transforms["x"]).flatten().tolist() == pytest.approx([0.0, 10.2, 51.0])


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 2, 4)])
def test_standardisation_knows_the_training_rows_alone(shape: tuple[int, ...], tmp_path: Path) -> None:
    """Trap: statistics over all rows leak the test split; each element of the first dimension has its own."""
    x = np.random.default_rng(0).normal(size=(40, *shape)) * 5.0 + 3.0
    x[:, 1] = 7.0
    splits = {"fractions": {"train": 0.5, "validation": 0.25, "test": 0.25}, "seed": 1}
    found = images(tmp_path, x, scale=0.5, standardize=True, splits=splits)
    rows, axes = x[found.splits["train"].numpy()] * 0.5, (0, *range(2, x.ndim))
    mean, std = rows.mean(axes), rows.std(axes)
    transform = found.transforms["x"]
    assert transform.mean == pytest.approx(mean, abs=1e-5)
    assert transform.std == pytest.approx([std[0], 1.0, std[2]], abs=1e-5)
    assert abs(x.mean() * 0.5 - mean.mean()) > 0.01, "other rows have other statistics"
    standardised = Inputs.prepare(found.inputs["x"], transform, torch.device("cpu")).column.values[:]
    train = standardised[found.splits["train"]].double()
    assert train.mean(axes).abs().max() < 1e-5
    assert train.std(axes, correction=0).tolist() == pytest.approx([1.0, 0.0, 1.0], abs=1e-5)
    assert not standardised[:, 1].any(), "a constant channel is centred and not blown up"


def test_statistics_too_large_for_any_manifest_are_refused_with_the_way_out(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(8, 2)) + np.array([1.6e31, 0.0])
    images(tmp_path, x)
    assert "input `x`" in refused("wrong_scale", lambda: images(tmp_path, x, standardize=True))
    path = arrays(tmp_path, x=x / 1e31, y=x[:, 0])
    target = {"y": {"kind": "value"}}
    message = refused("wrong_scale", lambda: read(path, format="npz", inputs={"x": {"kind": "array"}}, targets=target))
    assert "target `y`" in message
    assert "larger units" in message


BAD: dict[str, tuple[NDArray[Any], str, str]] = {
    "text": (np.array(["one", "2"]), "wrong_type", "`x` holds text"),
    "NaN": (np.array([[0.0, 1.0], [np.nan, 0.0]]), "not_finite", "at row 1"),
    "infinity": (np.array([[0.0, 1.0], [0.0, np.inf]]), "not_finite", "at row 1"),
    "a double that float32 has not": (np.array([[0.0, 1e300], [0.0, 1.0]]), "not_finite", "at row 0"),
    "five dimensions": (np.zeros((2, 1, 1, 1, 1, 1)), "shape_mismatch", "5 dimensions, 4 at most"),
}


@pytest.mark.parametrize("what", BAD)
def test_an_input_that_is_no_rows_of_numbers_is_refused_with_its_place(what: str, tmp_path: Path) -> None:
    x, code, fragment = BAD[what]
    assert fragment in refused(code, lambda: images(tmp_path, x))


def test_a_shape_of_other_size_is_refused_with_both(tmp_path: Path) -> None:
    message = refused("shape_mismatch", lambda: images(tmp_path, np.zeros((2, 16)), shape=[1, 4, 5]))
    assert "rows of shape [16], expected [1, 4, 5]" in message


def test_several_columns_have_one_number_a_row_each(tmp_path: Path) -> None:
    path = arrays(tmp_path, a=np.zeros((3, 2)), b=np.zeros(3), y=np.zeros(3))
    assert "list only that one" in refused("shape_mismatch", lambda: read(path, format="npz"))
    path = arrays(tmp_path, a=np.ones((3, 1)), b=np.zeros(3), y=np.zeros(3))
    assert read(path, format="npz").inputs["x"].tolist() == [[1.0, 0.0]] * 3


def inspected(path: Path, tmp_path: Path, **changes: Any) -> InspectionOutcome:
    manifest = DatasetManifest.model_validate_json(json.dumps(TABLE | changes))
    return inspect(
        inspection(tmp_path, DatasetInput(id="ds", manifest=manifest, path=str(path), sha256="0" * 64)), ignore_event
    )


HOSTILE_TEXT = {
    "a lone surrogate": b'{"a": 1, "b": 2, "\\ud800": 3}\n',
    "NUL": b'{"a": 1, "b": 2, "\\u0000": 3}\n',
    "a label of 2 MB": b'{"a": 1, "b": 2, "y": "' + b"x" * 2_000_000 + b'"}\n',
    "a key of 2 MB": b'{"a": 1, "b": 2, "' + b"x" * 2_000_000 + b'": 3}\n',
}


@pytest.mark.parametrize("what", HOSTILE_TEXT)
def test_a_reason_that_quotes_the_file_can_be_stored_and_shown(what: str, tmp_path: Path) -> None:
    """Trap: JSON has no lone surrogate and PostgreSQL no NUL: the refusal itself would have crashed."""
    (tmp_path / "d.jsonl").write_bytes(HOSTILE_TEXT[what])
    targets = {"y": {"kind": "class", "classes": ["cat", "dog"]}}
    outcome = inspected(tmp_path / "d.jsonl", tmp_path, format="jsonl", targets=targets)
    assert outcome.rejection is not None
    assert outcome.rejection.code == ("label_out_of_range" if "label" in what else "missing_column")
    assert outcome.rejection.message.isprintable()
    assert len(outcome.rejection.message) <= 2000
    outcome.model_dump_json()


def test_an_inspection_tells_the_facts_of_a_sound_file(tmp_path: Path) -> None:
    outcome = inspected(written(content(), "csv", tmp_path), tmp_path, splits={"column": "split"}, targets=TARGETS)
    assert outcome.rejection is None
    assert outcome.dataset is not None
    assert outcome.dataset.splits == {"train": 6, "validation": 3, "test": 3}
    assert outcome.dataset.inputs["x"].shape == (2,)
    assert outcome.dataset.targets["animal"].classes == ("dog", "cat")
    assert outcome.dataset.targets["animal"].labelled == {"train": 6, "validation": 0, "test": 3}
    train = content()["size"][content()["split"] == "train"]
    assert outcome.dataset.targets["size"].mean == pytest.approx(np.nanmean(train), abs=1e-6)
    assert outcome.dataset.targets["size"].std == pytest.approx(np.nanstd(train), abs=1e-6)


@pytest.mark.parametrize("kind", ["npz", "parquet", "csv", "jsonl"])
def test_a_missing_value_names_its_column(kind: str, tmp_path: Path) -> None:
    columns = {"a": np.arange(6.0), "b": np.where(np.arange(6) == 4, np.nan, 1.0), "y": np.arange(6) % 2}
    message = refused("not_finite", lambda: read(written(columns, kind, tmp_path), format=kind))
    assert message.startswith("input `x`: the column `b` is missing, NaN or infinite (as float32) at row 4")
