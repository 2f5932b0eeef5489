"""Files that are whole or absent: written beside their place, synced, then renamed into it."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

_READ_BYTES = 1 << 20
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
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def publish_folder(draft: Path, place: Path, facts: dict[str, Any]) -> str:
    """Turn a folder of finished files into `place`, with a manifest of their sizes and digests written last.

    Returns the manifest's SHA-256. Where `place` exists already (another process was first) the draft is dropped.
    """
    files = {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in sorted(draft.iterdir())}
    for name in files:
        sync(draft / name)
    manifest = draft / MANIFEST
    manifest.write_text(json.dumps({**facts, "files": files}, sort_keys=True))
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
    """The manifest of a published folder whose files all have their sizes and digests; else None."""
    try:
        manifest: dict[str, Any] = json.loads((place / MANIFEST).read_text())
        for name, told in manifest["files"].items():
            file = place / name
            if file.stat().st_size != told["bytes"] or sha256_of(file) != told["sha256"]:
                return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return manifest
