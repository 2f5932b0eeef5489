"""Errors of the database connection."""


class DatabaseUnavailable(Exception):
    """The database does not answer, or not in time; the same call may succeed later.

    Raised by `read`, `fetch`, `write`, `transact` and `together` of `Database` instead of the driver's errors. A commit
    that fails this way was not done if it has a commit check and the database came back in time (`commits`). Otherwise
    it may have been done: repeat it with the same idempotency key, or the same claim.
    """

    def __init__(self, reason: str, retry_after: float = 2.0) -> None:
        super().__init__(f"the database is not available: {reason}; try again in {retry_after:g} s")
        self.reason = reason
        self.retry_after = retry_after


class DatabaseFull(DatabaseUnavailable):
    """The disk of the database has no room for a change; nothing was changed. Reading goes on. `detail`: without the
    path, for clients.
    """

    def __init__(self, disk: str, reason: str) -> None:
        super().__init__(reason)
        self.detail = (
            "the disk of the service's database is full, so nothing can be changed or deleted: free space on it "
            "from outside, or give the service a larger one, then send the same request again"
        )
        self.args = (
            f"the disk of the database is full ({disk}: {reason}): free space on it from outside, or give it a larger "
            "one, then try again",
        )


class UnsupportedDatabase(ValueError):
    """The URL is not that of a supported database."""
