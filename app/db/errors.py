"""What can go wrong between this process and its database."""


class DatabaseUnavailable(Exception):
    """The database does not answer, or not in time; the same call may work a little later.

    Raised by `Database.read` and `Database.write` in place of the driver's own errors. A commit that breaks off
    this way was not done, if it has a witness and the database came back in time (`commits`); else it may have been:
    repeat it with the same idempotency key, or the same claim.
    """

    def __init__(self, reason: str, retry_after: float = 2.0) -> None:
        super().__init__(f"the database is not available: {reason}; try again in {retry_after:g} s")
        self.reason = reason
        self.retry_after = retry_after


class UnsupportedDatabase(ValueError):
    """The URL names a database that Stillhouse does not run on."""
