"""A sound becomes the log-mel features that Whisper and scipy make of it, whatever its file, rate and channels are."""

import io
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soundfile
from pydantic import ValidationError

from app.contracts.resources.inputs.audio import AudioForm
from tests.engine.data.formats.sounds.recordings import RATE, encoded, features_of, noise, spec, tone
from workers.engine.data.formats.sounds.resample import new_length, place, reach, resampled

CLOSE = 2e-6


def test_features_are_those_of_whisper() -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.WhisperFeatureExtractor(
        feature_size=64, sampling_rate=RATE, hop_length=160, chunk_length=2, n_fft=400
    )
    for seconds in (0.7, 2.0, 2.6):
        sound = (noise(seconds) + tone(700, seconds)).astype(np.float32)
        expected = theirs(sound, sampling_rate=RATE, return_tensors="np").input_features
        found = features_of(encoded(sound.astype(np.float64), codec="FLOAT"), seconds=2.0)
        assert found.shape == expected.shape == (1, 64, 200)
        np.testing.assert_allclose(found, expected, atol=CLOSE)


@pytest.mark.parametrize(
    "settings",
    [{}, {"mels": 24, "window": 0.032, "hop": 0.016}, {"mels": 16, "lowest": 300.0, "highest": 3400.0}],
    ids=str,
)
def test_features_are_those_of_scipy_and_triangles(settings: dict[str, Any]) -> None:
    sound = noise(0.3)
    form = spec(features=settings)
    made = form.bands
    assert made is not None
    _, _, spectrum = scipy.signal.stft(
        np.pad(sound, made.window // 2, mode="reflect"), RATE, "hann", made.window, made.window - made.hop,
        boundary=None, padded=False, scaling="spectrum",
    )  # fmt: skip
    power = np.abs(spectrum[:, : form.row[2]] * (made.window / 2)) ** 2
    edges, bins = made.edges, np.arange(len(power)) * RATE / made.window
    bands = np.stack(
        [np.interp(bins, edges[i : i + 3], (0, 2 / (edges[i + 2] - edges[i]), 0)) for i in range(form.row[1])]
    )
    levels = np.log10(np.maximum(bands @ power, 1e-10))
    expected = (np.maximum(levels, levels.max() - 8) + 4) / 4
    found = features_of(encoded(sound, codec="FLOAT"), features=settings)
    np.testing.assert_allclose(found[0], expected, atol=CLOSE)


@pytest.mark.filterwarnings("ignore:At least one mel filter:UserWarning")
@pytest.mark.parametrize("mels", [128, 40])
def test_features_of_kaldi_are_those_of_the_audio_spectrogram_transformer(mels: int) -> None:
    """Frames behind the end are 0 before its extractor normalises; 128 bands have empty ones, as it has them."""
    transformers = pytest.importorskip("transformers")
    theirs = transformers.ASTFeatureExtractor(num_mel_bins=mels, max_length=98, do_normalize=False)
    form = {"seconds": (400 + 97 * 160) / RATE, "features": {"kind": "fbank", "mels": mels}}
    for seconds in (0.7, 0.982, 1.6):
        sound = (noise(seconds) + tone(700, seconds)).astype(np.float32)
        expected = theirs(sound, sampling_rate=RATE, return_tensors="np").input_values
        found = features_of(encoded(sound.astype(np.float64), codec="FLOAT"), **form)
        assert found.shape == (1, mels, 98)
        np.testing.assert_allclose(found[0].T, expected[0], atol=2e-4)


def test_frames_of_kaldi_that_touch_silence_around_a_sound_are_nought() -> None:
    form = {"seconds": 0.5, "keep": "centre", "features": {"kind": "fbank", "mels": 40}}
    found = features_of(encoded(noise(0.1), codec="FLOAT"), **form)
    inside = [i for i in range(found.shape[2]) if 160 * i >= 3_200 and 160 * i + 400 <= 4_800]
    assert np.flatnonzero(found[0].any(axis=0)).tolist() == inside
    short = features_of(encoded(noise(0.01), codec="FLOAT"), **form)
    assert np.count_nonzero(short[0].any(axis=0)) == 1


@pytest.mark.parametrize("rate", [4_000, 8_000, 11_025, 22_050, 44_100, 44_101, 48_000, 192_000])
def test_resampling_keeps_the_frequency_and_loudness_of_a_sine(rate: int) -> None:
    found = resampled(tone(440, 1.0, rate), 0, rate, RATE, range(RATE))
    np.testing.assert_allclose(found[600:-600], tone(440, 1.0)[600:-600], atol=5e-4)
    assert np.abs(np.fft.rfft(found)).argmax() == 440


def test_resampling_is_the_formula_sample_by_sample() -> None:
    """Smith, Digital Audio Resampling, as torchaudio's defaults have it."""
    rate, to, sound = 22_050, RATE, noise(0.02, 22_050)
    lower = 0.99 * to
    expected = []
    for j in range(new_length(len(sound), rate, to)):
        times = lower * (np.arange(len(sound)) / rate - j / to)
        weights = np.sinc(times) * np.cos(np.pi * times / 12) ** 2 * (lower / rate)
        expected.append(float(np.where(np.abs(times) < 6, weights, 0) @ sound))
    np.testing.assert_allclose(resampled(sound, 0, rate, to, range(len(expected))), expected, atol=1e-12)


def test_what_a_lower_rate_cannot_have_is_gone() -> None:
    sound = tone(15_000, 0.5, 48_000)
    assert np.abs(resampled(sound, 0, 48_000, RATE, range(8_000))[100:-100]).max() < 1e-3


@pytest.mark.parametrize(("rate", "to"), [(44_100, RATE), (8_000, RATE), (44_101, RATE)])
def test_a_part_of_the_samples_gives_the_same_part_of_the_new_ones(rate: int, to: int) -> None:
    sound = noise(0.5, rate)
    whole = resampled(sound, 0, rate, to, range(new_length(len(sound), rate, to)))
    wanted = range(3_000, 4_000)
    margin = reach(rate, to) + 1
    first, last = place(wanted.start, rate, to) - margin, place(wanted.stop - 1, rate, to) + margin + 1
    part = resampled(sound[first:last], first, rate, to, wanted)
    np.testing.assert_array_equal(part, whole[wanted.start : wanted.stop])


@pytest.mark.parametrize("codec", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_samples_of_any_depth_are_between_minus_one_and_one(codec: str) -> None:
    sound = tone(500)
    error = {"PCM_U8": 0.2, "ULAW": 0.2, "PCM_16": 0.1}.get(codec, 1e-3)
    plain, found = features_of(encoded(sound, codec="DOUBLE")), features_of(encoded(sound, codec=codec))
    loud = plain > plain.max() - 0.5
    np.testing.assert_allclose(found[loud], plain[loud], atol=error)


def test_flac_has_the_features_of_the_wav() -> None:
    sound = (noise() * 30_000).astype(np.int16)
    np.testing.assert_array_equal(features_of(encoded(sound, kind="FLAC")), features_of(encoded(sound)))


@pytest.mark.parametrize(("kind", "codec"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)])
def test_lossy_files_have_nearly_the_features_of_the_wav(kind: str, codec: str | None) -> None:
    sound = tone(1_000, 0.5)
    found = features_of(encoded(sound, kind=kind, codec=codec))
    plain = features_of(encoded(sound))
    assert np.abs(found.mean(axis=2).argmax() - plain.mean(axis=2).argmax()) <= 1
    assert abs(float(found.max() - plain.max())) < 0.05


def test_channels_become_their_mean() -> None:
    both = noise(channels=2)
    expected = features_of(encoded(both.mean(axis=1), codec="DOUBLE"))
    np.testing.assert_array_equal(features_of(encoded(both, codec="DOUBLE")), expected)


def test_a_higher_rate_gives_nearly_the_same_features() -> None:
    plain, found = features_of(encoded(tone(700))), features_of(encoded(tone(700, rate=44_100), 44_100))
    loud = plain > plain.max() - 0.5
    np.testing.assert_allclose(found[loud], plain[loud], atol=0.02)


@pytest.mark.parametrize("rate", [RATE, 22_050, 48_000])
def test_a_longer_sound_is_cut_where_it_is_told_and_a_shorter_one_padded_with_silence(rate: int) -> None:
    quiet, loud = np.zeros(round(0.3 * rate)), tone(800, 0.3, rate)
    long = encoded(np.concatenate([quiet, loud, quiet]), rate, codec="FLOAT")
    assert (features_of(long) == -1.5).all() or rate != RATE
    np.testing.assert_allclose(
        features_of(long, keep="centre")[:, :, 3:-3], features_of(encoded(loud, rate, codec="FLOAT"))[:, :, 3:-3],
        atol=0.02,
    )  # fmt: skip
    short = encoded(tone(800, 0.1, rate), rate, codec="FLOAT")
    start, centre = (features_of(short, keep=keep)[0].max(axis=0) for keep in ("start", "centre"))
    assert start[:8].min() > start[14:].max() + 0.5
    assert centre[12:18].min() > max(centre[:7].max(), centre[23:].max()) + 0.5


def test_only_what_is_needed_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = soundfile.SoundFile.read

    def counted(self: soundfile.SoundFile, frames: int, **options: Any) -> Any:
        read.append(frames)
        return original(self, frames, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    hours = encoded(np.zeros(600 * RATE), kind="FLAC")
    assert len(hours) < 200_000
    features_of(hours)
    assert sum(read) == round(0.3 * RATE)


def test_digital_silence_is_a_sound() -> None:
    assert (features_of(encoded(np.zeros(4_800))) == -1.5).all()


@pytest.mark.parametrize("loudness", [1e-12, 1e30])
def test_very_quiet_and_very_loud_samples_give_finite_features(loudness: float) -> None:
    assert np.isfinite(features_of(encoded(tone(500, loudness=loudness), codec="DOUBLE"))).all()


def test_the_same_file_gives_the_same_bits() -> None:
    file = encoded(noise(rate=22_050), 22_050)
    np.testing.assert_array_equal(features_of(file), features_of(file))


def test_samples_are_those_of_the_file_cut_or_padded_at_the_asked_rate() -> None:
    sound = noise(0.3)
    found = features_of(encoded(sound, codec="FLOAT"), features="samples", seconds=0.036)
    assert found.shape == (1, 576)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0], sound[:576].astype(np.float32))
    longer = features_of(encoded(sound, codec="FLOAT"), features="samples", seconds=0.4)
    np.testing.assert_array_equal(longer[0], np.pad(sound, (0, 1600)).astype(np.float32))
    other = features_of(encoded(tone(440, rate=48_000), 48_000), features="samples")
    np.testing.assert_allclose(other[0, 600:-600], tone(440)[600:-600], atol=5e-4)


