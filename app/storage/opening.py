"""Opening the blob store at a URL."""

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from obstore.exceptions import BaseError

from app.storage.errors import UnusableStore
from app.storage.local import LocalStore
from app.storage.private import found_instead, require_access
from app.storage.remote import RemoteStore
from app.storage.store import BlobStore

_REMOTE = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss")


_WAY_OUT: Final = "name a folder or a bucket"
_OF_STORE: Final = re.compile(r"[0-9a-f]{2}|lost\+found")
"""Names in the folder of a local store; the second is that of a file system of its own."""


def open_store(url: str | None, data_dir: Path) -> BlobStore:
    """The store at `url`: a path or `file://…` for a local disk, `s3://…`, `gs://…`, `az://…` for a bucket;
    `<data_dir>/blobs` if it is None. Raises UnusableStore, without repeating the URL.
    """
    if url is None:
        return _local(data_dir / "blobs")
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        folder = _path(parts)
        _check_own(folder)
        return _local(folder)
    if parts.scheme in _REMOTE:
        return _remote(url, parts.scheme)
    raise UnusableStore(f"expected a path or a URL with file, s3, gs or az, found {parts.scheme!r}: {_WAY_OUT}")


def _path(parts: SplitResult) -> Path:
    """Of a URL without a host: that of `file://blobs` would be a host without a path."""
    if parts.netloc not in ("", "localhost"):
        raise UnusableStore(
            f"expected a path after `file://`, found the host {parts.hostname!r}: write `file:///blobs`"
        )
    if not parts.path:
        raise UnusableStore(f"expected a path, found none: {_WAY_OUT}")
    return Path(unquote(parts.path))


def _check_own(folder: Path) -> None:
    """A store takes others their access to everything below its folder, which must be its own."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        foreign = next((each.name for each in entries if not _OF_STORE.fullmatch(each.name)), None)
        if foreign is not None:
            raise UnusableStore(
                f"expected a folder for the files alone, found {foreign!r} in {folder}: name an empty folder, or that "
                "of an earlier store"
            )


def _local(folder: Path) -> LocalStore:
    try:
        store = LocalStore(folder)
        require_access(folder)
    except OSError as error:
        raise UnusableStore(
            f"expected a folder for the files at {folder}, found: {found_instead(error)}: create it, or name another"
        ) from None
    return store


def _remote(url: str, scheme: str) -> RemoteStore:
    try:
        return RemoteStore.at(url)
    except (BaseError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0].replace(url, "it")
        raise UnusableStore(
            f"expected a bucket with its credentials in the environment, found: {reason}: {_WAY_OUT}, such as "
            f"`{scheme}://bucket/prefix`"
        ) from None
