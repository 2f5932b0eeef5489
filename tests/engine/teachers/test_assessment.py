"""Does a teacher of any kind know the labels? And what is said where labels cannot tell."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.manifests import OutputSpec
from app.contracts.specs.distillation import TaskKind
from app.contracts.wire.events import ChildEvent, WarningEvent
from workers.engine.data.dataset import TargetColumn
from workers.engine.evaluation.metrics.auroc import binary_auroc
from workers.engine.losses.teacher_mix import TeacherOutputs
from workers.engine.teachers.agreement import area_under_curve
from workers.engine.teachers.assessment import assess, check_teacher

SPEC: TypeAdapter[OutputSpec] = TypeAdapter(OutputSpec)
N = 400


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def outputs(kind: str, values: Tensor, **more: Any) -> TeacherOutputs:
    return TeacherOutputs(values.float(), SPEC.validate_json(json.dumps({"kind": kind, **more})), 1.0)


def target(kind: str, labels: Tensor) -> TargetColumn:
    """A target with these labels, NaN or -1 where missing."""
    if kind == "class":
        return TargetColumn("class", 3, labels, labels >= 0)
    wide = labels.reshape(len(labels), -1)
    labelled = ~wide.isnan().all(1) if kind == "multilabel" else ~wide.isnan().any(1)
    known: dict[str, TaskKind] = {"value": "value", "vector": "vector", "multilabel": "multilabel"}
    return TargetColumn(known[kind], wide.shape[1], labels.float(), labelled)


def found(teacher: TeacherOutputs, labels: TargetColumn | None, rows: int = N) -> tuple[str, list[str]]:
    """(message of the error or "", codes of the warnings)."""
    result = assess("t", "big", teacher, labels, torch.arange(rows))
    if result.error is not None:
        assert result.error.code == "teacher_mismatch"
        assert "allow_chance_teacher" in result.error.message
    return ("" if result.error is None else result.error.message), [warning.code for warning in result.warnings]


Y = drawn(0, N) * 3.0 + 20.0
V = drawn(1, N, 4)
L = (drawn(2, N, 3) > 0.8).double()
SURE = torch.tensor([0.0, 9.0, 0.0])


@pytest.mark.parametrize("noise", [0.0, 0.5, 2.0])
def test_a_teacher_of_values_that_knows_them_passes(noise: float) -> None:
    guess = Y + noise * drawn(5, N)
    assert found(outputs("value", guess[:, None]), target("value", Y)) == ("", [])
    standard = outputs("value", (guess[:, None] - 20.0) / 3.0, mean=20.0, std=3.0)
    assert found(standard, target("value", Y)) == ("", [])


def test_a_teacher_of_values_that_is_worse_than_their_mean_is_refused() -> None:
    message, _ = found(outputs("value", drawn(6, N, 1) * 3.0 + 20.0), target("value", Y))
    assert "worse than their mean" in message
    assert "did you forget" not in message
    message, _ = found(outputs("value", torch.full((N, 1), 19.0)), target("value", Y))
    assert "worse than their mean" in message


def test_a_teacher_of_values_that_is_hardly_better_than_their_mean_is_told() -> None:
    """Images read in another order of dimensions still overlap a little with what the teacher looks at."""
    guess = 20.0 + 0.02 * (Y - 20.0) + 0.05 * drawn(6, N)
    message, warnings = found(outputs("value", guess[:, None]), target("value", Y))
    assert (message, warnings) == ("", ["teacher_weak"])


def test_forgotten_mean_and_std_are_named() -> None:
    message, _ = found(outputs("value", ((Y - 20.0) / 3.0)[:, None]), target("value", Y))
    assert "with `mean` 20 and `std` 3 of its output R2 is 1" in message
    message, _ = found(outputs("value", -Y[:, None]), target("value", Y))
    assert "sign reversed" in message
    message, _ = found(outputs("vector", V * 5.0 + 7.0), target("vector", V))
    assert "with each number rescaled R2 is 1" in message


def test_vectors_are_compared_over_all_their_numbers() -> None:
    assert found(outputs("vector", V + 0.3 * drawn(7, N, 4)), target("vector", V)) == ("", [])
    assert "worse than their mean" in found(outputs("vector", drawn(8, N, 4)), target("vector", V))[0]


@pytest.mark.parametrize("output", ["logits", "probabilities"])
def test_labels_are_compared_by_their_ranking_not_by_a_threshold(output: str) -> None:
    """A teacher that never says `yes` for rare labels still knows which rows are likelier."""
    scores = 0.5 * L + 0.3 * drawn(9, N, 3).abs()
    values = scores - 4.0 if output == "logits" else scores.clamp(0, 1) * 0.4
    assert found(outputs("multilabel", values, output=output), target("multilabel", L)) == ("", [])
    noise = torch.sigmoid(drawn(10, N, 3)) if output == "probabilities" else drawn(10, N, 3)
    assert "no better than" in found(outputs("multilabel", noise, output=output), target("multilabel", L))[0]


def test_small_probabilities_declared_as_logits_are_told_by_their_rates() -> None:
    """They rank as well as before, and as logits they say yes to every label."""
    values = (0.5 * L + 0.3 * drawn(9, N, 3).abs()).clamp(0, 1) * 0.15
    assert found(outputs("multilabel", values, output="logits"), target("multilabel", L)) == ("", ["teacher_weak"])


def test_reversed_labels_are_named() -> None:
    assert "reversed" in found(outputs("multilabel", -L + 0.1 * drawn(3, N, 3)), target("multilabel", L))[0]


@pytest.mark.parametrize("kind", ["value", "vector", "multilabel"])
def test_noise_is_refused_and_knowledge_is_not_for_many_draws(kind: str) -> None:
    """False alarms are rarer than one in fifty, and a teacher of noise seldom passes."""
    refused = passed = 0
    for seed in range(50):
        labels = {
            "value": drawn(seed, 60),
            "vector": drawn(seed, 60, 3),
            "multilabel": (drawn(seed, 60, 3) > 0).double(),
        }[kind]
        wide = labels.reshape(60, -1)
        good, noise = wide + 0.8 * drawn(seed + 100, *wide.shape), drawn(seed + 200, *wide.shape)
        refused += bool(found(outputs(kind, noise), target(kind, labels), 60)[0])
        passed += not found(outputs(kind, good), target(kind, labels), 60)[0]
    assert passed >= 49
    assert refused >= 45


@pytest.mark.parametrize("labelled", [0, 3])
@pytest.mark.parametrize("kind", ["class", "value", "vector", "multilabel"])
def test_without_enough_labels_a_warning_says_that_nothing_could_be_compared(kind: str, labelled: int) -> None:
    known = torch.arange(N) < labelled
    if kind == "class":
        labels = torch.where(known, torch.arange(N) % 3, -1)
        teacher = outputs("class", drawn(1, N, 3))
    else:
        size = 1 if kind == "value" else 3
        labels = torch.where(known[:, None], L[:, :size], torch.nan).reshape(N, size)
        labels = labels[:, 0] if kind == "value" else labels
        teacher = outputs(kind, drawn(1, N, size))
    assert found(teacher, target(kind, labels)) == ("", ["teacher_unchecked"])
    assert found(teacher, None) == ("", ["teacher_unchecked"])


@pytest.mark.parametrize(
    ("teacher", "part"),
    [
        (outputs("class", torch.tensor([[1.0, 2.0, 0.5]]).repeat(N, 1)), "same output"),
        (outputs("class", drawn(1, N, 3) + torch.tensor([0.0, 30.0, 0.0])), "predicts class 1"),
        (outputs("class", torch.softmax(drawn(1, N, 3) * 0.1 + SURE, 1), output="probabilities"), "predicts class 1"),
        (outputs("multilabel", drawn(1, N, 3) + torch.tensor([30.0, -30.0, 30.0])), "same answer"),
        (outputs("value", torch.full((N, 1), 3.25)), "same output"),
        (outputs("vector", torch.full((N, 4), 3.25)), "same output"),
    ],
)  # fmt: skip
def test_a_teacher_that_says_the_same_of_every_row_is_refused_without_any_label(
    teacher: TeacherOutputs, part: str
) -> None:
    message, warnings = found(teacher, None)
    assert part in message
    assert warnings == ["teacher_unchecked"]


@pytest.mark.parametrize("unit", [1e-3, 1e-9, 1e-13, 1e-30])
@pytest.mark.parametrize("kind", ["value", "vector"])
def test_small_units_are_no_constant(kind: str, unit: float) -> None:
    values = drawn(1, N, 1 if kind == "value" else 4) * unit
    assert found(outputs(kind, values), None) == ("", ["teacher_unchecked"])
    labels = values[:, 0] if kind == "value" else values
    assert found(outputs(kind, values), target(kind, labels)) == ("", [])


def test_differences_that_float64_keeps_are_no_constant() -> None:
    seconds = TeacherOutputs(1.7e9 + drawn(1, N, 1), SPEC.validate_json('{"kind": "value"}'), 1.0)
    assert found(seconds, None) == ("", ["teacher_unchecked"])


def test_a_confident_teacher_with_two_answers_is_not_saturated() -> None:
    answers = torch.nn.functional.one_hot(torch.arange(N) % 2, 3).double() * 40.0
    assert found(outputs("class", answers), None) == ("", ["teacher_unchecked"])


def test_few_labels_of_a_good_teacher_do_not_refuse_it() -> None:
    labels = torch.where(torch.arange(N) < 5, torch.arange(N) % 3, -1)
    teacher = outputs("class", torch.nn.functional.one_hot(torch.arange(N) % 3, 3).double() * 5.0)
    assert found(teacher, target("class", labels)) == ("", ["teacher_unchecked"])


def test_a_refused_teacher_is_allowed_on_request_and_warnings_are_emitted() -> None:
    teacher, labels = outputs("value", drawn(6, N, 1)), target("value", Y)
    events: list[ChildEvent] = []
    with pytest.raises(UserError):
        check_teacher("t", "big", teacher, labels, torch.arange(N), False, events.append)
    check_teacher("t", "big", teacher, labels, torch.arange(N), True, events.append)
    check_teacher("t", "big", teacher, None, torch.arange(N), False, events.append)
    assert [event.code for event in events if isinstance(event, WarningEvent)] == [
        "teacher_mismatch",
        "teacher_unchecked",
    ]


def test_the_area_is_that_of_the_reports_metric_with_ties() -> None:
    scores, positive = drawn(4, 300).mul(2).round(), drawn(5, 300) > 0.3
    area = area_under_curve(scores.numpy(), np.asarray(positive))
    assert area == pytest.approx(binary_auroc(scores, positive))
