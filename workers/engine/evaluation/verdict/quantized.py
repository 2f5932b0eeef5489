"""What a quantized file loses against the student in float32, on the same test rows.

The interval of `judge` is that of the choice of test rows: both are the same trained network, so that there is no noise
of training between them. The question is not whether they differ but whether the loss is smaller than the margin, a
test of non-inferiority.
"""

from torch import Tensor

from app.contracts.reports.confidence import CONFIDENCE, level_text
from app.contracts.reports.quantized import QuantizedVerdict, QuantizedWord
from app.contracts.reports.report import Verdict
from app.contracts.resources.manifests import OutputSpec
from workers.engine.data.dataset import TargetColumn
from workers.engine.evaluation.verdict.judge import judge


def verdict_of_quantized(
    quantized: Tensor, student: Tensor, spec: OutputSpec, target: TargetColumn | None, rows: Tensor
) -> QuantizedVerdict:
    """The verdict of one task; both are outputs [n, size] in the units of the network for the dataset rows `rows`."""
    if target is None:
        return QuantizedVerdict(verdict="not_applicable", method="Not judged: the task has no labels.")
    judged = judge(quantized, student, spec, target, rows, "the student in float32")
    if judged.metric is None:
        return QuantizedVerdict(verdict="not_applicable", method=judged.method)
    word = _word(judged)
    return QuantizedVerdict(
        verdict=word,
        metric=judged.metric,
        quantized=judged.student,
        student=judged.control,
        difference=judged.difference,
        margin=judged.margin,
        interval=judged.interval,
        confidence=CONFIDENCE if judged.interval is not None else None,
        method=_in_words(word, judged),
    )


def _word(judged: Verdict) -> QuantizedWord:
    if judged.interval is None or judged.margin is None:
        return "undecided"
    low, high = judged.interval
    if low >= -judged.margin:
        return "keeps"
    return "loses" if high < 0.0 else "undecided"


def _in_words(word: QuantizedWord, judged: Verdict) -> str:
    assert judged.difference is not None
    found = {
        "keeps": f"Keeps {judged.metric} within {judged.margin:.4g}",
        "loses": f"Loses {-judged.difference:.4g} of {judged.metric}",
        "undecided": f"Undecided: the difference of {judged.metric} is {judged.difference:+.4g}, and the test rows do "
        f"not exclude a loss above {judged.margin:.4g}",
    }[word]
    if judged.interval is None:
        return f"{found}. {judged.method}"
    low, high = judged.interval
    return (
        f"{found}: the interval of the difference at {level_text(CONFIDENCE)} is {low:.4g} to {high:.4g}, over the "
        "choice of test rows; the network is the same."
    )
