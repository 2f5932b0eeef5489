"""Networks of sounds of transformers, called on rows of samples or of bands."""

import warnings
from typing import Any, Final, assert_never

import torch
from torch import Tensor

from app.contracts.specs.families.library import HuggingFace
from app.contracts.specs.families.sounds import SampleReading, SoundRows
from workers.engine.models.families.library.sound_configs import receptive_field
from workers.engine.models.taps import compared_layer

_EPSILON: Final = 1e-7
"""Added to the variance of a sound, as `Wav2Vec2FeatureExtractor` of transformers does."""

# WavLM adds numbers to its scores beside a mask of truth values, of which torch warns at each call.
warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask")


def features_of_sounds(network: Any, rows: Tensor, architecture: HuggingFace, kind: SoundRows) -> Tensor:
    """What the head of a network reads of rows [N, 1, samples] or [N, 1, mels, frames] -> features [N, F]."""
    embedding = architecture.embedding
    match kind:
        case "samples":
            reading = architecture.sample_reading
            assert reading is not None
            given = _of_samples(network, rows[:, 0], reading)
        case "bands":
            given = _of_bands(rows[:, 0], architecture.name)
        case _:
            assert_never(kind)
    found = network(**given)
    if embedding is None:
        features: Tensor = found.logits
        return features
    hidden: Tensor = found.last_hidden_state
    mask = given.get("attention_mask")
    kept = None if mask is None else network._get_feature_vector_attention_mask(hidden.shape[1], mask)
    return compared_layer(hidden, embedding.pooling, kept)


def _of_bands(rows: Tensor, name: str) -> dict[str, Tensor]:
    """Whisper takes [N, mels, frames], the Audio Spectrogram Transformer [N, frames, mels]."""
    return {"input_features": rows} if name == "whisper" else {"input_values": rows.transpose(1, 2)}


def _of_samples(network: Any, samples: Tensor, reading: SampleReading) -> dict[str, Tensor]:
    """Samples [N, n] as `SampleReading` describes them, with the mask [N, n] where it has one."""
    if not reading.normalize and not reading.mask:
        return {"input_values": samples}
    config = network.config
    least = receptive_field(config.conv_kernel, config.conv_stride)
    inside = _places(samples) < _lengths(samples).clamp(min=least)[:, None]
    given = {"input_values": _normalized(samples, inside) if reading.normalize else samples}
    return {**given, "attention_mask": inside.long()} if reading.mask else given


def _lengths(samples: Tensor) -> Tensor:
    """The number of samples of each sound, without those at its end that all equal the last [N]; a last sample that
    differs from the one before it is the sound's.
    """
    count = samples.shape[1]
    last = ((_places(samples) + 1) * (samples != samples[:, -1:])).amax(dim=1)
    return torch.where((last == 0) | (last >= count - 1), count, last)


def _places(samples: Tensor) -> Tensor:
    return torch.arange(samples.shape[1], device=samples.device)


def _normalized(samples: Tensor, inside: Tensor) -> Tensor:
    """Sounds with mean 0 and deviation 1 over the samples inside, and 0 behind them, in float32."""
    x, count = samples.float(), inside.sum(dim=1, keepdim=True)
    centred = (x - (x * inside).sum(dim=1, keepdim=True) / count) * inside
    variance = (centred**2).sum(dim=1, keepdim=True) / count
    return centred / (variance + _EPSILON).sqrt()
