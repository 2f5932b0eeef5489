"""Parties against a constant answer, teachers against a control, and validation splits, on outputs made by hand."""

from math import nan, sqrt

import pytest
import torch
from torch import Tensor

from app.contracts.resources.manifests import ClassOutput, MultilabelOutput, ValueOutput, VectorOutput
from app.contracts.specs.distillation import TaskKind
from tests.engine.evaluation.cases import seeded, target_of
from workers.engine.evaluation.metrics.outputs import PartyOutputs
from workers.engine.evaluation.warnings.constant import compared, highest_of_chance
from workers.engine.evaluation.warnings.row_losses import row_losses
from workers.engine.evaluation.warnings.selection import is_tied, is_too_small, row_accuracies, standard_error
from workers.engine.evaluation.warnings.weak_teacher import compare

CLASS, LABELS = ClassOutput(kind="class"), MultilabelOutput(kind="multilabel")
VALUE, VECTOR = ValueOutput(kind="value"), VectorOutput(kind="vector")
SPECS: dict[TaskKind, ClassOutput | MultilabelOutput | ValueOutput | VectorOutput] = {
    "class": CLASS,
    "multilabel": LABELS,
    "value": VALUE,
    "vector": VECTOR,
}


def drawn(kind: TaskKind, rows: int = 200) -> Tensor:
    """Labels of each kind: classes of shares 0.5, 0.3, 0.2; labels of which a tenth is missing; normal numbers."""
    g = seeded(0)
    if kind == "class":
        return torch.multinomial(torch.tensor([0.5, 0.3, 0.2]), rows, replacement=True, generator=g)
    if kind == "multilabel":
        labels = (torch.rand(rows, 5, generator=g) < 0.3).float()
        return torch.where(torch.rand(rows, 5, generator=g) < 0.1, nan, labels)
    numbers = 5.0 + 3.0 * torch.randn(rows, 1 if kind == "value" else 4, generator=g)
    return numbers[:, 0] if kind == "value" else numbers


def answers(labels: Tensor, kind: TaskKind, knowledge: float) -> Tensor:
    """Outputs that know the labels by this share, beside noise."""
    g = seeded(1)
    if kind == "class":
        noise = torch.randn(len(labels), 3, generator=g)
        return knowledge * 4.0 * torch.nn.functional.one_hot(labels, 3) + (1.0 - knowledge) * noise
    noise = torch.randn(len(labels), labels[0].numel(), generator=g)
    if kind == "multilabel":
        return knowledge * 6.0 * (labels.nan_to_num() - 0.5) + (1.0 - knowledge) * noise
    return knowledge * labels.reshape(len(labels), -1) + (1.0 - knowledge) * (5.0 + 3.0 * noise)


def is_no_better(labels: Tensor, kind: TaskKind, outputs: Tensor) -> bool | None:
    rows = torch.arange(len(labels))
    size = outputs.shape[1]
    found = compared(PartyOutputs(outputs, SPECS[kind]), target_of(labels, kind, size), rows, rows)
    return None if found is None else found.is_no_better


@pytest.mark.parametrize("kind", ["class", "multilabel", "value", "vector"])
def test_answers_without_knowledge_are_no_better_than_a_constant_and_others_are(kind: TaskKind) -> None:
    labels = drawn(kind)
    assert is_no_better(labels, kind, answers(labels, kind, 0.0)) is True
    for knowledge in (0.6, 0.9, 1.0):
        assert is_no_better(labels, kind, answers(labels, kind, knowledge)) is False, knowledge


@pytest.mark.parametrize("kind", ["class", "multilabel", "value", "vector"])
def test_of_fewer_than_20_rows_nothing_is_said(kind: TaskKind) -> None:
    rows = drawn(kind, 200)[:20]
    assert is_no_better(rows, kind, answers(rows, kind, 0.0)) is True
    assert is_no_better(rows[:19], kind, answers(rows[:19], kind, 0.0)) is None
    assert is_no_better(rows[:0], kind, answers(rows, kind, 0.0)[:0]) is None


