"""Verdicts over repeats: constructed cases, and how often a verdict is false on drawn networks."""

import math
import statistics

import pytest
import torch
from torch import Tensor

from app.contracts.reports.report import Verdict
from app.contracts.resources.manifests import ClassOutput, MultilabelOutput, ValueOutput, VectorOutput
from tests.engine.evaluation.cases import drawn_right, right_or_wrong, seeded, target_of
from workers.engine.evaluation.metrics.task_metrics import task_metrics
from workers.engine.evaluation.verdict.judge import CLASS_MARGIN, judge
from workers.engine.evaluation.verdict.repeats import verdict_over_repeats

LOGITS, LABELS, VALUE = ClassOutput(kind="class"), MultilabelOutput(kind="multilabel"), ValueOutput(kind="value")


def class_verdict(students: Tensor, controls: Tensor) -> Verdict:
    """From which rows are right: bool [n, R] and [m, R]."""
    rows = students.shape[1]
    target = target_of(torch.zeros(rows, dtype=torch.int64))
    return verdict_over_repeats(
        list(right_or_wrong(students)), list(right_or_wrong(controls)), LOGITS, target, rows_(rows)
    )


def rows_(count: int) -> Tensor:
    return torch.arange(count)


def with_accuracies(accuracies: list[float], rows: int, seed: int = 0) -> Tensor:
    """Networks that are right on the same easy rows first, so that only their number differs."""
    order = torch.randperm(rows, generator=seeded(seed))
    return torch.stack([order < round(accuracy * rows) for accuracy in accuracies])


def test_students_that_are_all_better_are_a_gain() -> None:
    found = class_verdict(with_accuracies([0.95, 0.96, 0.955], 2000), with_accuracies([0.90, 0.91, 0.905], 2000))
    assert found.verdict == "gain"
    assert found.student == pytest.approx(0.955)
    assert found.control == pytest.approx(0.905)
    assert found.difference == pytest.approx(0.05)
    assert (found.repeats, found.metric, found.margin) == (3, "accuracy", CLASS_MARGIN)
    assert found.students == pytest.approx((0.95, 0.96, 0.955))
    assert found.controls == pytest.approx((0.90, 0.91, 0.905))


def test_students_that_are_all_worse_are_a_loss() -> None:
    found = class_verdict(with_accuracies([0.90, 0.91, 0.905], 2000), with_accuracies([0.95, 0.96, 0.955], 2000))
    assert found.verdict == "loss"


def test_seeds_that_differ_more_than_the_groups_prove_nothing() -> None:
    """Rows alone would call it: 4 points on 2000 rows."""
    students, controls = with_accuracies([0.97, 0.90, 0.95], 2000), with_accuracies([0.90, 0.93, 0.87], 2000)
    assert class_verdict(students, controls).verdict == "inconclusive"
    assert class_verdict(students[[0]], controls[[0]]).verdict == "provisional_gain"


def test_groups_that_agree_closely_on_many_rows_are_no_gain() -> None:
    found = class_verdict(
        with_accuracies([0.9500, 0.9505, 0.9502], 40_000), with_accuracies([0.9501, 0.9503, 0.9504], 40_000)
    )
    assert found.verdict == "no_gain"


def test_equal_seeds_still_leave_the_choice_of_rows() -> None:
    """All students alike, all controls alike, 3 of 60 rows apart: there is no training noise, and no proof."""
    students = torch.arange(60).expand(3, 60) >= 3
    found = class_verdict(students, torch.ones(3, 60, dtype=torch.bool))
    assert found.interval is not None
    assert found.interval[0] < -0.10
    assert found.verdict == "inconclusive"


def test_five_rows_that_everyone_gets_right_prove_nothing() -> None:
    right = torch.ones(3, 5, dtype=torch.bool)
    found = class_verdict(right, right)
    assert found.verdict == "inconclusive"
    assert found.interval is not None
    assert found.interval[1] - found.interval[0] > 0.5


def test_an_accuracy_differs_by_1_at_most() -> None:
    students = torch.tensor([[True, False]] * 3)
    assert class_verdict(students, ~students).interval == (-1.0, 1.0)


