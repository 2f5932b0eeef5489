"""A graph whose weights lie in a second file, as a zip of the folder."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from app.contracts.wire.orders import ModelInput
from tests.engine.jobs.inspection.onnx_graphs import Graph, W, graph, onnx_manifest
from tests.engine.jobs.inspection.uploads import ignore_event, inspection, refused
from workers.engine.jobs.inspection.inspect import inspect
from workers.engine.jobs.inspection.onnx_models import inspect_onnx_model


def split(location: str = "model.onnx.data", **told: str) -> tuple[Graph, bytes]:
    """(the graph, its data file): the weights after four bytes of something else."""
    made = graph()
    weight = made.graph.initializer[0]
    data = b"else" + weight.raw_data
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, text in {"location": location, "offset": "4", "length": str(W.nbytes), **told}.items():
        entry = weight.external_data.add()
        entry.key, entry.value = key, text
    return made, data


def zipped(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "upload"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("folder", ["", "export/"])
def test_a_zip_of_the_folder_becomes_one_graph(folder: str, tmp_path: Path) -> None:
    made, data = split()
    files = {f"{folder}model.onnx": made.SerializeToString(), f"{folder}model.onnx.data": data, "README.md": b"x"}
    path = zipped(tmp_path, files)
    model = ModelInput(id="mdl", manifest=onnx_manifest(), path=str(path), sha256="0" * 64)
    outcome = inspect(inspection(tmp_path, model), ignore_event)
    assert outcome.rejection is None
    assert outcome.model is not None
    np.testing.assert_allclose(outcome.model.examples["y"][1], W.sum(0), rtol=1e-6)
    (file,) = outcome.files
    assert (file.role, file.path) == ("converted", "converted.onnx")
    whole = onnx.load(tmp_path / "attempt" / "outputs" / file.path, load_external_data=False)
    assert not whole.graph.initializer[0].external_data


def test_files_that_a_desktop_adds_to_a_zip_are_ignored(tmp_path: Path) -> None:
    made, data = split()
    added = ("__MACOSX/m/._model.onnx", "__MACOSX/._m", "m/._model.onnx", "m/.DS_Store", "m/Thumbs.db", "m/desktop.ini")
    files = {"m/model.onnx": made.SerializeToString(), "m/model.onnx.data": data, **dict.fromkeys(added, b"\0\5\x16\7")}
    facts = inspect_onnx_model(zipped(tmp_path, files), onnx_manifest(), tmp_path / "out")
    np.testing.assert_allclose(facts.examples["y"][1], W.sum(0), rtol=1e-6)


HOSTILE: dict[str, tuple[Callable[[], dict[str, bytes]], str]] = {
    "a location outside": (lambda: _files("../../etc/passwd"), "bare name"),
    "an absolute location": (lambda: _files("/etc/passwd"), "bare name"),
    "a file that is not there": (lambda: _files("other.bin"), "`other.bin`"),
    "a length beyond the file": (lambda: _files(length="99999999999999"), "bytes 4 to"),
    "a negative offset": (lambda: _files(offset="-4"), "bytes -4"),
    "a length that is no number": (lambda: _files(length="many"), "whole numbers"),
    "too few bytes for the tensor": (lambda: _files(length="8"), "not supported"),
    "two graphs": (lambda: {**_files(), "second.onnx": b"x"}, "2 files that end in .onnx"),
    "no graph": (lambda: {"model.onnx.data": b"x"}, "0 files"),
    "a graph that is none": (lambda: {"model.onnx": b"\xff\xff"}, "not an ONNX protobuf"),
}


def _files(location: str = "model.onnx.data", **told: str) -> dict[str, bytes]:
    made, data = split(location, **told)
    return {"model.onnx": made.SerializeToString(), "model.onnx.data": data}


@pytest.mark.parametrize("trap", HOSTILE)
def test_a_hostile_folder_is_refused(trap: str, tmp_path: Path) -> None:
    make, expected = HOSTILE[trap]
    path = zipped(tmp_path, make())
    message = refused("unreadable", lambda: inspect_onnx_model(path, onnx_manifest(), tmp_path / "out"))
    assert expected in message
    assert str(tmp_path) not in message


def test_a_damaged_zip_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path, _files())
    path.write_bytes(path.read_bytes()[:-40])
    refused("unreadable", lambda: inspect_onnx_model(path, onnx_manifest(), tmp_path / "out"))
