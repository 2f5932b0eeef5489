"""The `inspect` job: the facts of an upload, or a rejection with its reason."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, assert_never

from app.contracts.problems import Rejection, UserError
from app.contracts.resources.manifests import ModelManifest
from app.contracts.resources.preview import PREVIEW_ROWS
from app.contracts.specs.jobs import InspectJob
from app.contracts.wire.events import ChildEvent, PhaseEvent
from app.contracts.wire.orders import DatasetFileRole, DatasetInput, InspectionOutcome, ModelInput, Order, OutputFile
from workers.engine.common.files import sha256_of
from workers.engine.common.memory import is_out_of_memory
from workers.engine.common.row_storage import RowStorage
from workers.engine.data.facts import facts_of
from workers.engine.data.reading import read_dataset
from workers.engine.data.texts.tokenizer import FILE_NAME as TOKENIZER
from workers.engine.jobs.inspection.family_models import inspect_family_model
from workers.engine.jobs.inspection.forms import check_form
from workers.engine.jobs.inspection.huggingface.convert import convert_folder
from workers.engine.jobs.inspection.library_trunks import measured, measured_manifest
from workers.engine.jobs.inspection.onnx_models import CONVERTED as CONVERTED_GRAPH
from workers.engine.jobs.inspection.onnx_models import inspect_onnx_model
from workers.engine.jobs.inspection.predictions import inspect_predictions
from workers.engine.jobs.inspection.preview import preview_of
from workers.engine.jobs.inspection.state_dict import convert_state_dict
from workers.engine.models.ignored import check_ignored
from workers.engine.models.parameter_names import matched
from workers.engine.models.safetensors_header import read_header

CONVERTED = "converted.safetensors"
PREVIEW = "preview.json"
_MAX_CHARACTERS = 2000


def printable(message: str) -> str:
    """A message that may quote the file, truncated, with unprintable characters (lone surrogates, NUL) escaped."""
    characters = (
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in message[:_MAX_CHARACTERS]
    )
    return "".join(characters)


def inspect(order: Order, emit: Callable[[ChildEvent], None]) -> InspectionOutcome:
    """Inspect the model or dataset of an order, or measure a network. A rejection is an outcome, not a UserError."""
    emit(PhaseEvent(phase="inspecting"))
    try:
        if isinstance(order.spec, InspectJob) and order.spec.network is not None:
            return InspectionOutcome(network=measured(order.spec.network))
        for model in order.models.values():
            return _model(model, Path(order.attempt_dir) / "outputs")
        for predictions in order.predictions.values():
            return InspectionOutcome(dataset=inspect_predictions(predictions, order.datasets))
        dataset = next(iter(order.datasets.values()))
        return _dataset(dataset, RowStorage.of(order, dataset), Path(order.attempt_dir) / "outputs")
    except UserError as error:
        return InspectionOutcome(rejection=Rejection(code=error.code, message=printable(error.message)))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        message = "reading the file needs more memory than an inspection may use"
        return InspectionOutcome(rejection=Rejection(code="too_large", message=message))


def _model(model: ModelInput, outputs: Path) -> InspectionOutcome:
    found = _by_format(model, outputs)
    assert found.model is not None, "what is wrong with a file is raised"
    check_form(found.model)
    return found


def _by_format(model: ModelInput, outputs: Path) -> InspectionOutcome:
    path, manifest = Path(model.path), measured_manifest(model.manifest)
    match manifest.format:
        case "onnx":
            return _graph(path, manifest, outputs)
        case "safetensors":
            check_ignored(read_header(path), manifest.ignore)
            return InspectionOutcome(model=inspect_family_model(path, manifest))
        case "state_dict":
            return _converted(path, manifest, outputs)
        case "huggingface":
            return _of_folder(path, manifest, outputs)
        case _:
            assert_never(manifest.format)


def _graph(path: Path, manifest: ModelManifest, outputs: Path) -> InspectionOutcome:
    facts = inspect_onnx_model(path, manifest, outputs)
    converted = outputs / CONVERTED_GRAPH
    return InspectionOutcome(model=facts, files=(_file(converted),) if converted.exists() else ())


def _of_folder(path: Path, manifest: ModelManifest, outputs: Path) -> InspectionOutcome:
    outputs.mkdir(parents=True, exist_ok=True)
    converted = outputs / CONVERTED
    found = convert_folder(path, converted, manifest)
    facts = inspect_family_model(converted, measured_manifest(found.manifest))
    facts = facts.model_copy(update={"warnings": found.notes + facts.warnings})
    files = [_file(converted)]
    if found.tokenizer is not None:
        (outputs / TOKENIZER).write_bytes(found.tokenizer)
        files.append(_file(outputs / TOKENIZER, "tokenizer"))
    return InspectionOutcome(model=facts, files=tuple(files))


def _file(path: Path, role: Literal["converted"] | DatasetFileRole = "converted") -> OutputFile:
    return OutputFile(role=role, path=path.name, bytes=path.stat().st_size, sha256=sha256_of(path))


def _converted(path: Path, manifest: ModelManifest, outputs: Path) -> InspectionOutcome:
    outputs.mkdir(parents=True, exist_ok=True)
    converted = outputs / CONVERTED
    architecture = manifest.architecture
    assert architecture is not None

    def fits(names: Iterable[str]) -> bool:
        return matched(list(names), manifest, architecture).mismatches == 0

    notes = convert_state_dict(path, converted, manifest.key, fits, manifest.ignore or ())
    facts = inspect_family_model(converted, manifest)
    facts = facts.model_copy(update={"warnings": notes + facts.warnings})
    return InspectionOutcome(model=facts, files=(_file(converted),))


def _dataset(dataset: DatasetInput, storage: RowStorage, outputs: Path) -> InspectionOutcome:
    rows = read_dataset(dataset.parts, dataset.manifest, storage=storage, preview=PREVIEW_ROWS)
    facts = facts_of(rows, dataset.manifest)
    outputs.mkdir(parents=True, exist_ok=True)
    for name, content in rows.tokenizers.items():
        (outputs / f"{name}.{TOKENIZER}").write_bytes(content)
    (outputs / PREVIEW).write_text(preview_of(rows, dataset.manifest).model_dump_json())
    files = [_file(outputs / f"{name}.{TOKENIZER}", "tokenizer") for name in rows.tokenizers]
    files.append(_file(outputs / PREVIEW, "preview"))
    return InspectionOutcome(dataset=facts.model_copy(update={"sha256": dataset.sha256}), files=tuple(files))
