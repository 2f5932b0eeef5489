"""What is read of a `config.json`: checked keys, class names, and the architecture that they describe."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import ValidationError

from app.contracts.problems import UserError, listed
from app.contracts.resources.manifests import ModelInputSpec, OutputSpec
from app.contracts.specs.families.embeddings import Embedding
from app.contracts.specs.families.huggingface_configs import ModelType
from app.contracts.specs.families.library import HuggingFace
from app.contracts.specs.families.sounds import SampleReading
from workers.engine.models.families.library.packages import package

_CODE = ("auto_map", "quantization_config", "backbone_config", "custom_pipelines")
"""Keys of a configuration by which transformers would run or load something else."""
_SAID_ELSEWHERE = (
    "torch_dtype", "dtype", "transformers_version", "architectures", "model_type", "_name_or_path", "num_labels",
)  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """What a folder says beside its weights."""

    architecture: HuggingFace
    inputs: dict[str, ModelInputSpec]
    notes: tuple[dict[str, str], ...] = ()
    tokenizer: bytes | None = None
    """The normalised `tokenizer.json` of a network of texts."""


def check_type(config: Mapping[str, Any]) -> None:
    """Check that the type is one of the list, and that nothing names code. Raises UserError `unsupported_config`."""
    name = config.get("model_type")
    if name not in get_args(ModelType):
        known = ", ".join(get_args(ModelType))
        raise UserError(
            "unsupported_config",
            f"`model_type` of config.json is {str(name)[:100]!r}, expected one of {known}: export other models to ONNX",
        )
    refused = [key for key in _CODE if config.get(key)]
    if refused:
        raise UserError("unsupported_config", f"config.json has {listed(refused)}, which is not read: save without it")


def check_known(config: Mapping[str, Any], name: str, known: Collection[str]) -> None:
    """Check that the type has every key. Raises UserError `unsupported_config`."""
    common = set(package("transformers").PretrainedConfig().to_dict())
    unknown = sorted(set(config) - set(known) - common - {*_SAID_ELSEWHERE})
    if unknown:
        raise UserError(
            "unsupported_config",
            f"config.json has {listed(unknown)}, which this version of transformers does not know for `{name}`: save "
            "the model again by this version",
        )


def network_of(
    name: str,
    config: Mapping[str, Any],
    shape: tuple[Any, ...] | None,
    outputs: Mapping[str, int],
    *,
    tagging: bool = False,
    embedding: Embedding | None = None,
    samples: SampleReading | None = None,
) -> HuggingFace:
    """The architecture. Raises UserError `unsupported_config`, `shape_mismatch`."""
    fields: dict[str, Any] = {"family": "huggingface", "name": name, "config": dict(config), "outputs": dict(outputs)}
    fields |= {"answers": "tokens"} if tagging else {}
    fields |= {} if embedding is None else {"embedding": embedding}
    fields |= {} if samples is None else {"samples": samples}
    try:
        architecture = HuggingFace.model_validate({**fields, "input_shape": shape})
    except ValidationError as error:
        first = error.errors()[0]
        place = "/".join(str(step) for step in first["loc"])
        raise UserError("unsupported_config", f"`{place}` of config.json: {first['msg']}: correct it") from None
    for problem in architecture.misfits(shape) if shape is not None else ():
        raise UserError(problem.code, problem.detail)
    return architecture


def check_problem(config: Mapping[str, Any], spec: OutputSpec) -> None:
    """Check the kind of a model that says what it was trained for. Raises UserError `wrong_output`."""
    kinds = {"single_label_classification": "class", "multi_label_classification": "multilabel"}
    found = config.get("problem_type")
    if found is not None and kinds.get(str(found)) != spec.kind:
        raise UserError(
            "wrong_output",
            f"config.json has the `problem_type` {found!r}, and the manifest's output is of kind {spec.kind}: declare "
            f"`{kinds.get(str(found), 'another model')}`",
        )


def class_names(config: Mapping[str, Any]) -> list[str]:
    """The classes in their order; `LABEL_0` and so on where the configuration has their number alone.

    Raises UserError `wrong_output`.
    """
    found = config.get("id2label")
    if not isinstance(found, dict):
        count = config.get("num_labels", 2)
        found = {str(i): f"LABEL_{i}" for i in range(min(count, 65_537))} if isinstance(count, int) else {}
    names = [found.get(str(i)) for i in range(len(found))]
    if not 2 <= len(names) <= 65_536 or not all(isinstance(name, str) for name in names):
        raise UserError(
            "wrong_output", "`id2label` of config.json does not name two classes or more from 0 on: correct it"
        )
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise UserError(
            "wrong_output", f"`id2label` of config.json gives several classes the name `{twice[0]}`: give each its own"
        )
    return [str(name) for name in names]
