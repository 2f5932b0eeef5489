"""Conversion of PyTorch state_dicts to safetensors without executing code.

Files are loaded by `torch.load(weights_only=True)` only, with classes of our own in place of those that it refuses
(`unread`). Before, the archive is checked: a zip whose members are
stored, not compressed, so that reading cannot inflate them, and no TorchScript. After, every tensor must be dense and
within its storage, so that a small file cannot declare a large tensor.
"""

import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from app.contracts.problems import UserError
from workers.engine.data.formats.common import ZIP_DAMAGES
from workers.engine.jobs.inspection.checkpoint import Fits, Notes, state_dict_of
from workers.engine.jobs.inspection.unread import ADVICE, Form, carries, other_form, stand_ins
from workers.engine.models.ignored import check_ignored, ignored, ignored_notes
from workers.engine.models.safetensors_header import NAME

MAX_MEMBERS = 60_000
MAX_SHARING = 64
"""How often the bytes of a file are written at most: a layer that a network uses several times has several names."""
MAX_WRITTEN = 1 << 30
"""Largest number of bytes that are written where they are more than twice those of the file."""
MAX_FORMS = 8
"""How many subclasses of dict and list are found out, each by reading the file again."""


def _check_archive(path: Path) -> None:
    try:
        if not zipfile.is_zipfile(path):
            raise UserError(
                "code_carrying_format",
                f"expected a zip archive of torch.save, found another file (a bare pickle?): {ADVICE}",
            )
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except ZIP_DAMAGES:
        raise UserError("unreadable", f"the archive is damaged: {ADVICE}") from None
    if len(members) > MAX_MEMBERS:
        raise UserError("unreadable", f"{len(members)} members in the archive, {MAX_MEMBERS} at most: {ADVICE}")
    names = [member.filename for member in members]
    if any(name.endswith("constants.pkl") or "/code/" in f"/{name}" for name in names):
        raise UserError("code_carrying_format", f"this is TorchScript, which carries code: {ADVICE}")
    if any("/models/" in f"/{name}" or name.endswith("archive_format") for name in names):
        raise UserError("code_carrying_format", f"this is a torch.export archive, which carries code: {ADVICE}")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise UserError("unreadable", "the archive's members must be stored, not compressed: torch.save writes them so")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise UserError("unreadable", "the archive claims more bytes than the file has: send it again")


_GLOBAL = re.compile(r"GLOBAL ([\w.]{1,200}) (?:was not an allowed global|whose module)")
"""The name of what torch refuses to load."""


def _load(path: Path) -> Any:
    """What the file holds. Raises UserError `code_carrying_format`, `unreadable`."""
    forms: dict[str, Form] = {}
    while True:
        try:
            return _loaded(path, forms)
        except pickle.UnpicklingError as error:
            other = other_form(str(error))
            if other is None or other[0] in forms or len(forms) == MAX_FORMS:
                refused = _GLOBAL.search(str(error))
                raise carries(refused[1] if refused else None) from None
            forms |= dict([other])


def _unknown_names(path: Path) -> list[str]:
    """The classes and functions of the file that torch does not read; none where it refuses the file for its form."""
    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except pickle.UnpicklingError:
        return []


def _loaded(path: Path, forms: Mapping[str, Form]) -> Any:
    classes: list[tuple[type, str]] = []
    try:
        classes = stand_ins(_unknown_names(path), forms)
        with torch.serialization.safe_globals(list(classes)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, UserError, MemoryError):
        raise
    except Exception:  # on damaged pickles torch's unpickler lets through any exception
        if classes:  # such as a subclass of Tensor
            raise carries(classes[0][1]) from None
        raise UserError("unreadable", f"torch cannot read the archive: {ADVICE}") from None


def _copied(tensors: dict[str, Tensor], file_bytes: int) -> dict[str, Tensor]:
    for name, value in tensors.items():
        if not NAME.match(name):
            raise UserError("unreadable", "a parameter's name must be letters, digits, `_`, `-` and dots: rename it")
        _check_dense(name, value)
    size = sum(value.numel() * value.element_size() for value in tensors.values())
    if size > max(2 * file_bytes, min(MAX_SHARING * file_bytes, MAX_WRITTEN)):
        raise UserError(
            "unreadable",
            f"the tensors together claim {size} bytes in a file of {file_bytes}, as they share their numbers: save "
            "them as `{name: value.clone() for name, value in model.state_dict().items()}`",
        )
    return {name: value.detach().clone().contiguous() for name, value in tensors.items()}


def _check_dense(name: str, value: Tensor) -> None:
    unsupported = value.layout != torch.strided or value.is_nested or value.is_quantized or value.is_complex()
    if unsupported or value.device.type != "cpu":
        raise UserError(
            "unreadable", f"`{name}` is sparse, nested, quantised, complex or empty (meta): only dense numbers are read"
        )
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise UserError("unreadable", f"`{name}` claims more numbers than the file has for it: {ADVICE}")


def convert_state_dict(
    path: Path, target: Path, key: str | None = None, fits: Fits = lambda _: False, ignore: Sequence[str] = ()
) -> Notes:
    """Write the tensors of a checkpoint's state_dict as safetensors, with the same names, without those to `ignore`.

    `key` names it among several, and `fits` says whether names are those of the architecture (`checkpoint`). Returns
    what is to be said about the choice. Raises UserError `code_carrying_format`, `unreadable`, `unknown_key`,
    `several_state_dicts` or `bad_ignore`.
    """
    _check_archive(path)
    tensors, notes = state_dict_of(_load(path), key, fits)
    check_ignored(tensors, ignore)
    left = ignored(tensors, ignore)
    kept = {name: value for name, value in tensors.items() if name not in left}
    save_file(_copied(kept, path.stat().st_size), target)
    return notes + ignored_notes(left)