def test_where_a_perfect_party_would_not_stand_out_nothing_is_said() -> None:
    """39 of 40 rows are of one class: the limit is above 1."""
    labels = (torch.arange(40) == 7).long()
    assert is_no_better(labels, "class", torch.zeros(40, 2)) is None
    assert is_no_better(labels[:, None].float(), "multilabel", -torch.ones(40, 1)) is None
    assert is_no_better(torch.ones(40), "value", torch.zeros(40, 1)) is None, "all equal to the mean"


def test_the_limit_of_the_commonest_class_is_two_standard_errors_above_its_share() -> None:
    labels = torch.tensor([0] * 100 + [1] * 60 + [2] * 40)
    limit = highest_of_chance(0.5, 200)
    assert limit == pytest.approx(0.5 + 2 * sqrt(0.5 * 0.5 / 200))
    right = int(limit * 200)
    for count, expected in ((right, True), (right + 1, False)):
        predicted = torch.where(torch.arange(200) < count, labels, (labels + 1) % 3)
        assert is_no_better(labels, "class", torch.eye(3)[predicted]) is expected


def test_a_party_that_ranks_a_rare_class_is_not_told_though_it_never_predicts_it() -> None:
    labels = (torch.arange(400) % 20 == 0).long()
    noise = torch.randn(400, generator=seeded(0))
    ranks = torch.stack([torch.zeros(400), -6.0 + 1.5 * labels + 0.5 * noise], 1)
    blind = torch.stack([torch.zeros(400), -6.0 + 0.5 * noise], 1)
    assert is_no_better(labels, "class", ranks) is False
    assert is_no_better(labels, "class", blind) is True


def test_labels_that_are_all_rare_are_judged_by_likelihood_as_well() -> None:
    g = seeded(0)
    labels = (torch.rand(400, 6, generator=g) < 0.04).float()
    noise = torch.randn(400, 6, generator=g)
    assert is_no_better(labels, "multilabel", -3.5 + 2.5 * labels + 0.3 * noise) is False
    assert is_no_better(labels, "multilabel", -3.5 + 0.3 * noise) is True


def test_the_mean_is_that_of_the_training_rows_and_outputs_are_in_the_units_of_the_target() -> None:
    values = torch.tensor([0.0, 2.0] * 10 + [10.0, 14.0] * 10)
    party = PartyOutputs((values[20:, None] - 12.0) / 2.0, ValueOutput(kind="value", mean=12.0, std=2.0))
    found = compared(party, target_of(values, "value", 1), torch.arange(20, 40), torch.arange(20))
    assert found is not None
    assert (found.metric, found.party, found.is_no_better) == ("rmse", 0.0, False)
    assert found.constant == pytest.approx(sqrt((81 + 169) / 2))


def test_rows_without_a_label_or_an_output_are_left_out() -> None:
    labels = torch.cat([drawn("class"), torch.full((50,), -1)])
    outputs = torch.cat([answers(labels[:200], "class", 1.0), torch.zeros(50, 3)])
    outputs[:20] = nan
    party = PartyOutputs.of_teacher(outputs, CLASS)
    found = compared(party, target_of(labels, size=3), torch.arange(250), torch.arange(250))
    assert found is not None
    assert found.party == 1.0


@pytest.mark.parametrize("kind", ["class", "multilabel", "value", "vector"])
@pytest.mark.parametrize(
    ("teacher", "control", "weaker"), [(0.3, 0.9, True), (0.9, 0.3, False), (0.9, 0.9, False), (0.9, 0.895, False)]
)
def test_a_teacher_is_weaker_by_loss_and_score(kind: TaskKind, teacher: float, control: float, weaker: bool) -> None:
    labels = drawn(kind)
    ours, theirs = (PartyOutputs(answers(labels, kind, each), SPECS[kind]) for each in (control, teacher))
    target = target_of(labels, kind, ours.values.shape[1])
    found = compare(theirs, [ours], target, torch.arange(200))
    assert found is not None
    assert found.is_weaker == weaker


