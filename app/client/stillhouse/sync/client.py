"""`stillhouse.Client`."""

from types import TracebackType
from typing import Self

from stillhouse.drivers import SyncDriver
from stillhouse.flows import resources
from stillhouse.flows.sending import Retries
from stillhouse.session import Session, checked_timeout, retries_of
from stillhouse.settings import login
from stillhouse.sync.datasets import Datasets
from stillhouse.sync.jobs import Jobs
from stillhouse.sync.models import Models


class Client:
    """A client of a Stillhouse service.

    `url` and `key` are, where they are left out, those of STILLHOUSE_URL and STILLHOUSE_KEY, or what `stillhouse login`
    stored. `timeout`: seconds to wait for a connection, and for an answer beyond the time that a call is known to take.
    `retries`: how often a failed request is repeated. `progress`: whether waits and transfers show a bar; when left
    out, in terminals and notebooks. Close it, or use it in a `with` block. Its objects may be used by several threads.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout: float = 30.0,
        retries: int | Retries = 6,
        progress: bool | None = None,
    ) -> None:
        chosen = login(url, key)
        self.url = chosen.url
        self._session = Session(SyncDriver(chosen, checked_timeout(timeout)), retries_of(retries), progress)
        self.models = Models(self._session)
        self.datasets = Datasets(self._session)
        self.jobs = Jobs(self._session)

    def check(self) -> None:
        """Check that the service is there and takes the key. Raises ConnectionFailed, NotStillhouse, Unauthorized."""
        self._session.driver.run(resources.checked_access(self._session.retries))

    def close(self) -> None:
        """Close its connections."""
        self._session.driver.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"
