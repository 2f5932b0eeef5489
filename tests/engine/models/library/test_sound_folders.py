"""Folders of networks for sounds: read with the outputs of transformers on what its feature extractors make, or refused
by name.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.contracts.problems import UserError
from app.contracts.resources.facts import ModelFacts
from app.contracts.resources.inputs.audio import AudioForm
from app.contracts.resources.manifests import ClassOutput, ModelManifest
from app.contracts.specs.families.huggingface_configs import BAND_TYPES, SAMPLE_TYPES
from app.contracts.specs.families.library import HuggingFace
from app.contracts.specs.families.sounds import SampleReading
from tests.engine.data.formats.sounds.recordings import encoded, features_of
from tests.engine.models.library.folders import packed
from tests.engine.models.library.sound_folders import (
    BANDS,
    CLASSES,
    CONFIGS,
    FRAMES,
    MASKED,
    SAMPLES,
    extractor,
    network,
    saved,
)
from tests.exhaustive import sample
from workers.engine.jobs.inspection.family_models import inspect_family_model
from workers.engine.jobs.inspection.huggingface.convert import convert_folder
from workers.engine.jobs.inspection.library_trunks import measured_manifest
from workers.engine.models.build import build
from workers.engine.models.families.library.measure import measure
from workers.engine.models.loading import load_weights
from workers.engine.models.network import Network

Json = dict[str, Any]
MANIFEST: Json = {"name": "m", "format": "huggingface", "outputs": {"label": {"kind": "class"}}}
WAVES: Json = {**MANIFEST, "inputs": {"audio": {"shape": [1, SAMPLES]}}}
LENGTHS = (SAMPLES, 900, 250, SAMPLES + 300)


def read(path: Path, manifest: Json = WAVES) -> tuple[ModelFacts, Network]:
    """The facts that an inspection finds, and the network with the converted weights."""
    target, given = path.parent / "converted.safetensors", ModelManifest.model_validate_json(json.dumps(manifest))
    found = convert_folder(path, target, given)
    facts = inspect_family_model(target, measured_manifest(found.manifest))
    assert facts.architecture is not None
    ours = build(facts.architecture)
    ours.load_state_dict(load_weights(target, given, facts.architecture))
    return facts, ours.eval()


def sounds(dtype: Any = np.float32) -> list[NDArray[Any]]:
    """Noise of several lengths, quiet and with an offset."""
    return [
        (0.02 * (i + 1) * np.random.default_rng(i).normal(size=count) + 0.01 * i).astype(dtype)
        for i, count in enumerate(LENGTHS)
    ]


def prepared(processor: Any) -> Any:
    """The sounds as a feature extractor prepares each, and then pads them."""
    each = processor([sound[:SAMPLES] for sound in sounds()], sampling_rate=16_000)
    return processor.pad(each, padding="max_length", max_length=SAMPLES, return_tensors="pt")


def rows() -> torch.Tensor:
    """The same sounds as a dataset's rows [N, 1, samples]: cut, and padded with silence."""
    made = torch.zeros(len(LENGTHS), 1, SAMPLES)
    for row, sound in zip(made, sounds(), strict=True):
        row[0, : len(sound)] = torch.from_numpy(sound[:SAMPLES])
    return made


