"""Atomic files and folders: written under a temporary name, synced, then renamed to their final path. Reading verifies
the SHA-256 digests; a damaged file counts as missing.
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
from app.contracts.wire.orders import TEMPORARY_PREFIX

MANIFEST = "manifest.json"
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OS_ERROR = re.compile(r"\(os error (\d+)\)")


def is_disk_full(error: BaseException) -> bool:
    """Whether a write failed for lack of space: a full disk, a quota, or the process's file size limit."""
    return isinstance(error, OSError) and error.errno in _DISK_FULL


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write host tensors as safetensors. Raises OSError with its errno, which safetensors only has in its message."""
    try:
        save_file({name: value.contiguous() for name, value in tensors.items()}, path, metadata=metadata)
    except SafetensorError as error:
        match = _OS_ERROR.search(str(error))
        if match is None:
            raise
        raise OSError(int(match[1]), os.strerror(int(match[1])), str(path)) from error


@contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """An empty folder at `folder`, which replaces a stale one; removed again if the block raises.

    A retry starts from an empty folder: data that failed to sync may still look written.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def sync(path: Path) -> None:
    """Flush a file or folder to disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def commit_folder(temporary: Path, final: Path, facts: dict[str, Any]) -> str:
    """Write a manifest (`facts`, sizes and digests of the files) into a temporary folder and rename it to `final`.

    Returns the manifest's SHA-256. An intact folder at `final`, committed by another process, is kept and the temporary
    one is removed; a damaged folder at `final` is replaced.
    """
    paths = sorted(temporary.iterdir())
    files = {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in paths}
    for path in paths:
        sync(path)
    manifest = temporary / MANIFEST
    body = {**facts, "files": files}
    manifest.write_text(json.dumps({**body, "digest": digest_of(body)}, sort_keys=True))
    digest = sha256_of(manifest)
    sync(manifest)
    sync(temporary)
    if final.exists() and verified_manifest(final) is None:
        shutil.rmtree(final)
    try:
        temporary.rename(final)
    except OSError:
        if not final.is_dir():
            raise
        shutil.rmtree(temporary)
        return sha256_of(final / MANIFEST)
    sync(final.parent)
    return digest


def verified_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a committed folder; None where the folder is missing, or a file's size or digest differs."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        if manifest.pop("digest") != digest_of(manifest):
            return None
        for name, expected in manifest["files"].items():
            file = folder / name
            if file.stat().st_size != expected["bytes"] or sha256_of(file) != expected["sha256"]:
                return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return manifest


def mark_used(entry: Path) -> None:
    """Note that a file, or a committed folder, is used now, as its modification time or that of its manifest. A job may
    not set times (they are denied to it, because it could set those of any file of the user), so the first byte is
    written again.
    """
    with _dated(entry).open("r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(first)


def last_use(entry: Path) -> float:
    """When a file or folder was last marked as used; 0 for stale temporary folders and remains of removed entries."""
    try:
        return _dated(entry).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _dated(entry: Path) -> Path:
    return entry / MANIFEST if entry.is_dir() else entry


def write_document(path: Path, content: Any) -> None:
    """Write `content` as JSON with its digest, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}")
    document = {"content": content, "digest": digest_of(content)}
    temporary.write_text(json.dumps(document, sort_keys=True, allow_nan=False))
    sync(temporary)
    temporary.rename(path)
    sync(path.parent)


def read_document(path: Path) -> Any | None:
    """The content that `write_document` wrote; None where the file is missing or damaged."""
    try:
        document = json.loads(path.read_bytes())
        content = document["content"]
        return content if set(document) == {"content", "digest"} and document["digest"] == digest_of(content) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
