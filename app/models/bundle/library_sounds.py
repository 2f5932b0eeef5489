"""What transformers needs to read sounds as a network of sounds was trained on them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from app.contracts.resources.inputs.audio import AudioForm, Fbank, LogMel
from app.contracts.resources.manifests import InputTransform
from app.contracts.specs.families.library import HuggingFace
from app.contracts.specs.families.sounds import settings_of_rows
from app.models.bundle.bundled import BundledModel

FEATURE_EXTRACTOR: Final = "preprocessor_config.json"
_RATE: Final = 16_000
"""Of sounds that are no input of the dataset, and of the extractors whose features have one rate."""
_IDENTITY: Final = InputTransform()


def files_of_sounds(
    model: BundledModel, network: HuggingFace, config: Mapping[str, Any]
) -> Mapping[str, Mapping[str, Any]]:
    """`config.json`, and `preprocessor_config.json` where an extractor of transformers makes the network's rows."""
    assert network.input_shape is not None
    found: dict[str, Mapping[str, Any]] = {
        "config.json": {**config, **settings_of_rows(network.name, network.input_shape)}
    }
    extractor = _extractor(model, network)
    return found if extractor is None else {**found, FEATURE_EXTRACTOR: extractor}


def extraction_of_sounds(model: BundledModel, network: HuggingFace) -> Sequence[str] | None:
    """The lines by which the extractor makes rows of sounds; None where there is no extractor."""
    extractor = _extractor(model, network)
    if extractor is None or network.input_shape is None:
        return None
    rate = f"sampling_rate={extractor['sampling_rate']}"
    if network.sound_rows == "bands":
        length = f", max_length={extractor['n_samples']}" if network.name == "whisper" else ""
        return [f'rows = extract(sounds, {rate}{length}, return_tensors="pt")']
    samples = network.input_shape[1]
    return [
        f"each = extract([sound[:{samples}] for sound in sounds], {rate})",
        f'rows = extract.pad(each, padding="max_length", max_length={samples}, return_tensors="pt")',
    ]


def _extractor(model: BundledModel, network: HuggingFace) -> Mapping[str, Any] | None:
    assert network.input_shape is not None
    form = next((each.takes.audio for each in model.inputs.values()), None)
    transform = next(iter(model.facts.inputs.values()), _IDENTITY)
    reading = network.sample_reading
    if reading is not None:
        is_known = (reading.normalize or _is_identity(transform)) and (form is None or form.keep == "start")
        return (
            None
            if not is_known
            else {
                "feature_extractor_type": "Wav2Vec2FeatureExtractor",
                "feature_size": 1,
                "sampling_rate": _RATE if form is None else form.rate,
                "padding_side": "right",
                "padding_value": 0.0,
                "do_normalize": reading.normalize,
                "return_attention_mask": reading.mask,
            }
        )
    _, bands, frames = network.input_shape
    if form is None or form.keep != "start" or form.rate != _RATE:
        return None
    if network.name == "whisper":
        fits = isinstance(form.features, LogMel) and _is_identity(transform) and _has_usual_bands(form, 0.0)
        return _of_whisper(bands, frames) if fits else None
    statistics = (transform.mean, transform.std)
    fits = isinstance(form.features, Fbank) and _has_usual_bands(form, 20.0)
    if not fits or any(isinstance(each, tuple) for each in statistics):
        return None
    return _of_ast(bands, frames, transform)


def _of_whisper(bands: int, frames: int) -> Mapping[str, Any]:
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": bands,
        "sampling_rate": _RATE,
        "hop_length": _RATE // 100,
        "n_fft": _RATE // 40,
        "chunk_length": -(-frames // 100),
        "n_samples": frames * (_RATE // 100),
        "nb_max_frames": frames,
        "padding_side": "right",
        "padding_value": 0.0,
    }


def _of_ast(bands: int, frames: int, transform: InputTransform) -> Mapping[str, Any]:
    """It computes (x - mean) / (2 std)."""
    assert isinstance(transform.mean, float)
    assert isinstance(transform.std, float)
    return {
        "feature_extractor_type": "ASTFeatureExtractor",
        "feature_size": 1,
        "num_mel_bins": bands,
        "max_length": frames,
        "sampling_rate": _RATE,
        "padding_side": "right",
        "padding_value": 0.0,
        "do_normalize": True,
        "mean": transform.mean / transform.scale,
        "std": transform.std / transform.scale / 2.0,
    }


def _has_usual_bands(form: AudioForm, lowest: float) -> bool:
    """Whether the bands are those that the extractors of transformers have."""
    bands = form.bands
    assert bands is not None
    found = (bands.window, bands.hop, bands.lowest, bands.highest)
    return found == (_RATE // 40, _RATE // 100, lowest, _RATE / 2)


def _is_identity(transform: InputTransform) -> bool:
    return (transform.scale, transform.mean, transform.std) == (1.0, 0.0, 1.0)
