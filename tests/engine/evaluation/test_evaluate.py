"""Evaluation after training: what is measured and written, and the result where nothing can be measured."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from app.contracts.resources.manifests import ClassOutput, InputTransform, ValueOutput
from app.contracts.resources.splits import SplitName
from app.contracts.specs.architectures import Architecture
from workers.engine.data.dataset import TargetColumn
from workers.engine.evaluation.evaluate import Evaluation, Networks, evaluate
from workers.engine.evaluation.metrics.task_metrics import task_metrics
from workers.engine.evaluation.parties import EvaluatedTask, Outputs, TaskTeacher, network_outputs
from workers.engine.evaluation.predictions import PredictionsFiles
from workers.engine.models import build, initialise

ROWS = 3000
LOGITS = ClassOutput(kind="class")
SPLITS: dict[SplitName, Tensor] = {
    "train": torch.arange(0, 1000),
    "validation": torch.arange(1000, 1200),
    "test": torch.arange(1200, ROWS),
}


def digits(missing: bool = False) -> TargetColumn:
    labels = torch.randint(4, (ROWS,), generator=torch.Generator().manual_seed(0))
    if missing:
        labels = torch.full_like(labels, -1)
    return TargetColumn(kind="class", size=4, values=labels, labelled=labels >= 0)


def sizes() -> TargetColumn:
    values = torch.randn(ROWS, generator=torch.Generator().manual_seed(1))
    return TargetColumn(kind="value", size=1, values=values, labelled=~values.isnan())


def saying(noise: float, seed: int) -> Tensor:
    """Logits for all rows that favour the label, the less the noisier."""
    noisy = noise * torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.one_hot(digits().values, 4) * 2.0 + noisy


TEACHER, SECOND, STUDENT, CONTROL = saying(0.5, 1), saying(1.0, 2), saying(0.8, 3), saying(3.0, 4)
SIZE = sizes().values[:, None] + 0.1


def party(logits: Tensor) -> Outputs:
    return lambda rows: {"digit": logits[rows], "size": SIZE[rows]}


def teachers_of(*teachers: Tensor) -> tuple[TaskTeacher, ...]:
    return tuple(
        TaskTeacher(key=str(i), weight=1.0 + i, spec=LOGITS, outputs=logits.__getitem__)
        for i, logits in enumerate(teachers)
    )


def run(
    folder: Path,
    tasks: tuple[EvaluatedTask, ...],
    splits: dict[SplitName, Tensor] = SPLITS,
    control: Outputs | None = party(CONTROL),
) -> Evaluation:
    with PredictionsFiles(folder) as files:
        return evaluate(tasks, Networks([party(STUDENT)], [control] if control else []), splits, files)


def digit_task(target: TargetColumn | None, *teachers: Tensor) -> EvaluatedTask:
    return EvaluatedTask("digit", LOGITS, target, teachers_of(*teachers))


def test_every_party_is_measured_on_the_whole_test_split(tmp_path: Path) -> None:
    found = run(tmp_path, (digit_task(digits(), TEACHER, SECOND),))
    test = SPLITS["test"]
    assert found.student["digit"] == task_metrics(STUDENT[test], LOGITS, digits(), test)
    assert found.control["digit"] == task_metrics(CONTROL[test], LOGITS, digits(), test)
    assert found.teachers["digit"] == tuple(task_metrics(t[test], LOGITS, digits(), test) for t in (TEACHER, SECOND))
    assert found.verdict["digit"].verdict == "provisional_gain"
    assert found.not_measured == {}


def test_fidelity_is_to_the_weighted_mean_of_the_teachers(tmp_path: Path) -> None:
    found = run(tmp_path, (digit_task(digits(), TEACHER, SECOND),)).fidelity["digit"]
    test = SPLITS["test"]
    mean = (TEACHER[test].double().softmax(1) + 2.0 * SECOND[test].double().softmax(1)) / 3.0
    student = STUDENT[test].double().log_softmax(1)
    assert found.kl == pytest.approx((mean * (mean.log() - student)).sum(1).mean().item(), rel=1e-5)
    assert found.agreement == pytest.approx((mean.argmax(1) == student.argmax(1)).double().mean().item())


def test_predictions_of_every_split_are_written(tmp_path: Path) -> None:
    run(tmp_path, (digit_task(digits(), TEACHER), EvaluatedTask("size", ValueOutput(kind="value"), sizes())))
    for split, rows in SPLITS.items():
        with np.load(tmp_path / f"predictions-{split}.npz") as file:
            assert {name.partition("/")[0] for name in file} == {split}
            assert file[f"{split}/row"].tolist() == rows.tolist()
            np.testing.assert_array_equal(file[f"{split}/digit/student"], STUDENT[rows].numpy())
            np.testing.assert_array_equal(file[f"{split}/digit/control"], CONTROL[rows].numpy())
            np.testing.assert_array_equal(file[f"{split}/digit/teacher"], TEACHER[rows].numpy())
            np.testing.assert_array_equal(file[f"{split}/digit/label"], digits().values[rows].numpy())
            np.testing.assert_array_equal(file[f"{split}/size/student"], SIZE[rows].numpy())
            assert f"{split}/size/teacher" not in file


def test_every_task_of_a_taught_job_has_a_verdict_and_only_taught_ones_fidelity(tmp_path: Path) -> None:
    size = EvaluatedTask("size", ValueOutput(kind="value"), sizes())
    found = run(tmp_path, (digit_task(digits(), TEACHER), size))
    assert set(found.verdict) == {"digit", "size"}
    assert set(found.fidelity) == {"digit"}
    assert found.verdict["size"].verdict == "undecided"


def test_a_job_without_teachers_has_no_verdict(tmp_path: Path) -> None:
    found = run(tmp_path, (digit_task(digits()),), control=None)
    assert (found.verdict, found.fidelity, found.control) == ({}, {}, {})
    assert found.teachers == {"digit": ()}
    assert found.student["digit"]["rows"] == len(SPLITS["test"])


def test_without_a_test_split_nothing_is_measured_and_it_says_so(tmp_path: Path) -> None:
    empty: dict[SplitName, Tensor] = {**SPLITS, "test": torch.empty(0, dtype=torch.int64)}
    absent: dict[SplitName, Tensor] = {name: rows for name, rows in SPLITS.items() if name != "test"}
    for splits in (empty, absent):
        found = run(tmp_path, (digit_task(digits(), TEACHER),), splits=splits)
        assert (found.student, found.control, found.fidelity) == ({}, {}, {})
        assert found.not_measured == {"digit": "the dataset has no test split"}
        assert found.verdict["digit"].verdict == "not_applicable"
        assert "no test split" in found.verdict["digit"].method
        written = sorted(path.name for path in tmp_path.iterdir())
        assert written == ["predictions-train.npz", "predictions-validation.npz"]


@pytest.mark.parametrize("target", [None, digits(missing=True)])
def test_without_labels_only_fidelity_is_measured(target: TargetColumn | None, tmp_path: Path) -> None:
    found = run(tmp_path, (digit_task(target, TEACHER),))
    assert found.student == {}
    assert found.fidelity["digit"].rows == len(SPLITS["test"])
    assert "label" in found.not_measured["digit"]
    assert found.verdict["digit"].verdict == "not_applicable"


def test_without_a_control_the_verdict_is_not_applicable(tmp_path: Path) -> None:
    found = run(tmp_path, (digit_task(digits(), TEACHER),), control=None)
    assert found.verdict["digit"].verdict == "not_applicable"
    assert "no control" in found.verdict["digit"].method
    with np.load(tmp_path / "predictions-test.npz") as file:
        assert "test/digit/control" not in file


def test_a_stop_during_evaluation_leaves_no_predictions(tmp_path: Path) -> None:
    def check() -> None:
        raise InterruptedError("cancelled")

    with pytest.raises(InterruptedError), PredictionsFiles(tmp_path) as files:
        evaluate((digit_task(digits(), TEACHER),), Networks([party(STUDENT)]), SPLITS, files, check)
    assert list(tmp_path.iterdir()) == []


def test_answering_moves_no_running_statistics() -> None:
    architecture = {"family": "convnet", "input_shape": [1, 4, 4], "channels": [3], "outputs": {"digit": 4}}
    parsed: TypeAdapter[Architecture] = TypeAdapter(Architecture)
    network = build(parsed.validate_json(json.dumps(architecture)))
    initialise(network, seed=0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    answer = network_outputs(network, torch.randn(20, 16), InputTransform(), torch.device("cpu"))
    answered = answer(torch.arange(20))["digit"]
    assert not answered.requires_grad
    assert any("running_mean" in name for name in before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_network_answers_alike_whoever_asks_for_which_rows() -> None:
    architecture = {"family": "mlp", "input_shape": [6], "hidden": [8], "outputs": {"digit": 4}, "dropout": 0.5}
    parsed: TypeAdapter[Architecture] = TypeAdapter(Architecture)
    network = build(parsed.validate_json(json.dumps(architecture)))
    initialise(network, seed=0)
    raw = torch.randint(256, (100, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    answer = network_outputs(network, raw, InputTransform(scale=1 / 255, mean=0.5), torch.device("cpu"))
    whole = answer(torch.arange(100))["digit"]
    assert network.training
    assert whole.shape == (100, 4)
    torch.testing.assert_close(answer(torch.tensor([5, 50]))["digit"], whole[[5, 50]])