def answers(ours: Network, given: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = ours(given)["label"]
    return found


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", sample(sorted(SAMPLE_TYPES), ["wav2vec2", "wavlm"]))
def test_sounds_get_the_answers_of_transformers_through_its_feature_extractor(
    name: str, masked: bool, tmp_path: Path
) -> None:
    theirs = network(name, **(MASKED if masked and name != "data2vec-audio" else {}))
    processor = extractor(name, return_attention_mask=masked)
    facts, ours = read(packed(saved(theirs, tmp_path / "model", processor), tmp_path / "m.zip"))
    with torch.no_grad():
        expected = theirs(**prepared(processor)).logits
    found = answers(ours, rows())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert float((found - found.mean(dim=0)).abs().max()) > 1e-4, "answers tell the sounds apart"
    alone = torch.cat([answers(ours, row[None]) for row in rows()])
    torch.testing.assert_close(alone, found, rtol=1e-5, atol=1e-7)
    spec = facts.outputs["label"].spec
    assert isinstance(spec, ClassOutput)
    assert spec.classes == CLASSES
    assert [layer.name for layer in facts.layers if len(layer.shape or ()) == 2]
    assert not any("conv_layers" in layer.name for layer in facts.layers), "a series is no sequence of vectors"


SILENT_TAILS = {
    "padded": (900, 400),
    "filling the row": (SAMPLES, 600),
    "cut in its tail": (2000, 700),
    "silent": (900, 900),
}


@pytest.mark.parametrize("tail", SILENT_TAILS)
@pytest.mark.parametrize("masked", [False, True])
def test_silence_at_the_end_of_a_file_is_part_of_its_sound(masked: bool, tail: str, tmp_path: Path) -> None:
    """The trap: it looks like padding, without which a sound is normalised and masked."""
    theirs = network("wav2vec2", **(MASKED if masked else {}))
    processor = extractor("wav2vec2", return_attention_mask=masked)
    _, ours = read(packed(saved(theirs, tmp_path / "model", processor), tmp_path / "m.zip"))
    count, silent = SILENT_TAILS[tail]
    sound = 0.1 * np.random.default_rng(0).normal(size=count)
    sound[count - silent :] = 0.0
    row = features_of(encoded(sound, codec="FLOAT"), seconds=0.1, features="samples")
    each = processor([sound[:SAMPLES].astype(np.float32)], sampling_rate=16_000)
    with torch.no_grad():
        expected = theirs(**processor.pad(each, padding="max_length", max_length=SAMPLES, return_tensors="pt")).logits
    found = answers(ours, torch.from_numpy(row)[None])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 if tail != "silent" else 1e-3)
    if tail != "silent":
        cut = sound.copy()[: min(count, SAMPLES) - silent] if count <= SAMPLES else sound[: count - silent]
        shorter = features_of(encoded(cut, codec="FLOAT"), seconds=0.1, features="samples")
        other = answers(ours, torch.from_numpy(shorter)[None])
        assert float((other - expected).abs().max()) > 1e-4, "the sound without its tail is another"


@pytest.mark.parametrize("name", sorted(BAND_TYPES))
def test_features_get_the_answers_of_transformers_through_its_feature_extractor(name: str, tmp_path: Path) -> None:
    theirs = network(name)
    facts, ours = read(packed(saved(theirs, tmp_path / "model"), tmp_path / "m.zip"), MANIFEST)
    features = torch.randn(3, 1, BANDS, FRAMES, generator=torch.Generator().manual_seed(0))
    (transform,) = facts.inputs.values()
    assert isinstance(transform.mean, float)
    assert isinstance(transform.std, float)
    prepared = (features - transform.mean) / transform.std
    with torch.no_grad():
        expected = theirs(prepared[:, 0] if name == "whisper" else prepared[:, 0].transpose(1, 2)).logits
    torch.testing.assert_close(answers(ours, prepared), expected, rtol=1e-5, atol=1e-6)
    statistics = (-4.2677393, 2 * 4.5689974) if name != "whisper" else (0.0, 1.0)
    assert (transform.mean, transform.std) == statistics
    assert facts.input_shape == (1, BANDS, FRAMES)


FORMS: dict[str, Json] = {
    "wav2vec2": {"seconds": 0.1, "features": "samples"},
    "whisper": {"seconds": 0.4, "features": {"mels": BANDS}},
    "audio-spectrogram-transformer": {"seconds": 0.415, "features": {"kind": "fbank", "mels": BANDS}},
}


@pytest.mark.parametrize("name", FORMS)
def test_a_folder_says_how_it_makes_rows_of_sound_files(name: str, tmp_path: Path) -> None:
    manifest = MANIFEST if name in BAND_TYPES else WAVES
    facts, _ = read(packed(saved(network(name), tmp_path / "model"), tmp_path / "m.zip"), manifest)
    assert facts.inputs["audio"].form == AudioForm.model_validate(FORMS[name])


def test_an_extractor_beside_a_tokenizer_is_read_of_their_common_file(tmp_path: Path) -> None:
    folder = saved(network("wav2vec2"), tmp_path / "model", extractor("wav2vec2", return_attention_mask=True))
    alone = folder / "preprocessor_config.json"
    both = {"processor_class": "Wav2Vec2Processor", "feature_extractor": json.loads(alone.read_text())}
    (folder / "processor_config.json").write_text(json.dumps(both))
    alone.unlink()
    facts, _ = read(packed(folder, tmp_path / "m.zip"))
    assert isinstance(facts.architecture, HuggingFace)
    assert facts.architecture.samples == SampleReading(normalize=True, mask=True)


