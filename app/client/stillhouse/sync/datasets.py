"""Datasets, and `client.datasets`."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Self

from stillhouse.documents import DatasetFields
from stillhouse.drivers import SyncDriver
from stillhouse.flows import resources
from stillhouse.flows.steps import JSON
from stillhouse.flows.uploads import uploaded
from stillhouse.session import Session
from stillhouse.sources.datasets import Source, upload_of_dataset
from stillhouse.sources.upload import Fields, Wishes
from stillhouse.specs import Reference, identity

_KIND = "datasets"


class Dataset(DatasetFields):
    """A dataset of the service."""

    def __init__(self, json: JSON, session: Session[SyncDriver]) -> None:
        super().__init__(json)
        self._session = session

    @property
    def _path(self) -> str:
        return f"/v1/datasets/{self.id}"

    def refresh(self) -> Self:
        """Read it again."""
        self.json = self._session.driver.run(resources.get(self._path, self._session.retries))
        return self

    def wait(self, timeout: float | None = None) -> Self:
        """Wait until its inspection has ended. Raises Rejected, Timeout."""
        flow = resources.inspected(_KIND, self.id, self._session.retries, timeout)
        self.json = self._session.driver.run(flow)
        return self

    def update(self, **fields: Any) -> Self:
        """Replace fields of the manifest of a rejected upload, which is then inspected again."""
        flow = resources.changed("PATCH", self._path, fields, self._session.retries)
        self.json = self._session.driver.run(flow)
        return self

    def delete(self) -> None:
        """Delete it. Refused while a job that has not ended needs it."""
        self._session.driver.run(resources.deleted(self._path, self._session.retries))


class Datasets:
    """`client.datasets`."""

    def __init__(self, session: Session[SyncDriver]) -> None:
        self._session = session

    def upload(
        self,
        source: Source,
        *,
        name: str | None = None,
        format: str | None = None,
        inputs: Fields | None = None,
        targets: Fields | None = None,
        splits: str | Mapping[str, Any] | None = None,
        manifest: Mapping[str, Any] | None = None,
        wait: bool = True,
        timeout: float | None = None,
        progress: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Dataset:
        """Upload a dataset; with `wait`, until it is ready. Raises Unreadable, Rejected, Timeout.

        `source`: the path of a csv, jsonl, parquet or npz file, of a zip, tar or folder of images or sounds, several
        files of one format, a binary file, numpy arrays by name, or a pandas frame. `inputs` and `targets`: their
        names, or what is known of each, as in a manifest; of arrays and frames the rest is inferred, and `inputs`,
        `targets` and `dealt` of the dataset say what came of it. `splits`: the name of a column, or as in a manifest.
        `manifest` replaces fields of the manifest.

        The service takes an upload in one request: if the connection breaks, it is sent again from its beginning, with
        the same Idempotency-Key.
        """
        wishes = Wishes(name, format, inputs, targets, splits, manifest or {})
        upload = upload_of_dataset(source, wishes)
        shown = self._session.shows(progress)
        flow = uploaded(
            _KIND, upload, self._session.retries, key=idempotency_key, wait=wait, timeout=timeout, progress=shown
        )
        return Dataset(self._session.driver.run(flow), self._session)

    def get(self, dataset: Reference) -> Dataset:
        """A dataset by its id."""
        flow = resources.get(f"/v1/datasets/{identity(dataset)}", self._session.retries)
        return Dataset(self._session.driver.run(flow), self._session)

    def list(
        self, *, state: str | None = None, format: str | None = None, limit: int | None = None
    ) -> Iterator[Dataset]:
        """Datasets, newest first, read page by page; at most `limit`."""
        params, made = {"state": state, "format": format}, partial(Dataset, session=self._session)
        flow = resources.listed("/v1/datasets", self._session.retries, made, limit, params)
        return self._session.driver.iterate(flow)

    def delete(self, dataset: Reference) -> None:
        """Delete a dataset by its id."""
        self._session.driver.run(resources.deleted(f"/v1/datasets/{identity(dataset)}", self._session.retries))
