"""The text of a report: what repeats, classes and corruptions add, and that nothing is added without them."""

from typing import Any

import pytest

from app.contracts.reports.document.numbers import size
from app.contracts.reports.document.text import render
from app.contracts.reports.report import (
    ClassFigures,
    Environment,
    Party,
    PerClass,
    Report,
    Robustness,
    Verdict,
)
from app.contracts.reports.search import SearchReport, Trial

VERDICT = {
    "verdict": "gain",
    "metric": "accuracy",
    "student": 0.94,
    "control": 0.90,
    "difference": 0.04,
    "margin": 0.005,
    "interval": (0.01, 0.07),
    "method": "Accuracy, student - control.",
}


def text(**parts: Any) -> str:
    report = Report(
        kind="distill",
        student=Party(name="student", tasks={"digit": {"accuracy": 0.94, "rows": 200.0}}),
        environment=Environment(device="cpu", threads=1, versions={"torch": "2.13.0"}, precision="float32"),
        **parts,
    )
    return render(report.model_dump(mode="json"))


def test_repeats_show_mean_and_deviation_of_each_group() -> None:
    verdict = Verdict.model_validate(
        {**VERDICT, "repeats": 3, "students": (0.93, 0.94, 0.95), "controls": (0.90, 0.90, 0.90, 0.90)}
    )
    shown = text(verdict={"digit": verdict}).splitlines()
    first = next(k for k, line in enumerate(shown) if line.startswith("verdict: gain"))
    assert shown[first + 1] == "  over seeds, mean ± sd: 3 students 0.9400 ± 0.0100, 4 controls 0.9000 ± 0.0000"
    assert shown[first + 2] == "  Accuracy, student - control."


def test_a_single_control_has_no_deviation() -> None:
    verdict = Verdict.model_validate({**VERDICT, "students": (0.93, 0.95), "controls": (0.9,)})
    assert "2 students 0.9400 ± 0.0141, 1 controls 0.9000" in text(verdict={"digit": verdict})


def test_one_run_says_nothing_of_seeds() -> None:
    plain = text(verdict={"digit": Verdict.model_validate(VERDICT)})
    alone = Verdict.model_validate({**VERDICT, "students": (0.94,), "controls": (0.9,)})
    assert text(verdict={"digit": alone}) == plain
    assert "seeds" not in plain
    assert "worst classes" not in plain
    assert "corrupted" not in plain


def settling(**figures: int) -> str:
    verdict = {**VERDICT, "verdict": "inconclusive", "would_settle": {"size": 0.008, "because": "Rough.", **figures}}
    lines = text(verdict={"digit": Verdict.model_validate(verdict)}).splitlines()
    return next(line for line in lines if "settle" in line)


def test_an_open_verdict_says_what_would_settle_it() -> None:
    assert (
        settling(repeats=12, rows=4000) == "  12 repeats or 4,000 test rows would settle a difference of 0.008. Rough."
    )
    assert settling(rows=4000) == "  4,000 test rows would settle a difference of 0.008. Rough."
    assert settling() == "  Neither repeats nor test rows alone would settle a difference of 0.008. Rough."
    assert "settle" not in text(verdict={"digit": Verdict.model_validate(VERDICT)})


def test_the_largest_class_weights_are_shown_where_there_are_some() -> None:
    weights = {f"class {k}": k / 2 for k in range(1, 8)}
    shown = text(class_weights={"digit": weights}).splitlines()
    wanted = "class weights in the loss: class 7 3.5, class 6 3, class 5 2.5, class 4 2, class 3 1.5 and 2 more"
    assert wanted in shown
    assert "class weights" not in text()


def test_a_search_shows_its_candidates_and_what_decided_a_tie() -> None:
    pointer = "/distillation/soft_targets/0/temperature"
    trials = tuple(
        Trial(values={pointer: value}, score=0.9412, loss=loss)
        for value, loss in ((1.0, 0.31), (2.0, 0.12), (8.0, 0.5))
    )
    search = SearchReport(
        trials=trials, chosen=1, measure="accuracy", loss_measure="nll", rows=85, tied=3, decided_by="loss"
    )
    shown = text(search=search)
    assert (
        "search on 85 validation rows\n"
        "candidate  temperature  score (accuracy)  loss (nll)\n"
        "0                    1            0.9412        0.31\n"
        "1, chosen            2            0.9412        0.12\n"
        "2                    8            0.9412         0.5\n"
        "tied: 3 of 3 candidates on 85 validation rows; decided by the loss (nll)\n"
    ) in shown
    alone = search.model_copy(update={"tied": 1, "decided_by": "score"})
    assert "tied" not in text(search=alone)
    assert "on 85 validation rows of 5 folds" in text(search=search.model_copy(update={"folds": 5}))
    equal = text(search=search.model_copy(update={"decided_by": "values"}))
    assert "equal in the loss (nll) too, and decided by the smallest values" in equal
    assert "search" not in text()


def test_a_search_of_an_earlier_version_has_its_scores_alone() -> None:
    trials = (Trial(values={"/training/learning_rate": 0.1}, score=0.5),) * 2
    shown = text(search=SearchReport(trials=trials, chosen=0)).splitlines()
    assert "candidate  learning_rate  score" in shown


def a_class(index: int, student: float, teacher: float | None, name: str | None = None) -> PerClass:
    parties = {"student": ClassFigures(f1=student)}
    if teacher is not None:
        parties = {"teacher": ClassFigures(f1=teacher), **parties}
    difference = student - teacher if teacher is not None else None
    return PerClass(index=index, name=name, support=40, parties=parties, difference=difference)


def test_the_five_worst_classes_are_shown() -> None:
    classes = (a_class(8, 0.5, 0.9, "eight"), *(a_class(k, 0.8, 0.9) for k in range(7)))
    shown = text(per_class={"digit": classes}).splitlines()
    first = next(k for k, line in enumerate(shown) if line.startswith("worst classes"))
    table = [line.split() for line in shown[first : first + 7]]
    assert table[0] == ["worst", "classes", "(F1)", "teacher", "student", "difference", "rows"]
    assert table[1] == ["eight", "0.9", "0.5", "-0.4000", "40"]
    assert [row[0] for row in table[2:6]] == ["0", "1", "2", "3"]
    assert table[6] == []


def test_without_a_teacher_no_difference_is_shown() -> None:
    shown = text(per_class={"digit": (a_class(3, 0.5, None),)})
    assert "difference" not in shown
    assert "3                       0.5    40" in shown


def test_robustness_is_a_line_a_corruption() -> None:
    entries = tuple(
        Robustness(corruption=name, severity=severity, metric="accuracy", parties={"teacher": 0.9, "student": figure})
        for name, figures in (("shift", (0.8, 0.7, None)), ("gaussian_noise", (0.9, 0.85, 0.8)))
        for severity, figure in enumerate(figures, start=1)
    )
    shown = text(robustness={"digit": entries}).splitlines()
    first = next(k for k, line in enumerate(shown) if line.startswith("corrupted"))
    assert shown[first : first + 3] == [
        "corrupted, accuracy at 1 / 2 / 3          teacher           student",
        "shift                             0.9 / 0.9 / 0.9     0.8 / 0.7 / -",
        "gaussian_noise                    0.9 / 0.9 / 0.9  0.9 / 0.85 / 0.8",
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "-"),
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (25_480, "25.5 kB"),
        (999_999, "1 MB"),
        (115_000_000, "115 MB"),
        (3.2e18, "3200 PB"),
    ],
)
def test_sizes_are_decimal_with_three_digits(value: float | None, words: str) -> None:
    assert size(value) == words