def test_a_form_of_the_manifest_says_the_number_of_samples(tmp_path: Path) -> None:
    form = {"seconds": 0.2, "rate": 8_000, "keep": "centre", "features": "samples"}
    path = packed(saved(network("wav2vec2"), tmp_path / "model"), tmp_path / "m.zip")
    facts, _ = read(path, {**MANIFEST, "inputs": {"wave": {"form": form}}})
    assert facts.inputs["wave"].form == AudioForm.model_validate(form)
    assert facts.input_shape == (1, 1600)


def test_weights_of_masks_in_training_are_left_out(tmp_path: Path) -> None:
    """`masked_spec_embed` is in files of networks that are trained with masks, as `mask_time_prob` says by default."""
    theirs = network("wav2vec2", mask_time_prob=0.05)
    assert any("masked_spec_embed" in name for name in theirs.state_dict())
    _, ours = read(packed(saved(theirs, tmp_path / "model"), tmp_path / "m.zip"))
    assert not any("masked_spec_embed" in name for name in ours.state_dict())


def test_an_encoder_of_sounds_gives_the_mean_of_its_places(tmp_path: Path) -> None:
    whole = network("wav2vec2", **MASKED)
    processor = extractor("wav2vec2", return_attention_mask=True)
    path = packed(saved(whole.wav2vec2, tmp_path / "model", processor), tmp_path / "m.zip")
    vector = {"outputs": {"label": {"kind": "vector"}}, "embedding": {"pooling": "mean"}}
    facts, ours = read(path, {**WAVES, **vector})
    batch = prepared(processor)
    theirs: Any = whole.wav2vec2
    with torch.no_grad():
        hidden = theirs(**batch).last_hidden_state
        kept = theirs._get_feature_vector_attention_mask(hidden.shape[1], batch["attention_mask"])
    expected = (hidden * kept[:, :, None]).sum(1) / kept.sum(1, keepdim=True)
    torch.testing.assert_close(answers(ours, rows()), expected, rtol=1e-4, atol=1e-5)
    assert facts.outputs["label"].size == CONFIGS["wav2vec2"]["hidden_size"]


