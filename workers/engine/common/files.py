"""Files that are whole or absent: written beside their place, synced, then renamed into it. What is read back is
checked by its digest, down to the last bit: damage is as good as absence.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from app.contracts.base import digest_of

MANIFEST = "manifest.json"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OS_ERROR = re.compile(r"\(os error (\d+)\)")


def is_disk_full(error: BaseException) -> bool:
    """Whether a disk, a quota or the process's own limit had no room."""
    return isinstance(error, OSError) and error.errno in _NO_ROOM


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write host tensors as safetensors. Raises OSError, whose number the library only has in its words."""
    try:
        save_file({name: value.contiguous() for name, value in tensors.items()}, path, metadata=metadata)
    except SafetensorError as error:
        found = _OS_ERROR.search(str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error


@contextmanager
def fresh_draft(folder: Path) -> Iterator[Path]:
    """An empty folder at `folder`, whatever a dead process left there; gone again if the block fails, so that a full
    disk is not filled by halves. After an error nothing of it is used again: what failed to sync may look written.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish_folder(draft: Path, place: Path, facts: dict[str, Any]) -> str:
    """Turn a folder of finished files into `place`, with a manifest of their sizes and digests written last; its
    own digest is in it, so that the facts in it are as safe as the files.

    Returns the manifest's SHA-256. Where `place` is there already and whole (another process was first) the draft is
    dropped; a damaged one makes way.
    """
    files = {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in sorted(draft.iterdir())}
    for name in files:
        sync(draft / name)
    manifest = draft / MANIFEST
    body = {**facts, "files": files}
    manifest.write_text(json.dumps({**body, "digest": digest_of(body)}, sort_keys=True))
    digest = sha256_of(manifest)
    sync(manifest)
    sync(draft)
    if place.exists() and whole_folder(place) is None:
        shutil.rmtree(place)
    try:
        draft.rename(place)
    except OSError:
        if not place.is_dir():
            raise
        shutil.rmtree(draft)
        return sha256_of(place / MANIFEST)
    sync(place.parent)
    return digest


def whole_folder(place: Path) -> dict[str, Any] | None:
    """The manifest of a published folder, where it and all its files have their sizes and digests; else None."""
    try:
        manifest: dict[str, Any] = json.loads((place / MANIFEST).read_text())
        if manifest.pop("digest") != digest_of(manifest):
            return None
        for name, told in manifest["files"].items():
            file = place / name
            if file.stat().st_size != told["bytes"] or sha256_of(file) != told["sha256"]:
                return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return manifest


def write_document(path: Path, content: Any) -> None:
    """Write JSON so that it is there whole or not at all, with its digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".draft-{path.name}")
    draft.write_text(json.dumps({"content": content, "digest": digest_of(content)}, sort_keys=True, allow_nan=False))
    sync(draft)
    draft.rename(path)
    sync(path.parent)


def read_document(path: Path) -> Any | None:
    """What `write_document` wrote; None where it is not there or not whole."""
    try:
        document = json.loads(path.read_bytes())
        content = document["content"]
        return content if set(document) == {"content", "digest"} and document["digest"] == digest_of(content) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
