"""PyTorch state_dicts, opened without executing anything and turned into safetensors.

`torch.load(weights_only=True)`, no fallback, and before it the archive itself: a zip whose members are stored, not
deflated, so that nothing grows on reading; no TorchScript. After it every tensor must be dense and lie within its
storage, so that a small file cannot claim a large tensor.
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

MOST_MEMBERS = 60_000
MOST_SHARING = 2
"""Tensors may share a storage (tied weights), and each is written on its own: so many times the file at most."""
WRAPPERS = ("state_dict", "model_state_dict", "model")
_WAY_OUT = "save it with `torch.save(model.state_dict(), path)`, or as safetensors"


def _check_archive(path: Path) -> None:
    try:
        if not zipfile.is_zipfile(path):
            raise UserError(
                "code_carrying_format",
                f"expected a zip archive of torch.save, found another (a bare pickle?): {_WAY_OUT}",
            )
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError, struct.error):
        raise UserError("unreadable", f"the archive is damaged: {_WAY_OUT}") from None
    if len(members) > MOST_MEMBERS:
        raise UserError("unreadable", f"{len(members)} members in the archive, {MOST_MEMBERS} at most")
    names = [member.filename for member in members]
    if any(name.endswith("constants.pkl") or "/code/" in f"/{name}" for name in names):
        raise UserError("code_carrying_format", f"this is TorchScript, which carries code: {_WAY_OUT}")
    if any("/models/" in f"/{name}" or name.endswith("archive_format") for name in names):
        raise UserError("code_carrying_format", f"this is a torch.export archive, which carries code: {_WAY_OUT}")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise UserError("unreadable", "the archive's members must be stored, not compressed, as torch.save writes them")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise UserError("unreadable", "the archive claims more bytes than the file has")


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            "code_carrying_format",
            f"the file holds more than tensors, and only tensors are read (a whole pickled model?): {_WAY_OUT}",
        ) from None
    except MemoryError:
        raise
    except Exception:  # on a broken stream of instructions torch's unpickler lets through whatever Python raised
        raise UserError("unreadable", f"torch cannot read the archive: {_WAY_OUT}") from None


def _tensors(loaded: Any, file_bytes: int) -> dict[str, Tensor]:
    for wrapper in WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not isinstance(loaded, dict) or not loaded:
        raise UserError("unreadable", f"expected a state_dict (names to tensors), found another object: {_WAY_OUT}")
    for name, value in loaded.items():
        if not isinstance(name, str) or not NAME.match(name):
            raise UserError("unreadable", "a parameter's name must be letters, digits, `_`, `-` and dots")
        if not isinstance(value, Tensor):
            raise UserError("unreadable", f"`{name}` is no tensor: {_WAY_OUT}")
        _check_dense(name, value)
    told = sum(value.numel() * value.element_size() for value in loaded.values())
    if told > MOST_SHARING * file_bytes:
        raise UserError("unreadable", f"the tensors together claim {told} bytes in a file of {file_bytes}")
    return {name: value.detach().clone().contiguous() for name, value in loaded.items()}


def _check_dense(name: str, value: Tensor) -> None:
    strange = value.layout != torch.strided or value.is_nested or value.is_quantized or value.is_complex()
    if strange or value.device.type != "cpu":
        raise UserError(
            "unreadable", f"`{name}` is sparse, nested, quantised, complex or empty (meta): only dense numbers are read"
        )
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise UserError("unreadable", f"`{name}` claims more numbers than the file holds for it")


def convert_state_dict(path: Path, target: Path) -> None:
    """Write the tensors of a state_dict as safetensors, under their own names.

    Raises UserError `code_carrying_format` or `unreadable`.
    """
    _check_archive(path)
    save_file(_tensors(_load(path), path.stat().st_size), target)
