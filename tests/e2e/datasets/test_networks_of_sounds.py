"""A folder of wav2vec 2.0 by HTTP: a teacher of sound files, and a part of it as a student that transformers loads."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.e2e.conftest import Client
from tests.e2e.datasets.test_images import classes
from tests.engine.data.formats.images.archives import tarred, zipped
from tests.engine.data.formats.sounds.recordings import features_of
from tests.engine.jobs.datasets.sounds.test_networks_of_sounds import TRAINING, WAVE, extracted
from tests.engine.jobs.datasets.sounds.test_sounds import CLASSES, TARGETS, sounds
from tests.engine.models.library import sound_folders
from tests.engine.models.library.folders import packed
from workers.engine.models.families.library.packages import package

Json = dict[str, Any]
DATASET: Json = {
    "name": "tones",
    "format": "sounds",
    "inputs": {"wave": {"kind": "audio", **WAVE}},
    "targets": TARGETS,
    "splits": {"column": "split"},
}
MODEL: Json = {
    "name": "wav2vec2",
    "format": "huggingface",
    "inputs": {"wave": {"shape": [1, sound_folders.SAMPLES]}},
    "outputs": {"label": {"kind": "class"}},
}


@pytest.mark.exhaustive
def test_a_part_of_a_teacher_of_samples_answers_sound_files_as_in_transformers(client: Client, tmp_path: Path) -> None:
    files = sounds()
    dataset = client.upload("datasets", DATASET, zipped(tmp_path / "a.zip", files))
    made = sound_folders.network("wav2vec2", classes=CLASSES, **sound_folders.MASKED)
    processor = sound_folders.extractor("wav2vec2", return_attention_mask=True)
    folder = packed(sound_folders.saved(made, tmp_path / "model", processor), tmp_path / "teacher.zip")
    teacher = client.upload("models", MODEL, folder)
    assert teacher["state"] == "ready", teacher["rejection"]
    job = client.finish(
        {
            "kind": "distill",
            "dataset": dataset["id"],
            "teachers": [{"model": teacher["id"]}],
            "student": {"from_teacher": {"layers": [1]}},
            "distillation": {"allow_chance_teacher": True},
            "training": TRAINING,
            "control": False,
            "repeats": 1,
        }
    )
    test = {name: content for name, content in files.items() if name.startswith("test")}
    packed_sounds = tarred(tmp_path / "a.tar", {f"{i:02}.wav": test[name] for i, name in enumerate(sorted(test))})
    answered = classes(client, job["student"], "application/x-tar", packed_sounds.read_bytes())
    client.download(f"/v1/models/{job['student']}/bundle?wait=60", tmp_path / "bundle.zip")
    with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
        archive.extractall(tmp_path / "bundle")
    rows = extracted(tmp_path / "bundle", [features_of(test[name], **WAVE)[0] for name in sorted(test)])
    network = package("transformers").AutoModelForAudioClassification.from_pretrained(tmp_path / "bundle/huggingface")
    with torch.no_grad():
        found = network.eval()(**rows).logits.argmax(1).tolist()
    assert [CLASSES[each] for each in found] == answered
    assert network.config.num_hidden_layers == 1
    assert network.config.feat_extract_norm == "layer"
