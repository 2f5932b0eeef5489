"""A dataset's own file -> `predict.py` of the student's bundle, with numpy and ONNX Runtime alone -> the predictions
that the service serves.
"""

import gzip
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engine.export.bundles.bare_python import answered, bare_python, run_bare, unpacked
from tests.engine.export.raw_rows import test_tables as tables
from tests.engine.export.raw_rows.bare_runs import ROWS, TRAINING, Json, dataset_of
from tests.engine.export.raw_rows.test_arrays import CASES, CLASSES, DATES, PIXELS, labelled
from tests.engine.harness import Arrays, EngineHarness
from tests.exhaustive import sample

FAMILIES: dict[str, Json] = {
    "mlp": {"family": "mlp", "hidden": [8]},
    "convnet": {"family": "convnet", "channels": [4]},
    "resnet": {"family": "resnet", "depth": 8, "stem": 4},
    "transformer": {"family": "transformer", "width": 8, "depth": 1, "heads": 2},
}
DRAW = np.random.default_rng(5)


@dataclass(frozen=True)
class Kind:
    """A kind of dataset. `write` writes its file, `rows.<suffix>`; `send` the same rows in another format, where
    `predict.py` does not read the dataset's.
    """

    suffix: str
    write: Callable[[Path], None]
    manifest: Json
    tasks: tuple[str, ...] = ("y",)
    send: tuple[str, Callable[[Path], None]] | None = None


def spreadsheet(path: Path) -> None:
    """Semicolons, decimal commas, spaces, another encoding, an own word for what is missing, and no header."""
    lines = []
    for i in range(ROWS):
        colour = ["grün", '"rot; hell"', "?"][i % 3]
        number = "?" if i % 7 == 0 else f"{tables.PRICES[i]:.3f}".replace(".", ",")
        lines.append(f"{colour}; {i % 4},5; {number}; {tables.FLAGS[i]}; {tables.LABELS[i]}")
    path.write_bytes(gzip.compress("\n".join(lines).encode("latin-1")))


