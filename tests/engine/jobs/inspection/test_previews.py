"""Rows of a dataset as people look at them."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from app.contracts.resources.manifests import DatasetManifest
from app.contracts.resources.preview import PREVIEW_ROWS, PreviewRow
from app.contracts.wire.orders import DatasetInput, InspectionOutcome
from tests.engine.data.formats.images import archives
from tests.engine.data.formats.sounds import recordings
from tests.engine.jobs.inspection.uploads import ignore_event, inspection
from workers.engine.data.reading import read_dataset
from workers.engine.jobs.inspection.inspect import inspect
from workers.engine.jobs.inspection.preview import preview_of


def preview(path: Path, given: DatasetManifest) -> tuple[PreviewRow, ...]:
    return preview_of(read_dataset(path, given, preview=PREVIEW_ROWS), given).rows


def table(path: Path, rows: list[dict[str, Any]], **fields: Any) -> tuple[PreviewRow, ...]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    document = {"name": "table", "format": "jsonl", "splits": {"column": "split"}} | fields
    return preview(path, DatasetManifest.model_validate_json(json.dumps(document)))


def npz(path: Path, inputs: dict[str, Any], **arrays: Any) -> tuple[PreviewRow, ...]:
    np.savez(path, **arrays)
    document = {"name": "arrays", "format": "npz", "inputs": inputs, "targets": {"y": {"kind": "class", "classes": 2}}}
    return preview(path, DatasetManifest.model_validate_json(json.dumps(document)))


def drawn(image: str | None) -> Image.Image:
    assert image is not None
    kind, _, content = image.partition(",")
    assert kind == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_numbers_categories_and_labels_stand_as_in_the_file(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"a": 1.5, "b": None, "colour": "red", "animal": "cat", "size": 2.0, "split": "train"},
        {"a": 2.5, "b": 4.0, "colour": "blue", "animal": None, "size": None, "split": "train"},
        {"a": 9.0, "b": 9.0, "colour": "red", "animal": "dog", "size": 1.0, "split": "test"},
    ]
    found = table(
        tmp_path / "rows.jsonl",
        rows,
        inputs={
            "x": {"kind": "array", "columns": ["a", "b"], "missing": "mean"},
            "colour": {"kind": "category"},
        },
        targets={"animal": {"kind": "class", "classes": ["dog", "cat"]}, "size": {"kind": "value"}},
    )
    assert [(each.row, each.split) for each in found] == [(0, "train"), (1, "train")], "test rows are shown to nobody"
    assert [each.inputs["x"].values for each in found] == [(1.5, None), (2.5, 4.0)]
    assert found[0].inputs["x"].columns == ("a", "b")
    assert [each.inputs["colour"].values for each in found] == [("red",), ("blue",)]
    assert [each.targets for each in found] == [{"animal": "cat", "size": 2.0}, {"animal": None, "size": None}]


def test_texts_are_those_of_the_file_and_not_what_a_tokenizer_makes_of_them(tmp_path: Path) -> None:
    texts = ["Ünïcödé  with   SPACES", "x" * 600, "third"]
    rows = [{"text": text, "y": i % 2, "split": "train"} for i, text in enumerate(texts)]
    found = table(
        tmp_path / "rows.jsonl",
        rows,
        inputs={"text": {"kind": "text"}},
        targets={"y": {"kind": "class", "classes": 2}},
    )
    shown = [each.inputs["text"].text for each in found]
    assert shown == [texts[0], "x" * 499 + "…", "third"]
    assert [each.inputs["text"].whole for each in found] == [True, False, True]


def test_pairs_of_texts_stand_below_each_other_and_are_no_single_row(tmp_path: Path) -> None:
    rows = [{"question": f"q {i}", "answer": f"a {i}", "y": i % 2, "split": "train"} for i in range(4)]
    found = table(
        tmp_path / "rows.jsonl",
        rows,
        inputs={"text": {"kind": "text", "columns": ["question", "answer"]}},
        targets={"y": {"kind": "class", "classes": 2}},
    )
    assert found[1].inputs["text"].text == "q 1\na 1"
    assert not found[1].inputs["text"].whole


def test_tokens_are_shown_without_what_fills_them_up(tmp_path: Path) -> None:
    rows = [{"ids": list(range(1, 2 + i)), "y": i % 2, "split": "train"} for i in range(4)]
    found = table(
        tmp_path / "rows.jsonl",
        rows,
        inputs={"ids": {"kind": "tokens", "vocabulary": 10, "padding": 0}},
        targets={"y": {"kind": "class", "classes": 2}},
    )
    assert [each.inputs["ids"].values for each in found] == [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)]
    assert all(each.inputs["ids"].whole for each in found)


def test_arrays_that_look_like_images_are_drawn_as_they_are(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 9), dtype=np.uint8)
    found = npz(tmp_path / "a.npz", {"x": {"kind": "array"}}, x=pixels, y=np.arange(6) % 2)
    for each in found:
        image = drawn(each.inputs["x"].image)
        assert np.array_equal(np.asarray(image), pixels[each.row].transpose(1, 2, 0))
        assert each.inputs["x"].whole


def test_arrays_of_floats_are_drawn_in_the_range_of_the_rows(tmp_path: Path) -> None:
    values = np.linspace(-1.0, 1.0, 4 * 8 * 8).reshape(4, 1, 8, 8).astype(np.float32)
    values[0, 0, 0, 0] = -1.0
    found = npz(tmp_path / "a.npz", {"x": {"kind": "array"}}, x=values, y=np.arange(4) % 2)
    pixels = np.stack([np.asarray(drawn(each.inputs["x"].image)) for each in found])
    shown = values[[each.row for each in found], 0]
    assert pixels.min() == 0
    assert pixels.max() == 255
    assert np.array_equal(np.argsort(pixels.ravel(), kind="stable"), np.argsort(shown.ravel(), kind="stable"))
    assert not any(each.inputs["x"].whole for each in found), "the picture is no row"


def test_large_images_are_shrunk_and_small_arrays_are_numbers(tmp_path: Path) -> None:
    large = npz(
        tmp_path / "a.npz",
        {"x": {"kind": "array"}},
        x=np.zeros((4, 1, 300, 200), dtype=np.uint8),
        y=np.arange(4) % 2,
    )
    assert drawn(large[0].inputs["x"].image).size == (64, 96)
    assert not large[0].inputs["x"].whole
    small = npz(tmp_path / "b.npz", {"x": {"kind": "array"}}, x=np.ones((4, 1, 2, 2)), y=np.arange(4) % 2)
    assert small[0].inputs["x"].values == (1.0,) * 4
    assert small[0].inputs["x"].shape == (1, 2, 2)


def test_rows_are_spread_over_the_training_split(tmp_path: Path) -> None:
    rows = [{"a": float(i), "y": i // 100, "split": "train"} for i in range(200)]
    found = table(
        tmp_path / "rows.jsonl",
        rows,
        inputs={"a": {"kind": "array"}},
        targets={"y": {"kind": "class", "classes": 2}},
    )
    assert len(found) == PREVIEW_ROWS
    assert (found[0].row, found[-1].row) == (0, 199)
    assert {each.targets["y"] for each in found} == {0.0, 1.0}, "files are often sorted by class"


def test_fewer_rows_are_shown_where_each_is_large(tmp_path: Path) -> None:
    found = npz(
        tmp_path / "a.npz",
        {"x": {"kind": "array"}},
        x=np.zeros((12, 1, 1200, 1200), dtype=np.float64),
        y=np.arange(12) % 2,
    )
    assert len(found) == 2, "11.5 MB each"


def test_whole_numbers_stay_whole_and_long_rows_are_cut(tmp_path: Path) -> None:
    found = npz(tmp_path / "a.npz", {"x": {"kind": "array"}}, x=np.arange(4)[:, None], y=np.arange(4) % 2)
    assert [each.inputs["x"].values for each in found] == [(each.row,) for each in found]
    assert [type(each.targets["y"]) for each in found] == [int] * len(found)
    long = npz(tmp_path / "b.npz", {"x": {"kind": "array"}}, x=np.ones((4, 100)), y=np.arange(4) % 2)
    assert len(long[0].inputs["x"].values or ()) == 64
    assert not long[0].inputs["x"].whole


def test_samples_of_sounds_are_a_line(tmp_path: Path) -> None:
    sounds = {f"{'high' if i % 2 else 'low'}/{i}.wav": recordings.encoded(recordings.noise(seed=i)) for i in range(10)}
    given = recordings.manifest(inputs={"audio": {"kind": "audio", "seconds": 0.3, "features": "samples"}})
    heard = preview(archives.zipped(tmp_path / "sounds.zip", sounds), given)
    line = heard[0].inputs["audio"].sound
    assert line is not None
    assert line.seconds == 0.3
    assert len(line.envelope) == 96
    assert 0.0 < max(line.envelope) <= 1.0
    assert not heard[0].inputs["audio"].whole


def test_image_files_and_sounds_are_drawn(tmp_path: Path) -> None:
    files = {f"{'cat' if i % 2 else 'dog'}/{i}.png": archives.encoded(archives.noise(seed=i)) for i in range(10)}
    found = preview(archives.zipped(tmp_path / "images.zip", files), archives.manifest())
    assert drawn(found[0].inputs["image"].image).mode == "RGB"
    assert {each.targets["label"] for each in found} <= {"cat", "dog"}
    sounds = {f"{'high' if i % 2 else 'low'}/{i}.wav": recordings.encoded(recordings.noise(seed=i)) for i in range(10)}
    heard = preview(archives.zipped(tmp_path / "sounds.zip", sounds), recordings.manifest())
    assert drawn(heard[0].inputs["audio"].image).mode == "L"


def test_the_preview_is_a_file_of_the_inspection(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.ones((20, 3), dtype=np.float32), y=np.arange(20) % 2)
    manifest = DatasetManifest.model_validate_json(
        json.dumps(
            {
                "name": "a",
                "format": "npz",
                "inputs": {"x": {"kind": "array"}},
                "targets": {"y": {"kind": "class", "classes": 2}},
            }
        )
    )
    given = DatasetInput(id="ds_1", path=str(path), manifest=manifest, sha256="0" * 64)
    outcome = inspect(inspection(tmp_path, given), ignore_event)
    assert isinstance(outcome, InspectionOutcome)
    (file,) = outcome.files
    assert file.role == "preview"
    rows = json.loads((tmp_path / "attempt" / "outputs" / file.path).read_text())["rows"]
    assert rows[0]["inputs"]["x"]["values"] == [1.0, 1.0, 1.0]
