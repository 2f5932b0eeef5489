"""Conversion of PyTorch state_dicts to safetensors without executing code.

Files are loaded by `torch.load(weights_only=True)` only. Before, the archive is checked: a zip whose members are
stored, not compressed, so that reading cannot inflate them, and no TorchScript. After, every tensor must be dense and
within its storage, so that a small file cannot declare a large tensor.
"""

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from app.contracts.problems import UserError
from workers.engine.models.safetensors_header import NAME

MAX_MEMBERS = 60_000
MAX_SHARING = 2
"""Maximum size of all tensors relative to the file. Tied weights share a storage, and are written separately."""
WRAPPERS = ("state_dict", "model_state_dict", "model")
_ADVICE = "save it with `torch.save(model.state_dict(), path)`, or as safetensors"


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


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            "code_carrying_format",
            f"the file has more than tensors, and only tensors are read (a pickled model?): {_ADVICE}",
        ) from None
    except MemoryError:
        raise
    except Exception:  # on damaged pickles torch's unpickler lets through any exception
        raise UserError("unreadable", f"torch cannot read the archive: {_ADVICE}") from None


def _tensors(loaded: Any, file_bytes: int) -> dict[str, Tensor]:
    for wrapper in WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not isinstance(loaded, dict) or not loaded:
        raise UserError("unreadable", f"expected a state_dict (names to tensors), found another object: {_ADVICE}")
    for name, value in loaded.items():
        if not isinstance(name, str) or not NAME.match(name):
            raise UserError("unreadable", "a parameter's name must be letters, digits, `_`, `-` and dots: rename it")
        if not isinstance(value, Tensor):
            raise UserError("unreadable", f"`{name}` is not a tensor: {_ADVICE}")
        _check_dense(name, value)
    size = sum(value.numel() * value.element_size() for value in loaded.values())
    if size > MAX_SHARING * file_bytes:
        raise UserError("unreadable", f"the tensors together claim {size} bytes in a file of {file_bytes}: {_ADVICE}")
    return {name: value.detach().clone().contiguous() for name, value in loaded.items()}


def _check_dense(name: str, value: Tensor) -> None:
    unsupported = value.layout != torch.strided or value.is_nested or value.is_quantized or value.is_complex()
    if unsupported or value.device.type != "cpu":
        raise UserError(
            "unreadable", f"`{name}` is sparse, nested, quantised, complex or empty (meta): only dense numbers are read"
        )
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise UserError("unreadable", f"`{name}` claims more numbers than the file has for it: {_ADVICE}")


def convert_state_dict(path: Path, target: Path) -> None:
    """Write the tensors of a state_dict as safetensors, with the same names.

    Raises UserError `code_carrying_format` or `unreadable`.
    """
    _check_archive(path)
    save_file(_tensors(_load(path), path.stat().st_size), target)
