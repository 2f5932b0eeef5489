"""What a folder of a network for sounds says: its configuration, and what its feature extractor does to sounds."""

from collections.abc import Mapping
from typing import Any, Final

from app.contracts.base import tuples
from app.contracts.problems import UserError, listed
from app.contracts.resources.inputs.forms import row_of
from app.contracts.resources.manifests import ModelInputSpec, ModelManifest
from app.contracts.specs.families.huggingface_configs import SAMPLE_TYPES
from app.contracts.specs.families.sounds import ADAPTERS, FIXED, FRAMES_A_PLACE, SampleReading
from workers.engine.jobs.inspection.huggingface.configurations import Reading, check_known, network_of
from workers.engine.jobs.inspection.huggingface.extractors import form_of_sounds
from workers.engine.jobs.inspection.huggingface.folder import PROCESSOR, Folder
from workers.engine.jobs.inspection.huggingface.sentences import SentenceModules
from workers.engine.models.families.library.huggingface import own_keys
from workers.engine.models.families.library.packages import package
from workers.engine.models.families.library.sound_configs import OF_SOUNDS, without_effect

INPUT: Final = "audio"
"""The input's name where the manifest gives none."""
_HEADS: Final = ("ForSequenceClassification", "ForAudioClassification")
_READ: Final = {"padding_side": "right", "padding_value": 0.0, "feature_size": 1}
"""What a feature extractor of samples says, and what is done here."""
_OF_SOUNDS: Final = frozenset({"shape", "form", "scale", "mean", "std"})
"""What a manifest may say of an input of sounds."""
_AST_STATISTICS: Final = (-4.2677393, 4.5689974)
"""Mean and deviation of features that `ASTFeatureExtractor` has by default."""


def read_sounds(
    folder: Folder,
    config: Mapping[str, Any],
    outputs: Mapping[str, int],
    manifest: ModelManifest,
    sentences: SentenceModules | None,
) -> Reading:
    """The network of sounds and its input. `sentences`: of an encoder, what makes one vector of a sound.

    Raises UserError `unsupported_config`, `shape_mismatch`.
    """
    name, processor = str(config["model_type"]), folder.processor("feature_extractor")
    if sentences is None:
        _check_architectures(config)
    _check_adapters(config)
    own = own_keys(name)
    unread = [key for key in config if without_effect(key)]
    check_known(config, name, {*own, *FIXED, *OF_SOUNDS, *unread})
    given = {key: tuples(config[key]) for key in own if config.get(key) is not None and config[key] != own[key]}
    embedding = sentences.embedding if sentences is not None else None
    spec = _spec(manifest)
    if name in SAMPLE_TYPES:
        shape, samples = _samples(spec), _reading(processor)
    else:
        shape, samples = _bands(name, config, processor), None
        spec = _standardized(name, spec, processor)
    architecture = network_of(name, given, shape, outputs, embedding=embedding, samples=samples)
    if spec.form is None:
        form = form_of_sounds(name, architecture.input_shape or (), processor)
        spec = spec.model_copy(update={"form": form, "shape": None})
    return Reading(architecture, {next(iter(manifest.inputs), INPUT): spec}, _notes(processor))


def _spec(manifest: ModelManifest) -> ModelInputSpec:
    """The only input of the manifest. Raises UserError `unsupported_config` for what is not done to sounds."""
    for name, spec in manifest.inputs.items():
        wrong = sorted(spec.model_fields_set - _OF_SOUNDS)
        if wrong:
            raise UserError(
                "unsupported_config",
                f"`inputs.{name}` of the manifest has {listed(wrong)}, which a network of sounds has not: leave it out",
            )
        return spec
    return ModelInputSpec()


def _samples(spec: ModelInputSpec) -> tuple[int, ...]:
    """[1, samples] as the manifest says; the network takes any number. Raises UserError `shape_mismatch`."""
    if spec.form is not None:
        return row_of(spec.form)
    if spec.shape is None:
        raise UserError(
            "shape_mismatch",
            "the network reads sounds of any length, and rows have one: give the manifest the number of samples of a "
            f'row, such as `"inputs": {{"{INPUT}": {{"shape": [1, 16000]}}}}` for a second',
        )
    return spec.shape if len(spec.shape) > 1 else (1, *spec.shape)