FAULTS: dict[str, tuple[str, Json, Json, Json, str]] = {
    "no number of samples": ("wav2vec2", {}, {}, MANIFEST, "shape_mismatch"),
    "samples of two channels": (
        "wav2vec2", {}, {}, {**MANIFEST, "inputs": {"a": {"shape": [2, SAMPLES]}}}, "shape_mismatch"
    ),
    "too few samples": ("wav2vec2", {}, {}, {**MANIFEST, "inputs": {"a": {"shape": [1, 20]}}}, "unsupported_config"),
    "columns of a table": (
        "wav2vec2", {}, {}, {**MANIFEST, "inputs": {"a": {"shape": [1, SAMPLES], "columns": ["x"]}}},
        "unsupported_config",
    ),
    "sounds that are resized": (
        "whisper", {}, {}, {**MANIFEST, "inputs": {"a": {"resize": "bilinear"}}}, "unsupported_config"
    ),
    "features for samples": (
        "wav2vec2", {}, {}, {**MANIFEST, "inputs": {"a": {"form": {"seconds": 1.0}}}}, "shape_mismatch"
    ),
    "images for samples": (
        "wav2vec2", {}, {}, {**MANIFEST, "inputs": {"a": {"form": {"size": [32, 32]}}}}, "shape_mismatch"
    ),
    "padding in front": ("wav2vec2", {}, {"padding_side": "left"}, WAVES, "unsupported_config"),
    "padding by ones": ("wav2vec2", {}, {"padding_value": 1.0}, WAVES, "unsupported_config"),
    "a head for letters": ("wav2vec2", {"architectures": ["Wav2Vec2ForCTC"]}, {}, WAVES, "unsupported_config"),
    "adapters": ("wav2vec2", {"add_adapter": True}, {}, WAVES, "unsupported_config"),
    "adapters in blocks": ("wav2vec2", {"adapter_attn_dim": 16}, {}, WAVES, "unsupported_config"),
    "a key that the type has not": ("wav2vec2", {"get_text_config": "x"}, {}, WAVES, "unsupported_config"),
    "a kernel too few": ("wav2vec2", {"conv_kernel": [10, 4]}, {}, WAVES, "unsupported_config"),
    "a kernel of nothing": ("wav2vec2", {"conv_kernel": [10, 4, 0]}, {}, WAVES, "unsupported_config"),
    "a stride of nothing": ("wav2vec2", {"conv_stride": [5, 4, 0]}, {}, WAVES, "unsupported_config"),
    "kernels of text": ("wav2vec2", {"conv_kernel": ["a", "b", "c"]}, {}, WAVES, "unsupported_config"),
    "3000 layers": ("wav2vec2", {"num_hidden_layers": 3000}, {}, WAVES, "unsupported_config"),
    "another width": ("wav2vec2", {"hidden_size": 32}, {}, WAVES, "wrong_shape"),
    "code of a stranger": ("whisper", {"auto_map": {"AutoModel": "a--b.C"}}, {}, MANIFEST, "unsupported_config"),
    "bands that disagree": ("whisper", {}, {"feature_size": 80}, MANIFEST, "unsupported_config"),
    "frames beyond all bounds": ("whisper", {"max_source_positions": 10_000}, {}, MANIFEST, "shape_mismatch"),
    "frames that are a text": ("whisper", {"max_source_positions": "x"}, {}, MANIFEST, "unsupported_config"),
    "noise for each sound": ("whisper", {}, {"dither": 0.5}, MANIFEST, "unsupported_config"),
    "frames that disagree": (
        "audio-spectrogram-transformer", {}, {"max_length": 1024}, MANIFEST, "unsupported_config"
    ),
    "a deviation of nothing": ("audio-spectrogram-transformer", {}, {"std": 0}, MANIFEST, "unsupported_config"),
    "a mean of text": ("audio-spectrogram-transformer", {}, {"mean": "a"}, MANIFEST, "unsupported_config"),
    "bands of nothing": ("audio-spectrogram-transformer", {"num_mel_bins": 0}, {"num_mel_bins": 0}, MANIFEST, ""),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_of_sounds_that_is_not_sound_is_refused_by_name(fault: str, tmp_path: Path) -> None:
    name, changed, processor, manifest, code = FAULTS[fault]
    path = packed(saved(network(name), tmp_path / "model", None, **processor), tmp_path / "m.zip", **changed)
    with pytest.raises(UserError) as caught:
        read(path, manifest)
    assert caught.value.code == (code or "unsupported_config")
    assert ": " in caught.value.message
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize(
    ("name", "shape", "code"),
    [
        ("wav2vec2", (1, 40), "unsupported_config"),
        ("audio-spectrogram-transformer", (1, 8, 8), "network_misfit"),
        ("whisper", (1, 80, 2), None),
    ],
)
def test_rows_of_sounds_that_are_too_small_are_refused_by_name(
    name: str, shape: tuple[int, ...], code: str | None
) -> None:
    config = {key: value for key, value in CONFIGS[name].items() if not key.startswith("decoder")}
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
    made = HuggingFace.model_validate({"family": "huggingface", "name": name, "config": given})
    if code is None:
        assert measure(made, shape).features == config["classifier_proj_size"]
        return
    with pytest.raises(UserError) as caught:
        measure(made, shape)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("fields", "shape", "pointer"),
    [
        ({"name": "wav2vec2"}, (2, 1600), "/input_shape"),
        ({"name": "wav2vec2"}, (1, (1 << 20) + 1), "/input_shape"),
        ({"name": "whisper"}, (1, 80, 3001), "/input_shape"),
        ({"name": "whisper"}, (1, 300, 3000), "/input_shape"),
        ({"name": "whisper", "embedding": {"pooling": "mean"}}, (1, 80, 3000), "/embedding"),
        ({"name": "whisper", "samples": {"mask": True}}, (1, 80, 3000), "/samples"),
        ({"name": "vit", "samples": {"mask": True}}, (3, 32, 32), "/samples"),
    ],
)
def test_what_a_network_of_sounds_does_not_read_is_a_problem(
    fields: Json, shape: tuple[int, ...], pointer: str
) -> None:
    made = HuggingFace.model_validate({"family": "huggingface", **fields})
    assert [each.pointer for each in made.misfits(shape)] == [pointer]
