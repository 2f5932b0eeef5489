"""One loaded model that answers requests one after the other."""

import traceback
from collections.abc import Mapping
from pathlib import Path

from app.contracts.problems import UserError
from app.contracts.resources.facts import ModelFacts
from app.contracts.resources.manifests import DatasetManifest
from app.contracts.wire.predictions import Reply, SessionOrder
from workers.engine.data.formats.common import Array
from workers.engine.data.tables.columns import named_columns
from workers.engine.serving.answers import prediction
from workers.engine.serving.models import AnsweringModel, Taught, UploadedGraph, exported
from workers.engine.serving.rows.documents import read_json, read_jsonl
from workers.engine.serving.rows.encoded import read_archive, read_file
from workers.engine.serving.rows.errors import RowErrors, at
from workers.engine.serving.rows.files import read_arrays_of_npz, read_csv
from workers.engine.serving.rows.forms import InputForm, session_forms
from workers.engine.serving.rows.texts import RequestTokenizers


class ServingSession:
    """`answer` maps the body of a request to a reply and, with status 200, a `Prediction` in JSON."""

    def __init__(
        self, identity: str, model: AnsweringModel, forms: Mapping[str, InputForm], order: SessionOrder, folder: Path
    ) -> None:
        self._identity = identity
        self._model = model
        self._forms = forms
        self._tokenizers = RequestTokenizers(forms, order.tokenizers)
        self._dataset = order.dataset
        self._known = _other_columns(order.dataset)
        self._body = folder / "body"

    def answer(self, kind: str, body: bytes) -> tuple[Reply, bytes]:
        """Answer one request; errors are replies too."""
        try:
            rows = self._tokenizers.ids(self._read(kind, body))
            answers = self._model.answer(rows)
            tokens = self._tokenizers.places(rows, self._forms)
            return Reply(status=200), prediction(self._identity, self._model.outputs, answers, tokens)
        except RowErrors as error:
            first = error.problems[0]
            return Reply(status=422, code=first.code, detail=first.detail, errors=tuple(error.problems)), b""
        except UserError as error:
            return Reply(status=422, code=error.code, detail=error.message), b""
        except Exception:
            traceback.print_exc()
            detail = "the model failed on these rows: send fewer or other rows; the log of the worker says more"
            return Reply(status=503, code="prediction_failed", detail=detail), b""
        finally:
            self._body.unlink(missing_ok=True)

    def _read(self, kind: str, body: bytes) -> dict[str, Array]:
        if kind not in ("image", "sound", "archive") and any(form.files_alone for form in self._forms.values()):
            message = (
                "expected files, which this teacher reads by a form of its own, found rows: send image or sound files"
            )
            raise at("", "wrong_type", message)
        if kind == "json":
            return read_json(body, self._forms, self._known)
        if kind == "jsonl":
            return read_jsonl(body, self._forms)
        if kind in ("image", "sound"):
            return read_file(body, kind, self._forms)
        self._body.write_bytes(body)
        if kind == "archive":
            return read_archive(self._body, self._forms)
        if kind == "csv":
            return read_csv(self._body, self._forms, None if self._dataset is None else self._dataset.csv)
        return read_arrays_of_npz(self._body, self._forms)


def open_session(order: SessionOrder, folder: Path) -> ServingSession | Reply:
    """Load the model of an order; the error where it cannot answer."""
    facts = order.rows_of or order.model.facts
    assert facts is not None, "only ready models answer"
    try:
        model = _model(order, facts, folder)
    except UserError as error:
        return Reply(status=409, code=error.code, detail=error.message)
    except (MemoryError, OSError):
        raise  # of the machine, not of the model
    except Exception as error:  # ONNX Runtime's own errors share no base class but Exception
        traceback.print_exc()
        return Reply(status=409, code="model_not_loaded", detail=_not_loaded(order, error))
    return ServingSession(order.model.id, model, session_forms(order), order, folder)


def _not_loaded(order: SessionOrder, error: Exception) -> str:
    message = str(error)
    for path in order.inputs():
        message = message.replace(str(path), "it")
    found = message.partition("\n")[0][:300]
    return f"expected a model that this worker can load, found: {found}: upload it again, or export it anew"


def _model(order: SessionOrder, facts: ModelFacts, folder: Path) -> AnsweringModel:
    if order.rows_of is not None:
        return Taught(order.model, facts, order.taught, order.dataset, order.threads)
    if facts.architecture is None:
        return UploadedGraph(order.model, order.threads)
    return exported(order.model, order.graph, folder, order.threads)


def _other_columns(dataset: DatasetManifest | None) -> frozenset[str]:
    """The columns of a dataset's file beside its inputs: rows that are copied from it have them."""
    if dataset is None:
        return frozenset()
    return frozenset(named_columns(dataset))
