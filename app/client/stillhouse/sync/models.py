"""Models, and `client.models`."""

import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

from stillhouse.documents import ModelFields
from stillhouse.drivers import SyncDriver
from stillhouse.files import download_params, file_name, target_of
from stillhouse.flows import jobs, resources
from stillhouse.flows.downloads import downloaded
from stillhouse.flows.steps import JSON
from stillhouse.flows.uploads import uploaded
from stillhouse.onnx import session_of
from stillhouse.results import Prediction
from stillhouse.session import Session
from stillhouse.sources.networks import Source, upload_of_model
from stillhouse.sources.upload import Fields
from stillhouse.specs import Reference, identity

_KIND = "models"


class Model(ModelFields):
    """A model of the service: uploaded, or the student of a job."""

    def __init__(self, json: JSON, session: Session[SyncDriver]) -> None:
        super().__init__(json)
        self._session = session

    @property
    def _path(self) -> str:
        return f"/v1/models/{self.id}"

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

    def download(
        self, path: str | Path | None = None, *, format: str | None = None, progress: bool | None = None
    ) -> Path:
        """Download it to `path`, a file or a folder (`out/` is made); returns where it is.

        `format`: `safetensors`, `onnx`, `int8`, `fp16`, or `bundle`, a zip with all that is needed to run it; the
        model's own format when left out. A file that is not there yet is made. A broken download goes on where it
        stopped, and its SHA-256 is checked.
        """
        where, params = download_params(self.id, format)
        target = target_of(path, file_name(self, format))
        shown = self._session.shows(progress)
        return self._session.driver.run(downloaded(where, params, target, self._session.retries, progress=shown))

    def load_onnx(self, **options: Any) -> Any:
        """An onnxruntime.InferenceSession of the model; `options` go to it. Needs onnxruntime."""
        with tempfile.TemporaryDirectory() as folder:
            return session_of(self.download(Path(folder) / "model.onnx", format="onnx"), options)

    def predict(self, rows: Any, *, media_type: str | None = None, compare: bool = False) -> Prediction:
        """The model's answers to 1 to 256 rows, as they stand in the dataset's file.

        `rows`: arrays or lists by input (`{"x": …}`), a list of rows by column (`[{"price": 4.5}, …]`) or a frame of
        them, the path of a csv, jsonl, npz, image or sound file, or the bytes of one with its `media_type`. `compare`:
        the teachers of a student answer beside it.
        """
        flow = jobs.predicted(self.id, jobs.Rows.of(rows, media_type), compare, self._session.retries)
        return Prediction(self._session.driver.run(flow))

    def layers(self) -> list[dict[str, Any]]:
        """The layers that a feature term of a distillation can name."""
        found = self._session.driver.run(resources.get(f"{self._path}/layers", self._session.retries))
        return list(found["data"])


class Models:
    """`client.models`."""

    def __init__(self, session: Session[SyncDriver]) -> None:
        self._session = session

    def upload(
        self,
        source: Source,
        *,
        name: str | None = None,
        format: str | None = None,
        architecture: Mapping[str, Any] | None = None,
        outputs: Fields | None = None,
        manifest: Mapping[str, Any] | None = None,
        wait: bool = True,
        timeout: float | None = None,
        progress: bool | None = None,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Model:
        """Upload a model; with `wait`, until it is ready. Raises Unreadable, Rejected, Timeout.

        `source`: the path of a safetensors, state_dict or ONNX file or of a folder of transformers, a binary file, a
        torch module, or its state_dict. `architecture` says the network, except for ONNX, folders, and a
        `torch.nn.Sequential` of linear layers. `outputs`: their names, or what each means; classes when left out.
        Further fields, and `manifest`, are those of the manifest, and replace what was inferred.

        The service takes an upload in one request: if the connection breaks, it is sent again from its beginning, with
        the same Idempotency-Key.
        """
        said = {**(manifest or {}), **fields}
        upload = upload_of_model(
            source, name=name, format=format, architecture=architecture, outputs=outputs, fields=said
        )
        shown = self._session.shows(progress)
        flow = uploaded(
            _KIND, upload, self._session.retries, key=idempotency_key, wait=wait, timeout=timeout, progress=shown
        )
        return Model(self._session.driver.run(flow), self._session)

    def get(self, model: Reference) -> Model:
        """A model by its id."""
        found = self._session.driver.run(resources.get(f"/v1/models/{identity(model)}", self._session.retries))
        return Model(found, self._session)

    def list(self, *, state: str | None = None, format: str | None = None, limit: int | None = None) -> Iterator[Model]:
        """Models, newest first, read page by page; at most `limit`."""
        params = {"state": state, "format": format}
        made = partial(Model, session=self._session)
        return self._session.driver.iterate(resources.listed("/v1/models", self._session.retries, made, limit, params))

    def delete(self, model: Reference) -> None:
        """Delete a model by its id."""
        self._session.driver.run(resources.deleted(f"/v1/models/{identity(model)}", self._session.retries))
