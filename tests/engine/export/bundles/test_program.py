"""`predict.py` with files that do not fit, and with a graph that answers otherwise than the service did."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

import app.models.bundle
from tests.engine.export.bundles.bare_python import answered, run_bare
from tests.engine.jobs.inspection.onnx_graphs import graph, value

CSV: dict[str, Any] = {
    "encoding": "utf-8-sig",
    "decimal": ".",
    "null_values": ["", "nan"],
    "reader": {"fieldnames": None, "delimiter": ",", "skipinitialspace": True},
}


def bundle(folder: Path, kind: int, expected: NDArray[Any], shape: tuple[int, ...] = (2,)) -> Path:
    """A folder with a graph that casts rows of this type to scores; `expected`: what its reference says of ones [2]."""
    program = Path(app.models.bundle.__path__[0]) / "program" / "predict.py"
    shutil.copy(program, folder)
    made = graph(
        helper.make_node("Cast", ["x"], ["y.logits"], to=TensorProto.FLOAT),
        inputs=[value("x", ["n", *shape], kind)],
        outputs=[value("y.logits", ["n", *shape])],
    )
    (folder / "student.onnx").write_bytes(made.SerializeToString())
    ones = np.ones((3, 2), helper.tensor_dtype_to_np_dtype(kind))
    np.savez(folder / "reference.npz", **{"inputs/x": ones, "answers/y.logits": expected})  # type: ignore[arg-type]
    config = {"csv": CSV, "inputs": {"x": {"columns": ["a", "b"]}}, "classes": {"y": ["low", "high"]}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_other_answers_than_the_reference_are_named(tmp_path: Path) -> None:
    right = bundle(tmp_path, TensorProto.FLOAT, np.ones((3, 2), np.float32))
    assert run_bare(right, "--check").returncode == 0
    wrong = bundle(tmp_path, TensorProto.FLOAT, np.full((3, 2), 1.01, np.float32))
    done = run_bare(wrong, "--check")
    assert done.returncode == 1
    assert "['y.logits'] differ from the service's" in done.stderr


@pytest.mark.parametrize("number", [300, -1, 0.5])
def test_a_number_that_the_graphs_type_has_not_is_refused(number: float, tmp_path: Path) -> None:
    folder = bundle(tmp_path, TensorProto.UINT8, np.ones((3, 2), np.float32))
    np.savez(tmp_path / "rows.npz", a=np.array([1, number]), b=np.array([0, 0]))
    done = run_bare(folder, tmp_path / "rows.npz")
    assert done.returncode == 1
    assert "`x` takes uint8" in done.stderr
    assert done.stdout == ""


def test_a_gap_that_nothing_fills_has_no_class_and_is_null_in_json(tmp_path: Path) -> None:
    folder = bundle(tmp_path, TensorProto.FLOAT, np.ones((3, 2), np.float32))
    (tmp_path / "rows.csv").write_text("b, a \n2,1\n3,\n")
    assert answered(folder, tmp_path / "rows.csv") == [
        {"y.logits": [1.0, 2.0], "y.class": "high"},
        {"y.logits": [None, 3.0], "y.class": None},
    ]


@pytest.mark.parametrize("arguments", [(), ("",), ("--help",), ("-h",)])
def test_without_a_file_it_says_how_it_is_called(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = run_bare(bundle(tmp_path, TensorProto.FLOAT, np.ones((3, 2), np.float32)), *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("`python predict.py ROWS [MODEL]`")


@pytest.mark.parametrize(("maker", "file"), [("images.py", "cat.jpg"), ("sounds.py", "one.wav")])
def test_a_file_of_which_another_program_makes_rows_names_it(maker: str, file: str, tmp_path: Path) -> None:
    folder = bundle(tmp_path, TensorProto.FLOAT, np.ones((3, 2), np.float32))
    (folder / maker).touch()
    (tmp_path / file).write_bytes(b"\xff\xd8\xff")
    done = run_bare(folder, tmp_path / file)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"`python {maker} rows.npz {tmp_path / file}` makes rows of files" in done.stderr


def columns(folder: Path, *names: str) -> None:
    """Have the bundle read its rows from these columns."""
    config = json.loads((folder / "config.json").read_text())
    config["inputs"]["x"]["columns"] = names
    (folder / "config.json").write_text(json.dumps(config))


def refusal(folder: Path, *arguments: str | Path) -> str:
    """The line that the program ends with; before it ONNX Runtime may warn of the machine."""
    done = run_bare(folder, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    own = [line for line in done.stderr.splitlines() if "onnxruntime" not in line]
    assert len(own) == 1, done.stderr
    return own[0]


@pytest.mark.parametrize(
    ("shape", "sent"),
    [((12, 12, 3), (4, 3, 12, 12)), ((12, 12, 3), (2, 24, 24, 3)), ((4,), (5, 8)), ((4,), (4,)), ((4,), (0, 4))],
)
def test_rows_of_another_shape_are_refused(shape: tuple[int, ...], sent: tuple[int, ...], tmp_path: Path) -> None:
    folder = bundle(tmp_path, TensorProto.UINT8, np.ones((3, 2), np.float32), shape)
    columns(folder, "x")
    np.savez(tmp_path / "rows.npz", x=np.ones(sent, np.uint8))
    expected = [sent[0] or 1, *shape]
    assert refusal(folder, tmp_path / "rows.npz") == f"`x`: expected {expected}, rows first, found {[*shape_of(sent)]}"


def shape_of(sent: tuple[int, ...]) -> tuple[int, ...]:
    """One column alone is a column of a table."""
    return (*sent, 1) if len(sent) == 1 else sent


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("rows.csv", "a,b\n1,2\n1,2,3\n", "expected a value for each column in each row"),
        ("rows.csv", "a,b\n1\n", "expected a value for each column in each row"),
        ("rows.csv", "a,b\n", "expected a value for each column in each row, found none"),
        ("rows.csv", "a,c\n1,2\n", "expected columns ['a', 'b'], found ['a', 'c']: no ['b']"),
        ("rows.jsonl", '{"a": 1, "b": "much"}\n', "could not convert string to float: 'much'"),
        ("rows.parquet", "PAR1", "is not csv, jsonl, npz"),
        ("none.csv", None, "No such file"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(
    name: str, text: str | None, said: str, tmp_path: Path
) -> None:
    folder = bundle(tmp_path, TensorProto.FLOAT, np.ones((3, 2), np.float32))
    if text is not None:
        (tmp_path / name).write_text(text)
    assert said in refusal(folder, tmp_path / name)


def test_a_file_without_names_may_have_more_columns_than_are_read(tmp_path: Path) -> None:
    folder = bundle(tmp_path, TensorProto.FLOAT, np.ones((3, 2), np.float32))
    columns(folder, "0", "1")
    config = json.loads((folder / "config.json").read_text())
    config["csv"]["reader"] |= {"fieldnames": ["0", "1"], "restkey": "more"}
    (folder / "config.json").write_text(json.dumps(config))
    (tmp_path / "rows.csv").write_text("2,1,label\n")
    assert answered(folder, tmp_path / "rows.csv") == [{"y.logits": [2.0, 1.0], "y.class": "low"}]


def test_another_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    folder = bundle(tmp_path, TensorProto.FLOAT, np.ones((3, 2), np.float32))
    assert "no student.int8.onnx" in refusal(folder, "--check", "student.int8.onnx")


def test_a_file_whose_answers_the_reference_has_not_is_not_checked(tmp_path: Path) -> None:
    folder = bundle(tmp_path, TensorProto.FLOAT, np.ones((3, 2), np.float32))
    shutil.copy(folder / "student.onnx", folder / "student.int8.onnx")
    done = run_bare(folder, "--check", "student.int8.onnx")
    assert done.returncode == 2
    assert done.stdout == "no answers of student.int8.onnx in reference.npz: check student.onnx\n"


@pytest.mark.parametrize(("size", "factor", "code"), [(1e-6, 1.01, 1), (1e-6, 1.0, 0), (1e6, 1.01, 1), (1e6, 1.0, 0)])
def test_answers_are_compared_by_their_spread(size: float, factor: float, code: int, tmp_path: Path) -> None:
    rows = (size * np.random.default_rng(0).normal(size=(9, 2))).astype(np.float32)
    folder = bundle(tmp_path, TensorProto.FLOAT, rows)
    known = (rows * factor * (1 + 1e-6)).astype(np.float32)
    np.savez(folder / "reference.npz", **{"inputs/x": rows, "answers/y.logits": known})  # type: ignore[arg-type]
    assert run_bare(folder, "--check").returncode == code


@pytest.mark.parametrize(("method", "alone"), [("dynamic", True), ("static", False)])
def test_a_dynamic_file_answers_row_by_row(method: str, alone: bool, tmp_path: Path) -> None:
    folder = bundle(tmp_path, TensorProto.FLOAT, np.ones((3, 2), np.float32))
    (folder / "student.int8.onnx").write_bytes(less_the_largest_of_the_batch(method).SerializeToString())
    np.savez(tmp_path / "rows.npz", a=np.array([1, 5], np.float32), b=np.zeros(2, np.float32))
    done = run_bare(folder, tmp_path / "rows.npz", "student.int8.onnx")
    first, second = (json.loads(line)["y.logits"] for line in done.stdout.splitlines())
    assert (first, second) == ([0.0 if alone else -4.0, -1.0 if alone else -5.0], [0.0, -5.0])


def less_the_largest_of_the_batch(method: str) -> ModelProto:
    """A graph whose answers depend on the batch, as those of a dynamic file do."""
    made = graph(
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Sub", ["x", "most"], ["y.logits"]),
        inputs=[value("x", ["n", 2], TensorProto.FLOAT)],
        outputs=[value("y.logits", ["n", 2])],
    )
    helper.set_model_props(made, {"stillhouse": json.dumps({"quantization": {"method": method}})})
    return made
