"""Uploads of files and folders: formats by their names, and what a folder of images says."""

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from stillhouse import Unreadable
from stillhouse.sources.datasets import upload_of_dataset
from stillhouse.sources.networks import upload_of_model
from stillhouse.sources.upload import Upload, Wishes

XY: dict[str, Any] = {"inputs": {"x": {"columns": ["a"]}}, "targets": {"y": {"kind": "value"}}}


def content(upload: Upload) -> bytes:
    (part,) = upload.files
    with part.open() as file:
        return file.read()


TABLES = {
    "a.csv": "csv", "a.CSV": "csv", "a.csv.gz": "csv", "a.jsonl.zst": "jsonl", "a.parquet": "parquet", "a.npz": "npz",
}  # fmt: skip
MODELS = {"m.safetensors": "safetensors", "m.pth": "state_dict", "m.onnx": "onnx", "m.zip": "huggingface"}


@pytest.mark.parametrize(("name", "form"), TABLES.items())
def test_the_format_of_a_dataset_is_read_from_its_name(tmp_path: Path, name: str, form: str) -> None:
    (tmp_path / name).write_bytes(b"content")
    upload = upload_of_dataset(tmp_path / name, Wishes(**XY))
    assert upload.manifest["format"] == form
    assert upload.manifest["inputs"] == {"x": {"kind": "array", "columns": ["a"]}}
    assert (content(upload), upload.bytes) == (b"content", 7)


def test_several_files_are_one_dataset(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.csv" for name in ("train", "test")]
    for file in files:
        file.write_text("a,y\n1,2\n")
    upload = upload_of_dataset(files, Wishes(**XY))
    assert [part.name for part in upload.files] == ["train.csv", "test.csv"]


def test_a_pipe_is_copied_so_that_it_can_be_sent_again() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as sink:
        sink.write(b"a,y\n1,2\n")
    with os.fdopen(reading, "rb") as source:
        upload = upload_of_dataset(source, Wishes(format="csv", **XY))
        (part,) = upload.files
        with part.open() as file:
            assert file.read() == b"a,y\n1,2\n"
            file.seek(0)
            assert file.read() == b"a,y\n1,2\n"


def test_a_folder_of_images_says_its_classes_and_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in ("dog", "cat"):
            (tmp_path / split / label).mkdir(parents=True)
            (tmp_path / split / label / "1.png").write_bytes(b"image")
    upload = upload_of_dataset(tmp_path, Wishes(inputs={"image": {"size": [32, 32]}}))
    assert upload.manifest["format"] == "images"
    assert upload.manifest["inputs"] == {"image": {"kind": "image", "size": [32, 32]}}
    assert upload.manifest["targets"] == {"label": {"kind": "class", "classes": ["cat", "dog"]}}
    assert upload.manifest["splits"] == {"column": "split"}
    with zipfile.ZipFile(io.BytesIO(content(upload))) as archive:
        assert archive.namelist()[0] == "test/cat/1.png"
    assert content(upload) == content(upload)


def test_a_table_without_inputs_and_a_name_without_a_format_are_said(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    table.write_text("a\n1\n")
    with pytest.raises(Unreadable, match="expected `inputs` for the file"):
        upload_of_dataset(table, Wishes())
    with pytest.raises(Unreadable, match="rename it, or say its `format`"):
        upload_of_dataset(io.BytesIO(b"x"), Wishes())
    with pytest.raises(Unreadable, match="found none at"):
        upload_of_dataset(tmp_path / "none.csv", Wishes())
    with pytest.raises(Unreadable, match="found int"):
        upload_of_dataset(7, Wishes(format="csv"))


def test_a_damaged_archive_without_a_format_is_said(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        archive.writestr("a.png", b"image")
    content = (tmp_path / "whole.zip").read_bytes()
    files = {"a.zip": content.replace(b"PK\x01\x02", b"XXXX"), "a.tar.gz": b"\x1f\x8b\x08\x00", "a.tar": b"no archive"}
    for name, damaged in files.items():
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(Unreadable, match="say its `format`"):
            upload_of_dataset(tmp_path / name, Wishes())


@pytest.mark.parametrize(("name", "form"), MODELS.items())
def test_the_format_of_a_model_is_read_from_its_name(tmp_path: Path, name: str, form: str) -> None:
    (tmp_path / name).write_bytes(b"model")
    architecture = {"family": "mlp", "input_shape": [4], "outputs": {"digit": 10, "size": 1}}
    upload = upload_of_model(
        tmp_path / name, name=None, format=None, architecture=architecture, outputs=None, fields={"licence": "MIT"}
    )
    assert upload.manifest == {
        "name": "m",
        "format": form,
        "architecture": architecture,
        "outputs": {"digit": {"kind": "class"}, "size": {"kind": "value"}},
        "licence": "MIT",
    }


def test_a_module_whose_family_cannot_be_read_asks_for_its_architecture() -> None:
    torch = pytest.importorskip("torch")
    wanted: dict[str, Any] = {"name": None, "format": None, "outputs": None, "fields": {}}
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3))
    with pytest.raises(Unreadable, match="or else `architecture`, found a Sequential with Conv2d"):
        upload_of_model(module, architecture=None, **wanted)
    upload = upload_of_model(module, architecture={"family": "convnet", "outputs": {"y": 3}}, **wanted)
    assert upload.manifest["format"] == "safetensors"
    assert upload.manifest["outputs"] == {"y": {"kind": "class"}}
    assert b"0.weight" in content(upload)
    with pytest.raises(Unreadable, match="a torch module or a state_dict, found int"):
        upload_of_model(7, architecture=None, **wanted)
