"""`stillhouse.AsyncClient`."""

from types import TracebackType
from typing import Self

from stillhouse.aio.datasets import AsyncDatasets
from stillhouse.aio.jobs import AsyncJobs
from stillhouse.aio.models import AsyncModels
from stillhouse.drivers import AsyncDriver
from stillhouse.flows import resources
from stillhouse.flows.sending import Retries
from stillhouse.session import Session, checked_timeout, retries_of
from stillhouse.settings import login


class AsyncClient:
    """A client of a Stillhouse service, for asyncio.

    `url` and `key` are, where they are left out, those of STILLHOUSE_URL and STILLHOUSE_KEY, or what `stillhouse login`
    stored. `timeout`: seconds to wait for a connection, and for an answer beyond the time that a call is known to take.
    `retries`: how often a failed request is repeated. `progress`: whether waits and transfers show a bar; when left
    out, in terminals and notebooks. Files are read, written and hashed in the thread of the event loop. Close it, or
    use it in an `async with` block.
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
        self._session = Session(AsyncDriver(chosen, checked_timeout(timeout)), retries_of(retries), progress)
        self.models = AsyncModels(self._session)
        self.datasets = AsyncDatasets(self._session)
        self.jobs = AsyncJobs(self._session)

    async def check(self) -> None:
        """Check that the service is there and takes the key. Raises ConnectionFailed, NotStillhouse, Unauthorized."""
        await self._session.driver.run(resources.checked_access(self._session.retries))

    async def close(self) -> None:
        """Close its connections."""
        await self._session.driver.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"