def _reading(processor: Mapping[str, Any]) -> SampleReading:
    """How a feature extractor prepares samples. Raises UserError `unsupported_config` for what is not done here."""
    wrong = [key for key, value in _READ.items() if processor.get(key, value) != value]
    if wrong:
        raise UserError(
            "unsupported_config",
            f"{PROCESSOR} has {listed(wrong)} with a value that is not read, expected one channel, padded with zeros "
            "behind: correct it",
        )
    return SampleReading(
        normalize=bool(processor.get("do_normalize", True)), mask=bool(processor.get("return_attention_mask", False))
    )


def _bands(name: str, config: Mapping[str, Any], processor: Mapping[str, Any]) -> tuple[Any, ...]:
    """[1, mels, frames] of the network. Raises UserError `unsupported_config` for an extractor of other features."""
    own = package("transformers").CONFIG_MAPPING[name]().to_dict() | dict(config)
    if name == "whisper":
        bands, places = own["num_mel_bins"], own["max_source_positions"]
        frames = places * FRAMES_A_PLACE if isinstance(places, int) else places
        found = {"feature_size": bands}
    else:
        bands, frames = own["num_mel_bins"], own["max_length"]
        found = {"num_mel_bins": bands, "max_length": frames}
    found["dither"] = 0.0  # noise that is drawn for each sound
    wrong = {key: processor[key] for key, value in found.items() if processor.get(key, value) != value}
    if wrong:
        raise UserError(
            "unsupported_config",
            f"{PROCESSOR} says {wrong}, and config.json { ({key: found[key] for key in wrong}) }: save both again",
        )
    return (1, bands, frames)


def _standardized(name: str, spec: ModelInputSpec, processor: Mapping[str, Any]) -> ModelInputSpec:
    """The transform of features: of the Audio Spectrogram Transformer (x - mean) / (2 std), as its extractor has it;
    the manifest's own where it has one.
    """
    if name == "whisper" or spec != ModelInputSpec() or not processor or not processor.get("do_normalize", True):
        return spec
    mean, std = (processor.get(key, default) for key, default in zip(("mean", "std"), _AST_STATISTICS, strict=True))
    if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in (mean, std)) or not std > 0:
        raise UserError(
            "unsupported_config",
            f"`mean` and `std` of {PROCESSOR} are {str(mean)[:40]} and {str(std)[:40]}, expected a number and one "
            "above 0: correct them",
        )
    return ModelInputSpec(mean=float(mean), std=2.0 * float(std))


def _check_architectures(config: Mapping[str, Any]) -> None:
    found = config.get("architectures")
    names = [str(each)[:100] for each in found] if isinstance(found, list) else []
    if names and not (len(names) == 1 and names[0].endswith(_HEADS)):
        raise UserError(
            "unsupported_config",
            f"`architectures` of config.json is {listed(names)}, expected one …{_HEADS[0]} or …{_HEADS[1]}: train the "
            "model for classification and save it by AutoModelForAudioClassification, or export it to ONNX",
        )


def _check_adapters(config: Mapping[str, Any]) -> None:
    wrong = [key for key, value in ADAPTERS.items() if config.get(key, value) != value]
    if wrong:
        raise UserError(
            "unsupported_config",
            f"config.json has {listed(wrong)}, adapters that are not built here: export the model to ONNX",
        )


def _notes(processor: Mapping[str, Any]) -> tuple[dict[str, str], ...]:
    if processor:
        return ()
    message = (
        f"the folder has no {PROCESSOR}: samples of each sound are brought to mean 0 and deviation 1, without a mask, "
        "and features are read as they are: add the file where the model was trained otherwise"
    )
    return ({"code": "no_feature_extractor", "message": message},)
