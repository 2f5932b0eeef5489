"""Archives of torch.save with changed pickles and records."""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from workers.engine.jobs.inspection.state_dict import convert_state_dict


def converted(content: Any, tmp_path: Path) -> dict[str, Tensor]:
    """The tensors of a converted upload: bytes, a path, or an object that torch.save writes."""
    path = content if isinstance(content, Path) else tmp_path / "upload"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif not isinstance(content, Path):
        torch.save(content, path)
    convert_state_dict(path, tmp_path / "converted.safetensors")
    return load_file(tmp_path / "converted.safetensors")


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def archive(tmp_path: Path, program: bytes | None = None, records: dict[str, bytes] | None = None) -> Path:
    """A state_dict's archive with another pickle, or with other records, inside."""
    torch.save({"a": torch.ones(3, 4)}, tmp_path / "m.pt")
    replaced = ({"data.pkl": program} if program is not None else {}) | (records or {})
    return rewritten(tmp_path / "m.pt", lambda name, content: replaced.get(name, content))


def rewritten(
    source: Path, change: Callable[[str, bytes], bytes | None], compression: int = zipfile.ZIP_STORED
) -> Path:
    target = source.with_suffix(".new")
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w") as after:
        for member in before.infolist():
            content = change(member.filename.partition("/")[2], before.read(member))
            if content is not None:
                after.writestr(zipfile.ZipInfo(member.filename), content, compression)
    return target


class Record:
    """A record of the archive as a pickle names it."""

    def __init__(self, numbers: Any, key: str = "0") -> None:
        self.identity = ("storage", torch.FloatStorage, key, "cpu", numbers)


class Called:
    """An object whose pickle calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


class Pickler(pickle.Pickler):
    """Pickles as torch.save does: tensors are stored in records beside the pickle."""

    def persistent_id(self, thing: Any) -> Any:
        return thing.identity if isinstance(thing, Record) else None


def pickled(thing: Any) -> bytes:
    target = io.BytesIO()
    Pickler(target, protocol=2).dump(thing)
    return target.getvalue()


def claimed(size: Any = (3, 4), stride: Any = (4, 1), offset: Any = 0, numbers: Any = 12, key: str = "0") -> bytes:
    """The pickle of {"a": a tensor that claims this much of a record of 12 numbers}."""
    rebuild = torch._utils._rebuild_tensor_v2  # what torch.save writes
    return pickled({"a": Called(rebuild, Record(numbers, key), offset, size, stride, False, OrderedDict())})
