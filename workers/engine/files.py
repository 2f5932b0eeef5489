"""Files that are whole or absent: written beside their place, synced, then renamed into it."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from app.contracts.base import digest_of

MANIFEST = "manifest.json"


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

    Returns the manifest's SHA-256. Where `place` exists already (another process was first) the draft is dropped.
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


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".draft-{path.name}")
    draft.write_bytes(data)
    sync(draft)
    draft.rename(path)
    sync(path.parent)
