"""Errors of the storage."""


class StorageError(Exception):
    """Base of the errors below."""


class BlobMissing(StorageError):
    """The store does not have this blob."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"the store has no blob {sha256}: it was removed from the disk or bucket from outside")
        self.sha256 = sha256


class StorageFull(StorageError):
    """There is no space; a 507."""

    def __init__(self, wanted: int | None = None, free: int | None = None) -> None:
        found = "" if wanted is None or free is None else f": {wanted} bytes wanted, {max(free, 0)} free"
        super().__init__(
            f"the disk of the service's files is full{found}: delete models or datasets, or give the service a "
            "larger disk"
        )
        self.wanted = wanted
        self.free = free


class StorageUnavailable(StorageError):
    """The remote store does not answer; the same call may succeed later."""


class UnusableStore(StorageError):
    """The setting names no store that this process can open."""


class TooLarge(StorageError):
    """An upload is larger than allowed; a 413."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"expected at most {limit} bytes, found more: send less or raise the service's limit")
        self.limit = limit
