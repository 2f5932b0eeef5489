"""Folders of transformers with small random networks of sounds, as `save_pretrained` writes them."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from app.contracts.specs.families.huggingface_configs import BAND_TYPES
from workers.engine.models.families.library.packages import package

SAMPLES = 1600
BANDS, FRAMES = 32, 40
CLASSES = ("no", "up", "yes")
_WAVES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": [8, 8, 8],
    "conv_stride": [5, 4, 4],
    "conv_kernel": [10, 4, 4],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 12,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "audio-spectrogram-transformer": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
    },
    "data2vec-audio": _WAVES,
    "hubert": _WAVES,
    "sew": _WAVES,
    "unispeech": _WAVES,
    "unispeech-sat": _WAVES,
    "wav2vec2": _WAVES,
    "wavlm": _WAVES,
    "whisper": {
        "d_model": 16,
        "encoder_layers": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 24,
        "decoder_layers": 1,
        "classifier_proj_size": 12,
    },
}
_ROWS = {
    "audio-spectrogram-transformer": {"num_mel_bins": BANDS, "max_length": FRAMES},
    "whisper": {"num_mel_bins": BANDS, "max_source_positions": FRAMES // 2},
}
MASKED: dict[str, Any] = {"feat_extract_norm": "layer"}
"""Of types that read samples: what those have that are trained with masks."""


def row_of(name: str) -> tuple[int, ...]:
    """The shape of a row that a small network of a type reads."""
    return (1, BANDS, FRAMES) if name in BAND_TYPES else (1, SAMPLES)


def network(name: str, classes: tuple[str, ...] = CLASSES, **changes: Any) -> nn.Module:
    """A small random network of a type, in evaluation mode."""
    transformers = package("transformers")
    labels = {"id2label": dict(enumerate(classes)), "label2id": {each: i for i, each in enumerate(classes)}}
    fields = {**CONFIGS[name], **_ROWS.get(name, {}), "num_labels": len(classes), **labels, **changes}
    config = transformers.CONFIG_MAPPING[name].from_dict(fields)
    torch.manual_seed(0)
    made: nn.Module = transformers.AutoModelForAudioClassification._model_mapping[type(config)](config)
    return made.eval()


def extractor(name: str, **changes: Any) -> Any:
    """The feature extractor of transformers of a type."""
    transformers = package("transformers")
    match name:
        case "whisper":
            seconds = FRAMES / 100
            return transformers.WhisperFeatureExtractor(feature_size=BANDS, chunk_length=seconds, **changes)
        case "audio-spectrogram-transformer":
            return transformers.ASTFeatureExtractor(num_mel_bins=BANDS, max_length=FRAMES, **changes)
        case _:
            return transformers.Wav2Vec2FeatureExtractor(**changes)


def saved(made: Any, folder: Path, processor: Any = None, **changes: Any) -> Path:
    """The folder that transformers writes, with a feature extractor. `changes`: of `preprocessor_config.json`."""
    made.save_pretrained(folder)
    (extractor(made.config.model_type) if processor is None else processor).save_pretrained(folder)
    file = folder / "preprocessor_config.json"
    document = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))
    return folder