def packed(**arrays: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        np.savez(path, **arrays)

    return write


def several(path: Path) -> None:
    """Two inputs and a key of another name, an input's columns from several keys, dates, text and bytes."""
    arrays: Arrays = {
        "pixels": PIXELS.reshape(ROWS, 64),
        "when": DATES,
        "flag": tables.FLAGS,
        "colour": tables.COLOURS.astype("S8"),
        "left": tables.PRICES,
        "right": tables.COUNTS,
        "y": tables.LABELS,
    }
    np.savez(path, **arrays)  # type: ignore[arg-type]


def of_arrays(name: str) -> Kind:
    x, spec, _ = CASES[name]
    return Kind("npz", packed(**labelled(x)), {"inputs": {"x": {"kind": "array", **spec}}, "targets": CLASSES})


_TABLE: Json = {
    "inputs": {"numbers": tables.NUMBERS, "words": {**tables.CATEGORIES, "encoding": "one_hot"}},
    "targets": tables.TARGETS,
}
KINDS: dict[str, Kind] = {
    "csv": Kind("csv", tables.csv, _TABLE, ("y", "price_next")),
    "csv of a spreadsheet": Kind(
        "csv.gz",
        spreadsheet,
        {
            "csv": {
                "delimiter": ";", "decimal": ",", "encoding": "latin-1", "null_values": ["?"], "header": False,
                "columns": ["colour", "size", "price", "flag", "y"],
            },
            "inputs": {
                "words": {"kind": "category", "columns": ["colour", "size"]},
                "numbers": {"kind": "array", "columns": ["price", "flag"], "missing": "indicator"},
            },
            "targets": {"y": {"kind": "class", "classes": ["no", "yes"]}},
        },
    ),
    "jsonl": Kind("jsonl", tables.jsonl, _TABLE, ("y", "price_next")),
    "jsonl of lists and whole numbers": Kind(
        "jsonl",
        tables.jsonl,
        {
            "inputs": {"vector": {"kind": "array", "standardize": True}, "plan": {"kind": "category"}},
            "targets": tables.TARGETS,
        },
        ("y", "price_next"),
    ),
    "parquet, sent as jsonl": Kind(
        "parquet", tables.parquet, _TABLE, ("y", "price_next"), send=("jsonl", tables.jsonl)
    ),
    "several arrays": Kind(
        "npz",
        several,
        {
            "inputs": {
                "x": {"kind": "array", "columns": ["pixels"], "scale": 1 / 255},
                "when": {"kind": "array", "standardize": True},
                "sides": {"kind": "array", "columns": ["left", "right"], "standardize": True},
                "words": {"kind": "category", "columns": ["colour", "flag"]},
            },
            "targets": {"y": {"kind": "class", "classes": ["no", "yes"]}},
        },
    ),
    **{name: of_arrays(name) for name in CASES},
}  # fmt: skip
_IMAGES = ("pixels", "colours, channels last", "gaps of images")
PRODUCT = [
    *((name, "mlp") for name in KINDS),
    *((name, family) for name in _IMAGES for family in ("convnet", "resnet")),
    ("a series", "convnet"),
    ("tokens of a transformer", "transformer"),
]
KEPT = [
    ("csv of a spreadsheet", "mlp"),
    ("jsonl", "mlp"),
    ("several arrays", "mlp"),
    ("pixels", "convnet"),
    ("tokens of a transformer", "transformer"),
]


@pytest.mark.parametrize(("name", "family"), sample(PRODUCT, KEPT))
def test_the_datasets_own_file_gets_the_predictions_of_the_service(
    name: str, family: str, harness: EngineHarness, tmp_path: Path
) -> None:
    kind, model = KINDS[name], FAMILIES[family]
    path = harness.folder / f"rows.{kind.suffix}"
    kind.write(path)
    dataset_of(harness, path, {"format": kind.suffix.partition(".")[0], **kind.manifest})
    tasks = [{"name": task} for task in kind.tasks]
    spec = {"kind": "multitask", "tasks": tasks, "student": model, "training": TRAINING, "exports": ["onnx"]}
    outcome = harness.run({**spec, "control": False, "baselines": False})
    folder = unpacked(outcome, harness.outputs(), tmp_path / "bundle")
    if kind.send is not None:
        suffix, write = kind.send
        write(path := tmp_path / f"rows.{suffix}")
    compare(answered(folder, path), harness.outputs() / "predictions-test.npz", kind)
    checked = run_bare(folder, "--check")
    assert (checked.returncode, checked.stdout) == (0, "the service's answers for 16 rows\n"), checked.stderr


def compare(lines: list[Json], predictions: Path, kind: Kind) -> None:
    """Classes are equal on every test row, and logits and values within 1e-4."""
    with np.load(predictions) as file:
        rows, expected = file["test/row"], {task: file[f"test/{task}/student"] for task in kind.tasks}
    assert len(lines) == ROWS
    assert len(rows) == 0.4 * ROWS
    for task in kind.tasks:
        if kind.manifest["targets"][task]["kind"] == "value":
            found = np.array([lines[row][f"{task}.value"] for row in rows])
            np.testing.assert_allclose(found, expected[task], rtol=0, atol=1e-4 * max(1.0, float(expected[task].std())))
            continue
        logits = np.array([lines[row][f"{task}.logits"] for row in rows])
        np.testing.assert_allclose(logits, expected[task], rtol=0, atol=1e-4)
        names = kind.manifest["targets"][task]["classes"]
        assert [lines[row][f"{task}.class"] for row in rows] == [names[i] for i in expected[task].argmax(1)]
        probabilities = np.array([lines[row][f"{task}.probabilities"] for row in rows])
        np.testing.assert_allclose(probabilities.sum(1), 1.0, atol=1e-5)


def test_the_environment_has_numpy_and_onnx_runtime_alone() -> None:
    names = ("torch", "onnx", "app", "workers", "scipy", "pyarrow", "numpy", "onnxruntime")
    code = f"import importlib.util; print([n for n in {names!r} if importlib.util.find_spec(n)])"
    done = subprocess.run([str(bare_python()), "-c", code], capture_output=True, text=True, check=True, env={}, cwd="/")
    assert done.stdout.strip() == "['numpy', 'onnxruntime']"
