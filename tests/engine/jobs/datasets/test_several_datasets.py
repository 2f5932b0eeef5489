"""Jobs on several datasets: batches in proportion, rows joined, teachers kept by dataset, resumed bit for bit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.contracts.reports.document.text import render
from app.contracts.reports.preflight import PreflightReport
from app.contracts.specs.jobs import DatasetRef, MultitaskJob, PreflightJob
from tests.engine.harness import DATASET, OTHER, TEACHER, Arrays, EngineHarness, blobs, report_of
from tests.engine.jobs.distillation.trained_jobs import trained
from tests.engine.jobs.interrupted_jobs import (
    DISTILL,
    TRAIN,
    TRAINING,
    alone,
    harness_with_teachers,
    points,
    stop,
    whole,
)
from tests.engine.plain_training import plain_settings
from workers.engine.common.stop import NeverStop
from workers.engine.data.dataset import Dataset, Source
from workers.engine.data.joining import concatenate_and_free, read_datasets
from workers.engine.data.mixture import Mixture
from workers.engine.data.reading import read_dataset
from workers.engine.jobs.test_analysis import MAX_CORRUPTED_ROWS, rows_to_corrupt
from workers.engine.run import execute
from workers.engine.training.batches import BatchSchedule

NONE = torch.empty(0, dtype=torch.int64)
BOTH: dict[str, Any] = {"datasets": [{"dataset": DATASET, "weight": 2.0}, {"dataset": OTHER, "weight": 1.0}]}
FIRST: dict[str, Any] = {"targets": {"label": {"kind": "class", "classes": 3}}}
SECOND_ONE: dict[str, Any] = {"targets": {"size": {"kind": "value"}}}
MULTITASK: dict[str, Any] = {
    "kind": "multitask",
    **BOTH,
    "tasks": [{"name": "label"}, {"name": "size"}],
    "student": {"family": "mlp", "hidden": [8]},
    "training": TRAINING,
}
"""`label` has labels in the first dataset alone, `size` in the second."""
COMBINATION = MULTITASK | {
    "tasks": [{"name": "label", "teachers": [{"model": TEACHER}]}, {"name": "size"}],
    "student": {"family": "mlp", "hidden": [8], "dropout": 0.2, "normalization": "batch"},
    "balancing": {"method": "pcgrad"},
}


def of_second(rows: int = 60, shift: float = 0.0) -> Arrays:
    """Further points of the same three blobs, moved as a whole."""
    arrays = blobs(rows=rows + 240)
    arrays = {name: values[240:] for name, values in arrays.items()}
    return arrays | {"x": arrays["x"] + np.float32(shift)}


def opened(folder: Path, shift: float = 0.0) -> EngineHarness:
    """240 rows with `label` and a teacher of it, 60 rows with `size`."""
    harness = harness_with_teachers(folder, json.dumps(FIRST))
    harness.another(of_second(shift=shift), name="second", **SECOND_ONE)
    return harness


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> EngineHarness:
    return opened(tmp_path_factory.mktemp("two"))


def joined(harness: EngineHarness, spec: dict[str, Any] | None = None) -> Dataset:
    order = harness.order(spec or MULTITASK)
    assert isinstance(order.spec, MultitaskJob)
    return read_datasets(order, order.spec.dataset_refs())


# The rows


def test_rows_are_joined_dataset_by_dataset(shared: EngineHarness) -> None:
    dataset = joined(shared)
    one, two = (read_dataset(Path(each.path), each.manifest) for each in shared.order(MULTITASK).datasets.values())
    assert torch.equal(dataset.inputs["x"], torch.cat([one.inputs["x"], two.inputs["x"]]))
    for name, rows in dataset.splits.items():
        assert torch.equal(rows, torch.cat([one.splits[name], two.splits[name] + 240]))
    label, size = dataset.targets["label"], dataset.targets["size"]
    assert torch.equal(label.values[:240], one.targets["label"].values)
    assert set(label.values[240:].tolist()) == {-1}
    assert bool(size.values[:240].isnan().all())
    assert torch.equal(size.labelled, torch.arange(300) >= 240)
    assert [(source.first, source.rows, source.weight) for source in dataset.sources] == [(0, 240, 2.0), (240, 60, 1.0)]


def test_inputs_are_standardised_by_all_training_rows(tmp_path: Path) -> None:
    harness = EngineHarness(tmp_path)
    inputs: dict[str, Any] = {"inputs": {"x": {"kind": "array", "standardize": True}}}
    harness.dataset(**inputs, **FIRST)
    harness.another(of_second(shift=50.0), **inputs, **SECOND_ONE)
    dataset = joined(harness)
    rows = dataset.inputs["x"][dataset.splits["train"]].double()
    transform = dataset.transforms["x"]
    torch.testing.assert_close(torch.tensor(transform.mean), rows.mean(0).float())
    torch.testing.assert_close(torch.tensor(transform.std), rows.std(0, correction=0).float())


def test_bytes_stay_bytes_unless_another_dataset_has_numbers() -> None:
    small, large = torch.arange(6, dtype=torch.uint8).reshape(2, 3), torch.full((1, 3), 0.5)
    assert concatenate_and_free([small, small]).dtype == torch.uint8
    parts = [small, large]
    assert torch.equal(concatenate_and_free(parts), torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [0.5, 0.5, 0.5]]))
    assert parts == [], "copied parts are released"


# The batches


def schedule(sizes: tuple[int, ...], weights: tuple[float, ...], size: int, **training: Any) -> BatchSchedule:
    """Every second row of datasets of 2n rows is learned from."""
    firsts = np.cumsum([0, *(2 * each for each in sizes)])
    sources = [
        Source(f"ds-{i}", int(first), 2 * rows, weight, torch.float32)
        for i, (first, rows, weight) in enumerate(zip(firsts, sizes, weights, strict=False))
    ]
    rows = torch.arange(0, 2 * sum(sizes), 2)
    return BatchSchedule(plain_settings(batch_size=size, **training), rows, NONE, Mixture.of(sources, rows))


@pytest.mark.parametrize(
    ("sizes", "weights", "quotas"),
    [((90, 10), (1.0, 1.0), [16, 16]), ((7, 500, 40), (1.0, 2.0, 0.5), [9, 18, 5]), ((3, 3), (30.0, 1.0), [31, 1])],
)
def test_every_batch_has_the_quota_of_each_dataset(
    sizes: tuple[int, ...], weights: tuple[float, ...], quotas: list[int]
) -> None:
    found = schedule(sizes, weights, 32, epochs=3)
    assert found.batches == -(-sum(sizes) // 32)
    assert found.steps == 3 * found.batches
    assert found.mixture is not None
    for epoch in range(3):
        batches = found.epoch(epoch)
        assert len(batches) == found.batches
        for batch in batches:
            assert [len(source.select(batch)) for source in found.mixture.sources] == quotas


def test_a_small_dataset_goes_round_and_a_large_one_goes_on_over_the_ends_of_epochs() -> None:
    """No row comes again before all of its dataset have come; each time around in another order."""
    found = schedule((10, 90), (1.0, 1.0), 20)
    assert found.mixture is not None
    stream = torch.cat([batch for epoch in range(9) for batch in found.epoch(epoch)])
    small, large = (source.select(stream) for source in found.mixture.sources)
    assert len(small) == len(large) == 450
    for own, rows in ((small, 10), (large, 90)):
        rounds = own.reshape(-1, rows)
        assert all(len(each.unique()) == rows for each in rounds)
        assert not torch.equal(rounds[0], rounds[1])


def test_the_batches_of_an_epoch_are_a_function_of_seed_and_epoch() -> None:
    first = torch.stack(schedule((10, 90), (1.0, 3.0), 20, seed=4).epoch(2))
    torch.manual_seed(0)
    again = schedule((10, 90), (1.0, 3.0), 20, seed=4)
    again.epoch(5)
    assert torch.equal(torch.stack(again.epoch(2)), first)
    assert not torch.equal(torch.stack(again.epoch(3)), first)
    assert not torch.equal(torch.stack(schedule((10, 90), (1.0, 3.0), 20, seed=5).epoch(2)), first)


def test_parts_of_a_batch_have_its_proportions_too() -> None:
    """Micro-batches meet BatchNorm: none may be of one dataset alone."""
    found = schedule((10, 90), (1.0, 3.0), 64)
    assert found.mixture is not None
    for part in torch.split(found.epoch(0)[0], 16):
        assert [len(source.select(part)) for source in found.mixture.sources] == [4, 12]


def test_rows_from_which_no_task_learns_are_left_out_and_the_quotas_hold_over_the_rest(tmp_path: Path) -> None:
    harness = EngineHarness(tmp_path)
    arrays = blobs()
    arrays["label"][::2] = -1
    harness.dataset(arrays, **FIRST)
    harness.another(of_second(), **SECOND_ONE)
    outcome = harness.run(MULTITASK)
    report = report_of(outcome)
    dataset = joined(harness)
    learned = int(dataset.targets["label"].labelled[dataset.splits["train"]].sum())
    assert [use.learned for use in report.datasets] == [learned, 42]
    assert [use.batch for use in report.datasets] == [21, 11]
    assert report.student.steps == 2 * -(-(learned + 42) // 32)


# One dataset


def test_one_dataset_is_trained_on_as_it_always_was(shared: EngineHarness) -> None:
    """Whichever way it is written, whatever its weight: the same batches, the same control, the same bits."""
    named = DISTILL | {"datasets": [{"dataset": DATASET, "weight": 3.0}]}
    plain = shared.run(DISTILL, "plain")
    report = report_of(shared.run(named, "named"))
    assert report.control is not None
    assert report.control.cached
    assert report.targets[0].store == "hit"
    assert shared.digest("plain") == shared.digest("named")
    with np.load(shared.outputs("named") / "predictions-test.npz") as found:
        assert "test/dataset" not in found
    assert [(use.batch, use.weight) for use in report_of(plain).datasets] == [(None, 1.0)]
    order = shared.order(DISTILL)
    dataset = read_datasets(order, [DatasetRef(dataset=DATASET)])
    assert Mixture.of(dataset.sources, dataset.splits["train"]) is None


def test_a_stage_on_rows_of_one_dataset_among_several_has_the_batches_of_that_dataset_alone() -> None:
    """A control on labelled rows, a baseline of one task: what a job on their dataset alone goes through."""
    rows, training = torch.arange(100, 150), plain_settings(seed=7, batch_size=16)
    sources = [Source("a", 0, 100, 2.0, torch.float32), Source("b", 100, 60, 1.0, torch.float32)]
    found = BatchSchedule(training, rows, NONE, Mixture.of(sources, rows))
    alone_ = BatchSchedule(training, rows - 100, NONE)
    assert found.batches == alone_.batches
    for ours, theirs in zip(found.epoch(2), alone_.epoch(2), strict=True):
        assert torch.equal(ours - 100, theirs)


# Training


def test_a_task_learns_from_the_dataset_that_has_its_labels(shared: EngineHarness) -> None:
    spec = MULTITASK | {"training": TRAINING | {"epochs": 30}}
    report = report_of(shared.run(spec, "learns"))
    label, size = (report.student.tasks[name] for name in ("label", "size"))
    assert (label["rows"], size["rows"]) == (36.0, 9.0)
    assert label["accuracy"] is not None
    assert label["accuracy"] > 0.8
    assert size["r2"] is not None
    assert size["r2"] > 0.8
    assert [(use.dataset, use.name, use.rows) for use in report.datasets] == [
        (DATASET, "blobs", {"train": 168, "validation": 36, "test": 36}),
        (OTHER, "second", {"train": 42, "validation": 9, "test": 9}),
    ]
    assert set(report.digests) >= {f"dataset/{DATASET}", f"dataset/{OTHER}"}
    assert "dataset second: 11 rows of each batch; 42 train, 9 validation, 9 test rows" in render(
        report.model_dump(mode="json")
    )


def test_datasets_with_the_same_target_are_more_rows_of_it(tmp_path: Path) -> None:
    harness = EngineHarness(tmp_path)
    harness.dataset(**FIRST)
    harness.another(of_second(120), **FIRST)
    report = report_of(harness.run(TRAIN | BOTH))
    assert report.student.tasks["label"]["rows"] == 36 + 18
    assert [use.learned for use in report.datasets] == [168, 84]
    assert report.student.steps == 2 * -(-(168 + 84) // 32)


def test_predictions_name_dataset_and_row(shared: EngineHarness) -> None:
    shared.run(MULTITASK, "predicts")
    order = shared.order(MULTITASK)
    parts = [read_dataset(Path(each.path), each.manifest) for each in order.datasets.values()]
    with np.load(shared.outputs("predicts") / "predictions-test.npz") as found:
        for place, part in enumerate(parts):
            own = found["test/dataset"] == place
            assert found["test/row"][own].tolist() == part.splits["test"].tolist()
        second = found["test/dataset"] == 1
        rows = found["test/row"][second]
        np.testing.assert_array_equal(found["test/size/label"][second], parts[1].targets["size"].values[rows])
        assert np.isnan(found["test/size/label"][~second]).all()
        assert set(found["test/label/label"][second]) == {-1}


@pytest.mark.parametrize("spec", [MULTITASK, COMBINATION], ids=["multitask", "combination"])
def test_a_mixed_job_that_was_interrupted_gives_the_student_of_one_that_was_not(
    shared: EngineHarness, spec: dict[str, Any]
) -> None:
    """Stopped inside the first epoch, at its end and in the second; the small dataset has gone round by then."""
    job = f"resume-{'teachers' in str(spec)}"
    spec = spec | {"training": TRAINING | {"epochs": 3}}
    whole(shared, spec, f"{job}-whole")
    steps, series = report_of(whole(shared, spec, f"{job}-again")).student.steps, points(shared)
    assert steps == 21
    stops = (1, 7, 16)
    for attempt, before in enumerate(stops, start=1):
        done = stops[attempt - 2] if attempt > 1 else 0
        stop(shared, spec, job, before=before, attempt=attempt, done=done, blocks=2)
    outcome = shared.run(spec, job, 4, **alone(shared, job))
    assert report_of(outcome).bit_exact
    assert shared.digest(job, 4) == shared.digest(f"{job}-whole") == shared.digest(f"{job}-again")
    if report_of(outcome).control is not None:
        assert shared.digest(job, 4, "control") == shared.digest(f"{job}-whole", role="control")
    assert points(shared) == [point for point in series if point[1] > stops[-1]]


@pytest.mark.parametrize("micro", [None, 16])
@pytest.mark.parametrize(("weight", "share"), [(1.0, 0.5), (3.0, 0.75)])
def test_batch_norm_sees_one_mixed_batch(tmp_path: Path, weight: float, share: float, micro: int | None) -> None:
    """Trap 10: with a forward pass for each task the running mean would lean towards the last one's rows, and the
    running variance would be that within a dataset.
    """
    harness = EngineHarness(tmp_path)
    harness.dataset(**FIRST)
    harness.another(of_second(shift=40.0), **SECOND_ONE)
    still = {"optimizer": "sgd", "learning_rate": 1e-12, "select_by": "last"}
    spec = MULTITASK | {
        "datasets": [{"dataset": DATASET, "weight": weight}, {"dataset": OTHER}],
        "student": {"family": "mlp", "hidden": [8], "normalization": "batch"},
        "training": {"steps": 200, "batch_size": 64, "micro_batch_size": micro, **still},
    }
    found = trained(harness, spec, "norm")
    network, dataset = found.student.network, found.data.dataset
    (norm,) = (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm1d))
    before = network.get_submodule("layers.0")
    with torch.no_grad():
        own = [before(dataset.inputs["x"][source.select(dataset.splits["train"])]) for source in dataset.sources]
    apart = own[0].mean(0) - own[1].mean(0)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    of_first = float((norm.running_mean - own[1].mean(0)) @ apart / (apart @ apart))
    assert of_first == pytest.approx(share, abs=0.01)
    mixed = share * own[0].var(0) + (1.0 - share) * own[1].var(0) + share * (1.0 - share) * apart.square()
    torch.testing.assert_close(norm.running_var.sum(), mixed.sum(), rtol=0.1, atol=0.0)
    found.teachers.close()


# Teachers


def test_a_teacher_has_outputs_for_the_rows_of_all_datasets(shared: EngineHarness) -> None:
    found = trained(shared, COMBINATION, "transfer")
    (teacher_outputs,) = found.tasks[0].teachers
    assert bool(teacher_outputs.available.all())
    assert int(found.tasks[0].student.counted.sum()) == 300, "its soft targets fill what labels lack"
    assert int(found.tasks[1].student.counted.sum()) == 60
    found.teachers.close()


def test_targets_are_kept_by_dataset_and_found_by_whoever_uses_one_of_them(tmp_path: Path) -> None:
    harness = opened(tmp_path)
    first = report_of(harness.run(COMBINATION, "both")).targets[0]
    assert (first.store, first.passes, first.saved, first.rows, first.key) == ("miss", 2, 0, 300, None)
    alone_ = DISTILL | {"distillation": {"allow_chance_teacher": True}}
    one = report_of(harness.run(alone_, "one")).targets[0]
    assert (one.store, one.passes, one.saved, one.rows) == ("hit", 0, 1, 240)
    harness.another(of_second(90), "ds_01890a5d-ac96-774b-bcce-b302099a8059", **SECOND_ONE)
    third = COMBINATION | {
        "datasets": [{"dataset": "ds_01890a5d-ac96-774b-bcce-b302099a8059"}, {"dataset": DATASET}],
    }
    mixed = report_of(harness.run(third, "third")).targets[0]
    assert (mixed.store, mixed.passes, mixed.saved) == ("miss", 1, 1)


def test_teacher_outputs_of_joined_datasets_are_those_of_each_dataset_alone(tmp_path: Path) -> None:
    """Bit for bit: blocks begin anew with each dataset. Also where bytes were joined with numbers."""
    harness = EngineHarness(tmp_path)
    arrays = blobs(rows=300)
    arrays["x"] = (arrays["x"] * 8.0 + 128.0).clip(0, 255).astype(np.uint8)
    inputs: dict[str, Any] = {"inputs": {"x": {"kind": "array", "scale": 0.125}}}
    harness.dataset(arrays, **inputs, **FIRST)
    harness.teacher(harness.run(TRAIN, TEACHER), harness.folder / TEACHER / "attempt-1")
    harness.another(of_second(70), **inputs, **SECOND_ONE)
    task = COMBINATION["tasks"][0] | {"distillation": {"allow_chance_teacher": True}}
    both = trained(harness, COMBINATION | {"tasks": [task, {"name": "size"}]}, "both")
    one = trained(harness, COMBINATION | {"tasks": [task], "datasets": BOTH["datasets"][:1]}, "one")
    together, first = both.tasks[0].teachers[0].numbers, one.tasks[0].teachers[0].numbers
    assert both.data.dataset.inputs["x"].dtype == torch.float32
    assert one.data.dataset.inputs["x"].dtype == torch.uint8
    assert torch.equal(together[:300], first)
    assert one.teachers.uses[TEACHER].store == "hit"
    for each in (both, one):
        each.teachers.close()


def test_columns_teach_in_their_own_dataset_and_have_no_outputs_elsewhere(tmp_path: Path) -> None:
    harness = EngineHarness(tmp_path)
    arrays = blobs()
    arrays["told"] = np.eye(3, dtype=np.float32)[arrays["label"]] * 5.0
    columns = {"told": {"kind": "teacher", "predicts": {"kind": "class"}}}
    harness.dataset(arrays, targets=FIRST["targets"] | columns)
    harness.another(of_second(), **FIRST)
    spec = MULTITASK | {"tasks": [{"name": "label", "teachers": [{"columns": "told"}]}]}
    found = trained(harness, spec, "columns")
    assert torch.equal(found.tasks[0].teachers[0].available, torch.arange(300) < 240)
    assert int(found.tasks[0].student.counted.sum()) == 300
    found.teachers.close()


# Controls


def test_a_control_is_found_again_only_for_the_same_datasets_and_weights(tmp_path: Path) -> None:
    harness = opened(tmp_path)

    def cached(spec: dict[str, Any], job: str) -> bool:
        control = report_of(harness.run(spec, job)).control
        assert control is not None
        return control.cached

    assert not cached(COMBINATION, "first")
    assert cached(COMBINATION, "second")
    even = [ref | {"weight": 1.0} for ref in BOTH["datasets"]]
    assert not cached(COMBINATION | {"datasets": even}, "weights")
    harness.another(of_second(shift=1.0), **SECOND_ONE)
    assert not cached(COMBINATION, "data")


def test_without_labels_in_one_dataset_the_control_learns_from_the_other_for_as_many_steps(tmp_path: Path) -> None:
    harness = harness_with_teachers(tmp_path, json.dumps(FIRST))
    harness.another(of_second(), targets={})
    spec = {**DISTILL, **BOTH}
    report = report_of(harness.run(spec))
    assert report.control is not None
    assert report.control.steps == report.student.steps == 2 * 7
    assert [use.learned for use in report.datasets] == [168, 42]
    assert [use.batch for use in report.datasets] == [21, 11]


# Views, searches, repeats, preflight


def test_views_of_mixed_rows_are_taught_as_they_are_seen(shared: EngineHarness) -> None:
    views = {"transforms": [{"kind": "noise", "std": 0.3}, {"kind": "mixup"}]}
    spec = COMBINATION | {"training": TRAINING | {"views": views}, "control": False}
    first = report_of(shared.run(spec, "views")).targets[0]
    again = report_of(shared.run(spec, "views-again")).targets[0]
    assert first.passes > 0
    assert (again.passes, again.saved) == (0, 2 + 2)
    assert shared.digest("views") == shared.digest("views-again")


def test_searches_with_folds_and_repeats_are_mixed_too(shared: EngineHarness) -> None:
    terms = {"soft_targets": {"method": "kd", "temperature": {"search": [1.0, 4.0], "folds": 2}}}
    spec = {**DISTILL, **BOTH, "distillation": terms, "repeats": 2, "training": TRAINING | {"epochs": 1}}
    shared.another(of_second(), "ds_01890a5d-ac96-774b-bcce-b302099a8050", **SECOND_ONE)
    report = report_of(shared.run(spec, "search"))
    assert report.search is not None
    assert all(len(trial.folds) == 2 for trial in report.search.trials)
    assert report.verdict["label"].repeats == 2


def test_a_preflight_looks_at_all_datasets(shared: EngineHarness) -> None:
    order = shared.order(COMBINATION, "look")
    spec = PreflightJob.model_validate({"kind": "preflight", "job": order.spec})
    outcome = execute(order.model_copy(update={"spec": spec}), shared.log.emit, NeverStop())
    report = PreflightReport.model_validate(outcome.model_dump()["report"])
    assert report.would_fail == ()
    (teacher,) = report.teachers
    assert teacher.rows == 168, "training rows with a label, of which the teacher says something"
    assert not teacher.at_chance
    assert report.steps == 2 * -(-210 // 32)
    assert set(report.digests) >= {f"dataset/{DATASET}", f"dataset/{OTHER}"}
    assert report.targets[0].rows == 300


def test_rows_that_are_disturbed_are_of_every_dataset() -> None:
    rows = torch.arange(5 * MAX_CORRUPTED_ROWS)
    assert torch.equal(rows_to_corrupt(rows, datasets=1), rows[:MAX_CORRUPTED_ROWS])
    some = rows_to_corrupt(rows, datasets=2)
    assert len(set(some.tolist())) == MAX_CORRUPTED_ROWS
    assert int((some >= 4 * MAX_CORRUPTED_ROWS).sum()) == pytest.approx(MAX_CORRUPTED_ROWS / 5, abs=1)
