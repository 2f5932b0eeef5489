"""A model as clients see it."""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field

from app.contracts.base import Answer, Metadata
from app.contracts.problems import Rejection
from app.contracts.resources.facts import Examples, FileRef, Layer, ModelFacts, OpenShape
from app.contracts.resources.graph_inputs import GraphInput, graph_inputs
from app.contracts.resources.manifests import InputTransform, ModelFormat, OutputSpec
from app.contracts.specs.architectures import Architecture
from app.contracts.states import ModelState
from app.db.rows import FileRow, ModelRow
from app.http.pages import Page


class UploadSource(Answer):
    """The model was uploaded."""

    type: Literal["upload"] = "upload"


class JobSource(Answer):
    """The model was trained here."""

    type: Literal["job"] = "job"
    job: str = Field(description="Id of the job that trained the model.")


class Model(Answer):
    """A model."""

    id: str = Field(description="`mdl_` and a UUIDv7.")
    object: Literal["model"] = "model"
    name: str = Field(description="Name of the model, not necessarily unique.")
    state: ModelState = Field(description="`verifying` while the upload is inspected, then `ready` or `rejected`.")
    rejection: Rejection | None = Field(
        description="Why the inspection rejected the upload; null in every other state."
    )
    format: ModelFormat = Field(description="Format of the upload; `safetensors` for a trained model.")
    files: tuple[FileRef, ...] = Field(description="Stored files of the model.")
    architecture: Architecture | None = Field(description="The network; null for onnx, whose file contains its graph.")
    input_shape: tuple[int, ...] | None = Field(description="Shape of one row; null until it is known.")
    parameters: int | None = Field(description="Number of parameters; null until the inspection has counted them.")
    input_shapes: dict[str, OpenShape] = Field(
        description="Shape of one row of each input, by name; null for a dimension that a graph leaves open. Empty "
        "until known."
    )
    input_types: dict[str, str] = Field(description="Number type of each input of an ONNX graph, by name.")
    graph_inputs: dict[str, str] = Field(
        description="Name of each input in an ONNX graph, by the name of the dataset's input that it is."
    )
    graph_outputs: dict[str, str] = Field(description="Name of each output in an ONNX graph, by the name used here.")
    constants: dict[str, float] = Field(
        description="Inputs of an ONNX graph, by the graph's names, that are filled with one number."
    )
    examples: Examples = Field(
        description="Outputs for three rows of raw numbers: zeros, ones, and a ramp from 0 to below 1 (whole numbers "
        "from 0 on for integer inputs). Compare them with your own. At most 64 numbers a row."
    )
    inputs: dict[str, InputTransform] = Field(
        description="Transform of each raw input before the first layer, by input name; identity for an input that is "
        "not listed."
    )
    raw_inputs: dict[str, GraphInput] = Field(
        description="The rows that the model's ONNX file (`GET /v1/models/{id}/weights?format=onnx`) takes, by input; "
        "empty until known."
    )
    outputs: dict[str, OutputSpec] = Field(description="Meaning of each output, by name.")
    sizes: dict[str, int] = Field(description="Size of each output for one row, by name; empty until known.")
    rename: dict[str, str] = Field(
        description="Parameter prefixes of the uploaded file -> prefixes used here; empty where nothing was renamed."
    )
    warnings: tuple[dict[str, str], ...] = Field(
        default=(),
        description="What the inspection chose or did with the file, each with a stable `code` and a `message`: which "
        "state_dict of several it took, which prefix it left out.",
    )
    source: Annotated[UploadSource | JobSource, Field(discriminator="type")] = Field(
        description="Whether the model was uploaded or trained by a job."
    )
    created_at: AwareDatetime = Field(
        description="When the model was uploaded or registered by its job (RFC 3339, UTC)."
    )
    licence: str | None = Field(description="Licence of the model, as its manifest or job states it; null where not.")
    metadata: Metadata


class Layers(Answer):
    """The names that a feature term may tap."""

    data: tuple[Layer, ...] = Field(description="Layers in forward order.")
    has_more: Literal[False] = False
    next: None = Field(default=None, description="Always null: the list has one page.")


class ModelPage(Page[Model]):
    """A page of models."""


_FROM_FACTS = ("input_shapes", "input_types", "graph_inputs", "graph_outputs", "constants", "examples")


def files_of(rows: list[FileRow]) -> list[dict[str, Any]]:
    """Files as a view holds them."""
    return [{"name": row.name, "role": row.role, "bytes": row.bytes, "sha256": row.sha256} for row in rows]


def model_view(row: ModelRow) -> Model:
    """The view of a row with its files. Fields that only a newer version knows are left out."""
    manifest: dict[str, Any] = row.manifest
    facts: dict[str, Any] = row.facts or {}
    architecture = facts.get("architecture") or manifest.get("architecture")
    known: dict[str, Any] = facts.get("outputs") or {}
    document = {
        "id": row.id,
        "name": row.name,
        "state": row.state,
        "rejection": row.rejection,
        "format": row.format,
        "files": files_of(row.files),
        "architecture": architecture,
        "input_shape": facts.get("input_shape") or (architecture or {}).get("input_shape"),
        "parameters": facts.get("parameters"),
        **{name: facts.get(name) or {} for name in _FROM_FACTS},
        "inputs": facts.get("inputs") or manifest.get("inputs") or {},
        "raw_inputs": graph_inputs(ModelFacts.model_validate(facts, strict=False, extra="ignore")) if facts else {},
        "outputs": {**manifest["outputs"], **{name: found["spec"] for name, found in known.items()}},
        "sizes": {name: found["size"] for name, found in known.items()},
        "rename": manifest.get("rename") or {},
        "warnings": facts.get("warnings") or (),
        "source": {"type": "job", "job": row.source_job_id} if row.source == "job" else {"type": "upload"},
        "created_at": row.created_at,
        "licence": manifest.get("licence"),
        "metadata": manifest.get("metadata") or {},
    }
    return Model.model_validate(document, strict=False, extra="ignore")