def test_the_content_says_the_format_not_the_name() -> None:
    sound = noise()
    assert soundfile.info(io.BytesIO(encoded(sound, kind="FLAC"))).format == "FLAC"
    assert features_of(encoded(sound, kind="FLAC")).shape == (1, 64, 30)  # named a.wav


@pytest.mark.parametrize(
    ("form", "named"),
    [
        ({"seconds": 0.05, "features": {"window": 0.1}}, "`seconds`"),
        ({"features": {"hop": 0.05}}, "`hop`"),
        ({"features": {"highest": 9_000.0}}, "`highest`"),
        ({"features": {"lowest": 4_000.0, "highest": 4_000.0}}, "`lowest`"),
        ({"features": {"mels": 256}}, "`window`"),
        ({"seconds": 120.0, "features": {"mels": 128, "hop": 0.002}}, "`hop`"),
        ({"seconds": 120.0, "features": "samples"}, "`seconds`"),
        ({"features": "waves"}, "samples"),
        ({"features": {"kind": "fbank", "highest": 9_000.0}}, "`highest`"),
        ({"features": {"kind": "mfcc"}}, "fbank"),
        ({"seconds": 0.0}, "seconds"),
        ({"rate": 500}, "rate"),
    ],
    ids=str,
)
def test_forms_without_sense_are_refused(form: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        AudioForm.model_validate({"seconds": 0.3, **form})


def test_no_band_of_an_accepted_form_is_empty() -> None:
    for mels in (8, 40, 64, 80, 128):
        form = AudioForm.model_validate({"seconds": 1.0, "features": {"mels": mels}})
        made = form.bands
        assert made is not None
        edges, bins = made.edges, np.arange(made.window // 2 + 1) * form.rate / made.window
        assert all(((bins > edges[i]) & (bins < edges[i + 2])).any() for i in range(mels))
