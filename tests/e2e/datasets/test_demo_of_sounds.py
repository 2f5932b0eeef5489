"""`make demo-audio` in short: tones in place of speech, few steps. What its figures are is not asked."""

import csv
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.demo.service import Curl, Service
from tests.demo.sounds import __main__ as demo
from tests.demo.sounds import speech


def short(spec: dict[str, Any]) -> dict[str, Any]:
    training = {**spec["training"], "steps": 60}
    return {**spec, "training": training, **({"repeats": 1} if "repeats" in spec else {})}


@pytest.mark.timeout(300)
def test_the_demo_teaches_distils_and_runs_the_bundle(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speech, "MANNERS", speech.MANNERS[:2])
    monkeypatch.setattr(demo, "TEACHER", short(demo.TEACHER))
    monkeypatch.setattr(demo, "STUDENT", short(demo.STUDENT))
    curl = Curl(service)
    dataset, teacher = demo.taught(curl, tmp_path, tones=True)
    assert (dataset["rows"], dataset["splits"]) == (320, {"train": 180, "validation": 40, "test": 100})
    job = demo.distilled(curl, dataset, teacher)
    same, compared = demo.run_elsewhere(curl, service.url, job["student"], tmp_path)
    reports = [curl.json(f"{service.url}/v1/jobs/{each['id']}/report") for each in (teacher, job)]
    assert same == compared == demo.COMPARED
    assert [line.split()[0] for line in demo.table(*reports)[1:]] == ["teacher", "student", "control"]
    smaller, _, bundled = demo.verdicts(reports[1], same, compared)
    assert (smaller[1], bundled[1]) == (True, True)


def test_voices_of_the_test_are_heard_nowhere_else_and_few_sounds_are_labelled(tmp_path: Path) -> None:
    speech.write_speech(tmp_path / "a.zip", speech.by_tones, copies=1)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        rows = list(csv.DictReader(archive.read("metadata.csv").decode().splitlines()))
    voices: dict[str, set[str]] = {split: set() for split in speech.VOICES}
    for row in rows:
        voices[row["split"]].add(Path(row["file_name"]).name.partition("-")[0])
    assert {name: len(found) for name, found in voices.items()} == {"train": 9, "validation": 2, "test": 5}
    assert not voices["test"] & (voices["train"] | voices["validation"])
    assert sum(bool(row["few"]) for row in rows if row["split"] == "train") == 10 * speech.LABELLED


def test_without_espeak_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(SystemExit, match="apt-get install espeak-ng"):
        speech.check_espeak()
