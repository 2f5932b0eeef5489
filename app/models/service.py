"""Models: row and formats for `app.resources`, and the weights and layers of a model."""

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import TypeAdapter

from app.access import limits
from app.access.waiting import until
from app.contracts.resources.facts import FileRole, Layer
from app.contracts.resources.manifests import ModelManifest
from app.contracts.specs.jobs import ExportJob
from app.contracts.specs.quantization import Export
from app.contracts.states import TERMINAL, JobState
from app.db.rows import FileRow, JobRow, ModelRow
from app.http.errors import Conflict, NotFound
from app.http.files import ServedFile, blob
from app.http.services import Caller, Services
from app.models.schemas import Layers, Model, model_view
from app.queue.records import NewJob
from app.resources import repository
from app.resources import service as resources
from app.resources.formats import HUGGINGFACE_FOLDER
from app.resources.kinds import ResourceKind

WeightsFormat = Literal["safetensors", "onnx", "int8", "fp16"]
_GRAPHS: Final[tuple[WeightsFormat, ...]] = ("onnx", "int8", "fp16")

_SUFFIXES: Final[Mapping[str, str]] = {
    "safetensors": ".safetensors",
    "onnx": ".onnx",
    "int8": ".int8.onnx",
    "fp16": ".fp16.onnx",
}
"""Of the names under which files are served, by format."""


def _row(manifest: ModelManifest) -> ModelRow:
    document = manifest.model_dump(mode="json")
    return ModelRow(name=manifest.name, state="verifying", format=manifest.format, manifest=document, source="upload")


def _role(manifest: ModelManifest) -> FileRole:
    """A state_dict is an `original`: the inspection replaces it by converted weights."""
    roles: dict[str, FileRole] = {
        "safetensors": "weights",
        "state_dict": "original",
        "huggingface": "original",
        "onnx": "onnx",
    }
    return roles[manifest.format]


MODELS: Final[ResourceKind[ModelRow, ModelManifest, Model]] = ResourceKind(
    noun="model",
    prefix="mdl",
    row=ModelRow,
    new_row=_row,
    manifest=TypeAdapter(ModelManifest),
    formats={
        "safetensors": "safetensors",
        "state_dict": "state_dict",
        "onnx": None,
        "huggingface": HUGGINGFACE_FOLDER,
    },
    role=_role,
    view=model_view,
)


async def weights(
    services: Services, caller: Caller, identity: str, fmt: WeightsFormat | None, wait: float = 0.0
) -> ServedFile:
    """The weights of a ready model, in its own format or in the requested one.

    With `wait` a model of a family is exported if it lacks the file. Raises NotFound, Conflict.
    """
    row = resources.require_ready(MODELS, await resources.get(MODELS, services, caller, identity))
    file = _weights_file(row.files, fmt)
    if file is None and fmt in ("onnx", "fp16") and wait > 0.0:
        await export_and_wait(services, caller, row.id, fmt, wait)
        row = await resources.get(MODELS, services, caller, identity)
        file = _weights_file(row.files, fmt)
    if file is None:
        have = sorted({_format(each) for each in row.files})
        raise NotFound(
            "no_such_format",
            f"this model has no {fmt or 'weights'} file: its formats are {have}; {_way_to(fmt, row.id)}",
        )
    return blob(services, f"{row.id}{_SUFFIXES[_format(file)]}", file.bytes, file.sha256)


async def export_and_wait(services: Services, caller: Caller, identity: str, fmt: Export, wait: float) -> None:
    """Export a model, and wait for the end, or until model or job is deleted. Raises Conflict if it takes longer or
    fails.
    """
    spec = ExportJob(model=identity, format=fmt)
    new = NewJob(spec=spec, project_id=caller.project_id, key_id=caller.key_id, threads=services.settings.threads)
    async with services.database.write() as session:
        await limits.admit_job(services, caller, session)
        if await repository.find(session, ModelRow, caller.project_id, identity, lock=True) is None:
            return
        job_id = (await services.ledger.export(session, new)).id

    async def load() -> JobRow | None:
        async with services.database.read() as session:
            return await session.get(JobRow, job_id)

    with limits.counted_wait(services, caller, wait):
        job = await until(services, caller, job_id, wait, load, lambda row: row is None or row.state in TERMINAL)
    if job is not None and job.state is not JobState.SUCCEEDED:
        why = f": {job.error['message']}" if job.error else ""
        raise Conflict("not_exported", f"its export {job_id} is {job.state.value}{why}: `GET /v1/jobs/{job_id}` has it")


def _way_to(fmt: WeightsFormat | None, identity: str) -> str:
    if fmt not in _GRAPHS:
        return "leave `format` out to get the one that it has"
    if fmt == "int8":
        return f'`POST /v1/models/{identity}/exports` with `{{"format": "int8", "dataset": "ds_…"}}` makes one'
    return (
        f'`POST /v1/models/{identity}/exports` with `{{"format": "{fmt}"}}` makes one, and '
        f"`?format={fmt}&wait=60` here makes it and waits for it"
    )


def _format(file: FileRow) -> str:
    return file.role if file.role in _GRAPHS else "safetensors"


def _weights_file(files: list[FileRow], fmt: WeightsFormat | None) -> FileRow | None:
    served = [file for file in files if file.role in ("weights", *_GRAPHS)]
    return next((file for file in served if fmt is None or _format(file) == fmt), None)


async def layers(services: Services, caller: Caller, identity: str) -> Layers:
    """The layers of a ready model. Raises NotFound, Conflict."""
    row = resources.require_ready(MODELS, await resources.get(MODELS, services, caller, identity))
    stored = (row.facts or {}).get("layers") or []
    return Layers(data=tuple(Layer.model_validate(layer) for layer in stored))