def test_an_overconfident_teacher_that_is_right_as_often_is_not_weaker() -> None:
    """Its loss is far higher, its accuracy the same."""
    labels = drawn("class")
    outputs = answers(labels, "class", 0.3)
    target = target_of(labels, size=3)
    sure, calm = PartyOutputs(30.0 * outputs, CLASS), PartyOutputs(outputs, CLASS)
    assert row_losses(sure, labels).mean() > 2.0 * row_losses(calm, labels).mean()
    found = compare(sure, [calm], target, torch.arange(200))
    assert found is not None
    assert not found.is_weaker


def test_a_weak_teacher_is_judged_on_the_rows_that_it_has_outputs_for() -> None:
    labels = drawn("class")
    values = answers(labels, "class", 0.1)
    values[1:] = nan
    target = target_of(labels, size=3)
    control = PartyOutputs(answers(labels, "class", 1.0), CLASS)
    assert compare(PartyOutputs.of_teacher(values, CLASS), [control], target, torch.arange(200)) is None, "one row"


def test_several_controls_are_compared_by_the_means_of_their_losses_and_scores() -> None:
    """Not by their mean outputs, which are those of a better network than each."""
    labels = drawn("class")
    outputs = answers(labels, "class", 0.3)
    middling = PartyOutputs(outputs, CLASS)
    better, worse = (PartyOutputs(answers(labels, "class", each), CLASS) for each in (0.9, 0.05))
    target, rows = target_of(labels, size=3), torch.arange(200)
    one, two = compare(middling, [better], target, rows), compare(middling, [worse, better], target, rows)
    assert one is not None
    assert two is not None
    assert one.is_weaker
    losses = [float(row_losses(party, labels).mean()) for party in (worse, better)]
    accuracies = [float((party.values.argmax(1) == labels).double().mean()) for party in (worse, better)]
    assert two.losses[1] == pytest.approx(sum(losses) / 2)
    assert two.scores[1] == pytest.approx(sum(accuracies) / 2)
    assert two.losses[0] == one.losses[0]


@pytest.mark.parametrize(
    ("scores", "rows", "error", "found"),
    [
        ([0.9] * 5 + [0.8] * 5, 40, 0.01, True),
        ([0.9] * 10, 40, 0.0, True),
        ([0.9, 0.8], 40, 0.031, True),
        ([0.9] * 4 + [0.8] * 6, 40, 0.03, False),
        ([0.9] * 10, 1000, 0.0, False),
        ([0.9] * 4, 40, 0.01, False),
        ([0.9], 10, 0.2, False),
        ([], 10, 0.2, False),
    ],
)
def test_a_validation_split_is_too_small_where_evaluations_tie_or_the_error_is_large(
    scores: list[float], rows: int, error: float, found: bool
) -> None:
    assert is_too_small(scores, rows, error) == found
    assert is_tied(scores, rows) == (found and error <= 0.03)


def test_the_standard_error_of_an_accuracy_is_that_of_a_share_and_of_labels_that_of_rows() -> None:
    labels = drawn("class")
    party = PartyOutputs(answers(labels, "class", 0.3), CLASS)
    right = row_accuracies(party, labels)
    assert right is not None
    a = float(right.mean())
    assert 0.3 < a < 0.9
    assert standard_error([right]) == pytest.approx(sqrt(a * (1 - a) / 200))
    assert standard_error([right, right]) == pytest.approx(sqrt(a * (1 - a) / 200 / 2))
    rows = torch.tensor([[1.0, 0.0, nan, 1.0], [0.0, nan, nan, nan]])
    shares = row_accuracies(PartyOutputs(torch.tensor([[1.0, 1.0, 1.0, -1.0], [-1.0] * 4]), LABELS), rows)
    assert shares is not None
    assert shares.tolist() == pytest.approx([1 / 3, 1.0])
    assert row_accuracies(PartyOutputs(torch.zeros(2, 1), VALUE), torch.zeros(2)) is None
