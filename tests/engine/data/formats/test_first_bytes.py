"""What the API tells of a file by its first bytes is what the engine finds in it: real files of each kind."""

import bz2
import gzip
import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from app.http.errors import Invalid
from app.resources.formats import HEAD_BYTES, REFUSED, check_format, kind_of_file, kind_of_head, refuse_head
from tests.engine.jobs.inspection.uploads import weights

X = np.arange(8.0)
TABLE = pa.table({"PAR1": [1, 2]})


def _torchscript(path: Path) -> None:
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), path)  # type: ignore[no-untyped-call]


def _exported(path: Path) -> None:
    with path.open("wb") as file:
        torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), file)


def _tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("model.pt"), io.BytesIO())


def _saved(path: Path, write: Callable[[Any], object]) -> None:
    with path.open("wb") as file:
        write(file)


KINDS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "safetensors": ("safetensors", lambda path: save_file(weights(), path)),
    "state_dict": ("state_dict", lambda path: torch.save(weights(), path)),
    "a whole model": ("state_dict", lambda path: torch.save(nn.Linear(2, 2), path)),
    "torch before 1.6": ("torch_legacy", lambda p: torch.save(weights(), p, _use_new_zipfile_serialization=False)),
    "TorchScript": ("torchscript", _torchscript),
    "torch.export": ("pt2", _exported),
    "npz": ("npz", lambda path: _saved(path, lambda file: np.savez(file, x=X))),
    "compressed npz": ("npz", lambda path: _saved(path, lambda file: np.savez_compressed(file, x=X))),
    "npy": ("npy", lambda path: _saved(path, lambda file: np.save(file, X))),
    "parquet": ("parquet", lambda path: pa.parquet.write_table(TABLE, path)),
    "feather": ("arrow", lambda path: pa.feather.write_feather(TABLE, path)),
    "joblib": ("pickle", lambda path: joblib.dump([X], path)),
    "compressed joblib": ("compressed", lambda path: joblib.dump([X], path, compress=9)),
    "tar": ("tar", _tar),
    "bzip2": ("compressed", lambda path: path.write_bytes(bz2.compress(b"x"))),
    **{f"pickle {n}": ("pickle", lambda p, n=n: p.write_bytes(pickle.dumps([1], n))) for n in range(2, 6)},  # type: ignore[misc]
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("what", KINDS)
def test_a_real_file_of_each_kind_is_recognised_by_its_bytes(what: str, tmp_path: Path) -> None:
    kind, write = KINDS[what]
    write(tmp_path / "upload")
    assert kind_of_file(tmp_path / "upload") == kind
    head = (tmp_path / "upload").read_bytes()[:HEAD_BYTES]
    assert kind_of_head(head) in (kind, "zip")
    expected = {
        "safetensors": "safetensors",
        "state_dict": "state_dict",
        "npz": "npz",
        "parquet": "parquet",
        "csv": None,
    }
    if kind in REFUSED:
        with pytest.raises(Invalid, match="Way out"):
            check_format("csv", kind, expected)
        if kind_of_head(head) != "zip":
            with pytest.raises(Invalid, match="Way out"):
                refuse_head(head, expected)
    else:
        refuse_head(head, expected)
        check_format(kind, kind, expected)


@pytest.mark.parametrize(
    "text", [b"PAR1,b\n1,2\n", b"x^2,y\n1,2\n", b"a,b\n1,2\n", b'{"a": 1}\n', b"\xef\xbb\xbfa,b\n1,2\n", b"x\n"]
)
def test_text_has_no_signature_whatever_its_columns_are_called(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(text)
    assert kind_of_file(tmp_path / "upload") is None


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_compressed_file_is_taken_as_text_and_refused_as_anything_else(kind: str, tmp_path: Path) -> None:
    content = gzip.compress(b"a,b\n1,2\n") if kind == "gzip" else pa.Codec("zstd").compress(b"a,b\n1,2\n").to_pybytes()
    (tmp_path / "upload").write_bytes(content)
    refuse_head(content, ("csv", "npz"))
    assert kind_of_file(tmp_path / "upload") == kind
    expected = {"csv": None, "jsonl": None, "npz": "npz", "onnx": None}
    for declared in ("csv", "jsonl"):
        check_format(declared, kind, expected)
    for declared in ("npz", "onnx"):
        with pytest.raises(Invalid, match="send it uncompressed"):
            check_format(declared, kind, expected)
