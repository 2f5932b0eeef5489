"""Features of sounds are kept on a disk and mapped: made once for each form, file and version of the decoder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from app.contracts.problems import UserError
from app.contracts.resources.inputs.audio import AudioInput
from tests.engine.data.formats.images.archives import zipped
from tests.engine.data.formats.sounds.recordings import encoded, manifest, noise
from workers.engine.common.files import sha256_of
from workers.engine.common.row_storage import RowStorage
from workers.engine.data.dataset import Dataset
from workers.engine.data.formats.files import decoded as files
from workers.engine.data.formats.sounds import decode
from workers.engine.data.formats.sounds import rows as reading
from workers.engine.data.reading import read_dataset
from workers.engine.data.tables.digest import reading_facts

COUNT = 10
Decoded = list[str]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Decoded:
    """The sounds that are decoded."""
    seen: Decoded = []

    def counted(name: str, encoded: bytes, spec: AudioInput) -> Any:
        seen.append(name)
        return decode.features(name, encoded, spec)

    monkeypatch.setattr(reading, "features", counted)
    return seen


def archive(folder: Path) -> Path:
    sounds = {f"{'high' if i % 2 else 'low'}/{i}.wav": encoded(noise(seed=i)) for i in range(COUNT)}
    return zipped(folder / "a.zip", sounds)


def stored(path: Path, folder: Path, **changes: Any) -> Dataset:
    storage = RowStorage(sha256_of(path), folder / "shared", folder / "own", 1 << 30)
    return read_dataset(path, manifest(**changes), kept=3, storage=storage)


def audio(**changes: object) -> dict[str, Any]:
    return {"inputs": {"audio": {"kind": "audio", "seconds": 0.3, **changes}}}


def test_a_second_read_decodes_nothing_and_maps_the_same_bits(tmp_path: Path, names: Decoded) -> None:
    path = archive(tmp_path)
    in_memory = read_dataset(path, manifest(), kept=3)
    assert len(names) == COUNT
    for _ in range(2):
        found = stored(path, tmp_path)
        assert found.is_mapped
        assert torch.equal(found.inputs["audio"], in_memory.inputs["audio"])
        assert found.transforms == in_memory.transforms
        assert found.uploaded is not None
        assert in_memory.uploaded is not None
        assert found.uploaded.inputs["audio"].form == in_memory.uploaded.inputs["audio"].form
        np.testing.assert_array_equal(found.uploaded.inputs["audio"].sample, in_memory.uploaded.inputs["audio"].sample)
    assert len(names) == 2 * COUNT


@pytest.mark.parametrize(
    "changes",
    [{"seconds": 0.2}, {"rate": 8_000}, {"keep": "centre"}, {"features": {"mels": 32}}, {"features": {"hop": 0.02}}],
    ids=str,
)
def test_another_form_is_another_entry(changes: dict[str, object], tmp_path: Path, names: Decoded) -> None:
    path = archive(tmp_path)
    stored(path, tmp_path)
    found = stored(path, tmp_path, **audio(**changes))
    assert torch.equal(found.inputs["audio"], read_dataset(path, manifest(**audio(**changes))).inputs["audio"])
    assert len(names) == 3 * COUNT


@pytest.mark.parametrize(
    "library", [(soundfile, "__version__"), (soundfile, "__libsndfile_version__"), (np, "__version__")]
)
def test_another_version_of_the_decoder_is_another_entry_and_another_digest_of_data(
    library: tuple[Any, str], tmp_path: Path, names: Decoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path)
    stored(path, tmp_path)
    before = reading_facts(manifest())
    monkeypatch.setattr(*library, "0.1")
    stored(path, tmp_path)
    assert len(names) == 2 * COUNT
    assert reading_facts(manifest()) != before


@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_and_threads_change_no_bit(threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path)
    expected = read_dataset(path, manifest()).inputs["audio"]
    monkeypatch.setattr(files, "_MOST_BLOCK_BYTES", 3 * 64 * 30 * 4)
    monkeypatch.setattr(files, "_LOADED", 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert torch.equal(stored(path, tmp_path).inputs["audio"], expected)


def test_a_sound_that_cannot_be_decoded_leaves_no_entry(tmp_path: Path) -> None:
    sounds = {f"high/{i}.wav": encoded(noise(seed=i)) for i in range(COUNT)} | {"low/7.wav": b"RIFF"}
    with pytest.raises(UserError) as caught:
        stored(zipped(tmp_path / "a.zip", sounds), tmp_path)
    assert caught.value.code == "broken_sound"
    assert not [path for path in (tmp_path / "shared" / "sounds").iterdir() if path.is_dir()]


def test_rows_beyond_the_bound_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_BYTES", COUNT * 64 * 30 * 4 - 1)
    with pytest.raises(UserError) as caught:
        read_dataset(archive(tmp_path), manifest())
    assert caught.value.code == "too_large"
    assert "`mels`" in caught.value.message
