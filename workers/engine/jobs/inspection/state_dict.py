"""Conversion of PyTorch state_dicts to safetensors without executing code.

Files are loaded by `torch.load(weights_only=True)` only. Before, the archive is checked: a zip whose members are
stored, not compressed, so that reading cannot inflate them, and no TorchScript. After, every tensor must be dense and
within its storage, so that a small file cannot declare a large tensor.
"""

import pickle
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from app.contracts.problems import UserError
from workers.engine.jobs.inspection.checkpoint import Fits, Notes, state_dict_of
from workers.engine.models.safetensors_header import NAME

MAX_MEMBERS = 60_000
MAX_SHARING = 2
"""Maximum size of all tensors relative to the file. Tied weights share a storage, and are written separately."""
_ADVICE = "save it with `torch.save(model.state_dict(), path)`, or as safetensors"

_GLOBAL = re.compile(r"GLOBAL ([\w.]{1,200}) was not an allowed global")
"""The name of what torch refuses to load."""


def _check_archive(path: Path) -> None:
    try:
        if not zipfile.is_zipfile(path):
            raise UserError(
                "code_carrying_format",
                f"expected a zip archive of torch.save, found another file (a bare pickle?): {_ADVICE}",
            )
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError, struct.error):
        raise UserError("unreadable", f"the archive is damaged: {_ADVICE}") from None
    if len(members) > MAX_MEMBERS:
        raise UserError("unreadable", f"{len(members)} members in the archive, {MAX_MEMBERS} at most: {_ADVICE}")
    names = [member.filename for member in members]
    if any(name.endswith("constants.pkl") or "/code/" in f"/{name}" for name in names):
        raise UserError("code_carrying_format", f"this is TorchScript, which carries code: {_ADVICE}")
    if any("/models/" in f"/{name}" or name.endswith("archive_format") for name in names):
        raise UserError("code_carrying_format", f"this is a torch.export archive, which carries code: {_ADVICE}")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise UserError("unreadable", "the archive's members must be stored, not compressed: torch.save writes them so")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise UserError("unreadable", "the archive claims more bytes than the file has: send it again")


def _numpy_numbers() -> list[Any]:
    """What pickles of NumPy's numbers name: the constructor of a scalar, under the names of both major versions, and
    dtypes of plain numbers. None of them runs code of the file.
    """
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    dtypes = [type(np.dtype(code)) for code in "?bBhHiIlLqQefd"]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [*((scalar, name) for name in names), np.dtype, *dict.fromkeys(dtypes)]


def _load(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_numpy_numbers()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = _GLOBAL.search(str(error))
        what = f"`{refused[1]}`" if refused else "more than tensors and numbers"
        raise UserError(
            "code_carrying_format",
            f"the file has {what}, and only tensors and numbers are read (a pickled model?): {_ADVICE}",
        ) from None
    except MemoryError:
        raise
    except Exception:  # on damaged pickles torch's unpickler lets through any exception
        raise UserError("unreadable", f"torch cannot read the archive: {_ADVICE}") from None


def _copied(tensors: dict[str, Tensor], file_bytes: int) -> dict[str, Tensor]:
    for name, value in tensors.items():
        if not NAME.match(name):
            raise UserError("unreadable", "a parameter's name must be letters, digits, `_`, `-` and dots: rename it")
        _check_dense(name, value)
    size = sum(value.numel() * value.element_size() for value in tensors.values())
    if size > MAX_SHARING * file_bytes:
        raise UserError("unreadable", f"the tensors together claim {size} bytes in a file of {file_bytes}: {_ADVICE}")
    return {name: value.detach().clone().contiguous() for name, value in tensors.items()}


def _check_dense(name: str, value: Tensor) -> None:
    unsupported = value.layout != torch.strided or value.is_nested or value.is_quantized or value.is_complex()
    if unsupported or value.device.type != "cpu":
        raise UserError(
            "unreadable", f"`{name}` is sparse, nested, quantised, complex or empty (meta): only dense numbers are read"
        )
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise UserError("unreadable", f"`{name}` claims more numbers than the file has for it: {_ADVICE}")


def convert_state_dict(path: Path, target: Path, key: str | None = None, fits: Fits = lambda _: False) -> Notes:
    """Write the tensors of a checkpoint's state_dict as safetensors, with the same names.

    `key` names it among several, and `fits` says whether names are those of the architecture (`checkpoint`). Returns
    what is to be said about the choice. Raises UserError `code_carrying_format`, `unreadable`, `unknown_key` or
    `several_state_dicts`.
    """
    _check_archive(path)
    tensors, notes = state_dict_of(_load(path), key, fits)
    save_file(_copied(tensors, path.stat().st_size), target)
    return notes