@pytest.mark.parametrize(("n", "m"), [(2, 2), (2, 5), (3, 1)])
def test_fewer_than_three_of_either_say_that_training_noise_is_not_covered(n: int, m: int) -> None:
    right = drawn_right(n + m, 300, 0.9, seeded(0), difficulty=torch.zeros(300), noise=1.0)
    found = class_verdict(right[:n], right[n:])
    assert found.repeats == min(n, m)
    assert (len(found.students), len(found.controls)) == (n, m)
    assert "not well the noise of training" in found.method
    assert found.interval is not None


def test_three_of_each_say_what_is_covered() -> None:
    right = drawn_right(7, 300, 0.9, seeded(0), difficulty=torch.zeros(300), noise=1.0)
    found = class_verdict(right[:3], right[3:])
    assert "means of 3 students and 4 controls" in found.method
    assert "Welch" in found.method
    assert "covers the noise of training and the choice of test rows" in found.method


def test_one_of_each_is_judged_as_before() -> None:
    right = drawn_right(2, 300, 0.9, seeded(0), difficulty=torch.zeros(300), noise=1.0)
    student, control = right_or_wrong(right)
    target = target_of(torch.zeros(300, dtype=torch.int64))
    found = verdict_over_repeats([student], [control], LOGITS, target, rows_(300))
    assert found == judge(student, control, LOGITS, target, rows_(300))
    assert (found.repeats, found.students, found.controls) == (1, (), ())


def test_none_of_either_is_refused() -> None:
    target = target_of(torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match="found 0 and 1"):
        verdict_over_repeats([], [torch.zeros(4, 2)], LOGITS, target, rows_(4))


def test_rows_without_a_label_do_not_judge() -> None:
    labels = torch.tensor([0] * 50 + [-1] * 50)
    good, poor = right_or_wrong(torch.arange(100) < 50), right_or_wrong(torch.arange(100) >= 25)
    found = verdict_over_repeats([good] * 3, [poor] * 3, LOGITS, target_of(labels), rows_(100))
    assert (found.students, found.controls) == ((1.0,) * 3, (0.5,) * 3)
    none = verdict_over_repeats([good] * 3, [poor] * 3, LOGITS, target_of(torch.full((100,), -1)), rows_(100))
    assert (none.verdict, none.difference) == ("not_applicable", None)


def test_only_the_rows_asked_for_judge() -> None:
    labels = torch.tensor([0, 1] * 100)
    rows = torch.arange(0, 200, 2)
    right = right_or_wrong(torch.ones(100, dtype=torch.bool))
    found = verdict_over_repeats([right] * 3, [right] * 3, LOGITS, target_of(labels), rows)
    assert found.student == 1.0


def values(errors: list[float], rows: int, seed: int) -> tuple[list[Tensor], Tensor]:
    """Predictions with these root mean squared errors, and the truth."""
    generator = seeded(seed)
    truth = torch.randn(rows, generator=seeded(0), dtype=torch.float64)
    return [(truth + error * torch.randn(rows, generator=generator))[:, None] for error in errors], truth


def test_smaller_errors_are_a_gain_and_positive() -> None:
    students, truth = values([0.50, 0.51, 0.49], 1000, seed=1)
    controls, _ = values([0.60, 0.61, 0.62], 1000, seed=2)
    found = verdict_over_repeats(students, controls, VALUE, target_of(truth, "value", 1), rows_(1000))
    assert (found.verdict, found.metric) == ("gain", "rmse")
    assert found.difference == pytest.approx(0.11, abs=0.03)
    assert found.control is not None
    assert found.student is not None
    assert found.student < found.control
    assert found.margin == pytest.approx(0.01 * found.control)
    swapped = verdict_over_repeats(controls, students, VALUE, target_of(truth, "value", 1), rows_(1000))
    assert swapped.verdict == "loss"


def test_values_are_judged_in_their_own_units() -> None:
    spec = ValueOutput(kind="value", mean=100.0, std=10.0)
    truth = torch.randn(50, generator=seeded(0))
    target = target_of(100.0 + 10.0 * truth, "value", 1)
    found = verdict_over_repeats([truth[:, None] + 0.5] * 3, [truth[:, None] - 0.8] * 3, spec, target, rows_(50))
    assert found.students == pytest.approx((5.0,) * 3, rel=1e-4)
    assert found.controls == pytest.approx((8.0,) * 3, rel=1e-4)


