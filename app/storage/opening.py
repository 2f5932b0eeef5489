"""Opening the blob store at a URL."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.storage.local import LocalStore
from app.storage.remote import RemoteStore
from app.storage.store import BlobStore

_REMOTE = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss")


def open_store(url: str | None, data_dir: Path) -> BlobStore:
    """The store at `url`: a path or `file://…` for a local disk, `s3://…`, `gs://…`, `az://…` for a bucket;
    `<data_dir>/blobs` if it is None. Raises ValueError for other URLs, without repeating them.
    """
    if url is None:
        return LocalStore(data_dir / "blobs")
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        return LocalStore(Path(unquote(parts.path)))
    if parts.scheme in _REMOTE:
        return RemoteStore.at(url)
    raise ValueError(f"expected a path or a URL with file, s3, gs or az, found {parts.scheme!r}")
