"""Images that stay encoded give what decoded ones give, bit by bit, in whole jobs; none of their threads remains."""

import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.contracts.problems import UserError
from app.contracts.wire.events import ProgressEvent
from app.contracts.wire.orders import TrainingOutcome
from tests.engine.data.formats.images.archives import zipped
from tests.engine.harness import TEACHER, EngineHarness, StopAtStep, report_of
from tests.engine.jobs.datasets.test_images import STUDENT, as_archive, pictures
from tests.engine.jobs.preflight.test_preflight import preflight
from workers.engine.common.stop import Stopped
from workers.engine.data.formats.images import pixels as rule
from workers.engine.data.reading import read_dataset

Json = dict[str, Any]
COUNT, WAYS = 120, ("decoded", "encoded")
TRAINING: Json = {"epochs": 2, "batch_size": 32}
MIXED: Json = {"seed": 3, "transforms": [{"kind": "flip"}, {"kind": "mixup", "alpha": 0.4}]}
TRAIN: Json = {"kind": "train", "target": "label", "model": STUDENT, "training": TRAINING, "exports": []}
PLAIN: Json = {
    "kind": "distill",
    "target": "label",
    "teachers": [{"model": TEACHER}],
    "student": STUDENT,
    "training": TRAINING,
    "distillation": {"allow_chance_teacher": True},
    "exports": ["onnx", "int8"],
}
SPECS: dict[str, Json] = {
    "exports": PLAIN,
    "mixed, in micro-batches": {
        **PLAIN,
        "training": {**TRAINING, "views": MIXED, "micro_batch_size": 10},
        "exports": [],
    },
    "three seeds at once": {**PLAIN, "repeats": "auto", "exports": [], "student": {"family": "mlp", "hidden": [4]}},
    "a search": {
        **PLAIN,
        "distillation": {
            "allow_chance_teacher": True,
            "soft_targets": {"method": "kd", "temperature": {"search": [1.0, 4.0]}},
        },
        "student": {"family": "mlp", "hidden": [4]},
        "exports": [],
    },
}


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> EngineHarness:
    """A zip of images and a teacher of them."""
    harness = EngineHarness(tmp_path_factory.mktemp("images"))
    as_archive(harness, pictures(COUNT))
    harness.teacher(harness.run(TRAIN, "teacher"), harness.folder / "teacher" / "attempt-1")
    return harness


@pytest.fixture
def stays_encoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The rule leaves small images encoded too; no thread that decodes them is left at the end."""
    monkeypatch.setattr(rule, "DECODED_BYTES", 0)
    monkeypatch.setattr(rule, "TIMES", 0.0)
    yield
    assert not [each for each in threading.enumerate() if each.name.startswith("decode")]


def ran(harness: EngineHarness, spec: Json, job: str, attempt: int = 1, **changes: Any) -> TrainingOutcome:
    """A job with a cache of its own, so that nothing comes from another."""
    return harness.run(spec, job, attempt, cache_dir=str(harness.folder / job / "cache"), **changes)


def figures(outcome: TrainingOutcome) -> Json:
    """The figures of a report that do not depend on time."""
    found = report_of(outcome)
    parties = {"student": found.student, "control": found.control}
    return {"robustness": found.robustness, **{name: each and each.tasks for name, each in parties.items()}}


@pytest.mark.parametrize("name", SPECS)
def test_a_job_gives_the_same_files_and_figures(
    name: str, taught: EngineHarness, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr("workers.engine.data.rows.inputs._PREPARED_BYTES_OF_PIXELS", 0)
    decoded = figures(ran(taught, SPECS[name], f"{name} decoded"))
    request.getfixturevalue("stays_encoded")
    found = figures(ran(taught, SPECS[name], f"{name} encoded"))
    files = [{path.name: path.read_bytes() for path in taught.outputs(f"{name} {way}").iterdir()} for way in WAYS]
    assert files[0].keys() == files[1].keys()
    assert {each for each, content in files[0].items() if files[1][each] != content} == {"report.json"}
    assert found == decoded
    kept = {path.stat().st_size for path in (taught.folder / f"{name} encoded" / "cache" / "images").glob("*/images")}
    assert COUNT * 8 * 8 * 3 not in kept, "no row was stored decoded"


@pytest.mark.usefixtures("stays_encoded")
def test_a_job_that_was_stopped_in_an_epoch_and_resumed_gives_the_same_student(taught: EngineHarness) -> None:
    spec = SPECS["mixed, in micro-batches"]
    ran(taught, spec, "whole")
    with pytest.raises(Stopped):
        ran(taught, spec, "broken", stop=StopAtStep(8))
    assert taught.log.checkpoints[-1].step in (1, 2, 3, 4, 5)
    ran(taught, spec, "broken", attempt=2)
    assert taught.digest("broken", attempt=2) == taught.digest("whole")


@pytest.mark.usefixtures("stays_encoded")
def test_the_share_of_time_in_which_steps_waited_is_told(taught: EngineHarness) -> None:
    ran(taught, TRAIN, "waited")
    told = [event.input_wait for event in taught.log.events if isinstance(event, ProgressEvent)]
    assert told
    assert all(share is not None and 0.0 < share < 1.0 for share in told)


@pytest.mark.usefixtures("stays_encoded")
def test_an_image_that_breaks_after_the_inspection_ends_the_job_by_its_name(harness: EngineHarness) -> None:
    """The upload changes beneath its facts: a job decodes nothing before its steps, but says which image it was."""
    as_archive(harness, pictures(COUNT))
    assert harness.data is not None
    path = Path(harness.data.path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in sorted(archive.namelist())}
    name = list(contents)[int(read_dataset(path, harness.data.manifest).splits["validation"][-1])]
    zipped(path, {**contents, name: contents[name][:-40]})
    with pytest.raises(UserError) as caught:
        harness.run(TRAIN)
    assert caught.value.code == "broken_image"
    assert f"`{name}`" in caught.value.message
    assert [event for event in harness.log.events if isinstance(event, ProgressEvent)], "steps were made before"


def test_a_preflight_counts_no_memory_for_them(taught: EngineHarness, request: pytest.FixtureRequest) -> None:
    whole = preflight(taught, TRAIN, name="prepared").memory
    request.getfixturevalue("stays_encoded")
    found = preflight(taught, TRAIN, name="encoded").memory
    assert found.rows == COUNT * 8 * 8 * 3, "of 8 bits, decoded"
    assert whole.total is not None
    assert found.total == whole.total - whole.rows