def test_too_few_values_get_no_interval() -> None:
    students, truth = values([0.1] * 3, 19, seed=1)
    controls, _ = values([5.0] * 3, 19, seed=2)
    found = verdict_over_repeats(students, controls, VALUE, target_of(truth, "value", 1), rows_(19))
    assert (found.verdict, found.interval) == ("inconclusive", None)
    assert "needs 20 labelled test rows, and there are 19" in found.method
    assert len(found.students) == 3


def test_numbers_that_are_not_finite_get_no_verdict() -> None:
    students, truth = values([0.1] * 3, 50, seed=1)
    students[1][7] = math.inf
    found = verdict_over_repeats(students, students, VALUE, target_of(truth, "value", 1), rows_(50))
    assert (found.verdict, found.student) == ("inconclusive", None)
    assert "not finite" in found.method


def test_labels_and_vectors_are_judged_by_the_metrics_of_the_report() -> None:
    generator = seeded(3)
    truth = (torch.rand(400, 3, generator=generator) < 0.5).float()
    truth[torch.rand(400, 3, generator=generator) < 0.1] = math.nan
    clear = 2.0 * truth.nan_to_num() - 1.0

    def outputs(noise: float) -> list[Tensor]:
        return [clear + noise * torch.randn(400, 3, generator=generator) for _ in range(3)]

    target, good, poor = target_of(truth, "multilabel", 3), outputs(0.5), outputs(2.0)
    found = verdict_over_repeats(good, poor, LABELS, target, rows_(400))
    assert (found.verdict, found.metric) == ("gain", "accuracy")
    assert found.students == pytest.approx(
        [task_metrics(each, LABELS, target, rows_(400))["accuracy"] for each in good]
    )
    vector, target = VectorOutput(kind="vector"), target_of(clear, "vector", 3)
    found = verdict_over_repeats(poor, good, vector, target, rows_(400))
    assert (found.verdict, found.metric) == ("loss", "rmse")
    assert found.students == pytest.approx([task_metrics(each, vector, target, rows_(400))["rmse"] for each in poor])


def shares(networks: int, trials: int, gain: float = 0.0) -> dict[str, float]:
    """Verdicts on drawn networks of 90 % accuracy on 1000 rows, whose seeds differ by about 0.8 points."""
    generator, verdicts = seeded(11), []
    for _ in range(trials):
        difficulty = torch.randn(1000, generator=generator, dtype=torch.float64)
        students, controls = (
            drawn_right(networks, 1000, accuracy, generator, difficulty=difficulty, seeds=0.05)
            for accuracy in (0.9 + gain, 0.9)
        )
        verdicts.append(class_verdict(students, controls).verdict)
    return {verdict: verdicts.count(verdict) / trials for verdict in set(verdicts)}


def test_without_a_gain_a_gain_is_rarely_found() -> None:
    """Nominal 1.25 %; the standard error of 300 trials is 0.6 points."""
    assert shares(3, trials=300).get("gain", 0.0) <= 0.03
    assert shares(5, trials=300).get("gain", 0.0) <= 0.03


def test_one_run_of_each_finds_gains_that_are_not_there() -> None:
    assert shares(1, trials=300).get("provisional_gain", 0.0) > 0.06


def test_more_repeats_find_more_of_the_gains_that_are_there() -> None:
    five, eight = (shares(networks, trials=200, gain=0.02)["gain"] for networks in (5, 8))
    assert 0.3 < five < eight
    assert eight > 0.7


def test_the_students_figure_is_the_mean_of_its_seeds() -> None:
    found = class_verdict(with_accuracies([0.95, 0.91, 0.93], 200), with_accuracies([0.92, 0.90, 0.94], 200))
    assert found.student == pytest.approx(statistics.fmean(found.students))
    assert found.control == pytest.approx(statistics.fmean(found.controls))


def test_a_verdict_of_an_older_writer_is_still_one() -> None:
    old = '{"verdict": "gain", "metric": "accuracy", "interval": [0.01, 0.02], "method": "Accuracy."}'
    found = Verdict.model_validate_json(old)
    assert (found.repeats, found.students, found.controls) == (1, (), ())
