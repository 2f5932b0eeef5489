"""Several datasets as one: do they agree, and what are the facts of their rows together?

Rows are joined dataset by dataset in the job's order, as `workers.engine.data.joining` joins them. Targets of one name
are one target; a dataset that lacks a target has no label of it.
"""

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import get_args

from app.contracts.resolving.data.class_names import warn_of_numbers
from app.contracts.resolving.data.column_order import check_columns
from app.contracts.resolving.findings import Findings, quoted
from app.contracts.resources.facts import DatasetFacts, InputFacts, TargetFacts
from app.contracts.resources.inputs.texts import TokenEncoding, reads_same_tokens
from app.contracts.resources.splits import SplitName
from app.contracts.resources.statistics import WeightStatistics
from app.contracts.resources.tables import InputEncoding
from app.contracts.specs.jobs import DatasetRef

ORDER: tuple[SplitName, ...] = get_args(SplitName)
MOST_STATISTIC = 1e30
"""Largest mean or deviation that a manifest can have."""
Weights = Mapping[str, Mapping[SplitName, WeightStatistics]]
Known = tuple[int, str, DatasetFacts]
"""(place among the job's datasets, id, facts)."""


def joined_facts(
    refs: Sequence[DatasetRef], datasets: Mapping[str, DatasetFacts | None], findings: Findings
) -> DatasetFacts | None:
    """The facts of all datasets' rows together; None while one is unknown, or where they do not agree.

    Those that are known are checked against each other at once. One dataset's facts come back as they are.
    """
    known: list[Known] = []
    for i, ref in enumerate(refs):
        facts = datasets.get(ref.dataset)
        if facts is not None:
            known.append((i, ref.dataset, facts))
    faults = len(findings.problems)
    for other in known[1:]:
        _check_inputs(known[0], other, findings)
    names = dict.fromkeys(name for _, _, facts in known for name in facts.targets)
    targets = {name: _target(name, known, findings) for name in names}
    if len(known) < len(refs) or len(findings.problems) > faults:
        return None
    if len(known) == 1:
        return known[0][2]
    return DatasetFacts(
        rows=sum(facts.rows for _, _, facts in known),
        splits=_summed([facts.splits for _, _, facts in known]),
        inputs=_inputs(known),
        targets=targets,
        weights=_weights([facts.weights for _, _, facts in known]),
    )


def _weights(parts: Sequence[Weights]) -> dict[str, dict[SplitName, WeightStatistics]]:
    """The row weights that every dataset has: rows of one without them would have no weight."""
    common = [name for name in parts[0] if all(name in each for each in parts)]
    return {
        name: {split: _pooled_weights([each[name][split] for each in parts if split in each[name]]) for split in ORDER}
        for name in common
    }


def _pooled_weights(parts: Sequence[WeightStatistics]) -> WeightStatistics:
    total = sum(each.sum for each in parts)
    squares = sum(each.sum**2 / each.effective for each in parts if each.effective)
    return WeightStatistics(
        rows=sum(each.rows for each in parts),
        zeros=sum(each.zeros for each in parts),
        minimum=min((each.minimum for each in parts), default=0.0),
        maximum=max((each.maximum for each in parts), default=0.0),
        sum=total,
        effective=total**2 / squares if squares else 0.0,
    )


def _summed(counts: Sequence[Mapping[SplitName, int]]) -> dict[SplitName, int]:
    return {name: sum(each.get(name, 0) for each in counts) for name in ORDER if any(name in each for each in counts)}


def _check_inputs(first: Known, other: Known, findings: Findings) -> None:
    """One network reads the rows of all: they have one shape, and are scaled in one way."""
    (_, one, theirs), (place, two, ours) = first, other
    pointer = f"/datasets/{place}"
    if len(theirs.inputs) == len(ours.inputs) == 1:
        pairs = [(next(iter(theirs.inputs.values())), next(iter(ours.inputs.values())))]
    elif set(theirs.inputs) != set(ours.inputs):
        findings.problem(
            pointer,
            "input_mismatch",
            f"{two} has inputs {quoted(ours.inputs)}, {one} {quoted(theirs.inputs)}: one network reads both, so give "
            "the same inputs the same names in their manifests",
        )
        return
    else:
        pairs = [(theirs.inputs[name], ours.inputs[name]) for name in theirs.inputs]
    for a, b in pairs:
        _check_input(a, b, one, two, findings, pointer)
        check_columns(a.columns, b.columns, (f"the input of {one}", f"that of {two}"), findings, pointer)
        _check_encodings(a, b, one, two, findings, pointer)


def _check_input(a: InputFacts, b: InputFacts, one: str, two: str, findings: Findings, pointer: str) -> None:
    if (a.tokens is None) != (b.tokens is None):
        findings.problem(
            pointer,
            "input_mismatch",
            f"one of {one} and {two} has texts and the other numbers: one network reads both, so leave one out",
        )
    elif a.tokens is not None and b.tokens is not None and not _read_alike(a.tokens, b.tokens):
        findings.problem(
            pointer,
            "input_mismatch",
            f"{one} and {two} have texts, lists of words, or ids of one vocabulary and padding, not two of these: one "
            "network reads both, so leave one out",
        )
    elif a.tokens is None and a.shape != b.shape:
        findings.problem(
            pointer,
            "shape_mismatch",
            f"rows of {two} have shape {list(b.shape)}, those of {one} {list(a.shape)}: one network reads both, so say "
            "the same `shape` in their manifests, or leave one of the datasets out",
        )
    chosen = a.because is not None or b.because is not None
    for name in ("scale",) if chosen else ("scale", "standardize"):
        x, y = getattr(a, name), getattr(b, name)
        if x != y:
            findings.problem(
                pointer,
                "transform_mismatch",
                f"the input of {two} has `{name}` {y}, that of {one} {x}: a student keeps one transform for all its "
                "rows, so upload one of them again with the other's",
            )


def _read_alike(a: TokenEncoding, b: TokenEncoding) -> bool:
    """Whether the tokens of two datasets are made in one way; a tokenizer is that of the first."""
    return (a.ids, a.words) == (b.ids, b.words) and (a.ids is None or reads_same_tokens(a, b))


def _check_encodings(a: InputFacts, b: InputFacts, one: str, two: str, findings: Findings, pointer: str) -> None:
    """One student keeps one list of categories, and one number that fills each missing one."""
    theirs, ours = (each.encoding or InputEncoding(columns=()) for each in (a, b))
    if (theirs.categories, theirs.encoding, theirs.missing) != (ours.categories, ours.encoding, ours.missing):
        findings.problem(
            pointer,
            "transform_mismatch",
            f"the input of {two} has other categories, or fills missing numbers in another way, than that of {one}: "
            "one network reads both, so list the same `categories` and say the same `missing` in both manifests",
        )
    elif theirs.fill != ours.fill and b.may_have_missing:
        findings.warn(
            "fill_differs",
            f"missing numbers of {one} and {two} are filled from their own training rows, and the student keeps what "
            f"fills those of {one}: upload them as one file where that matters, or say `missing: zero`",
        )


def _inputs(known: Sequence[Known]) -> dict[str, InputFacts]:
    """The first dataset's inputs, without statistics: the worker computes those of all training rows from the rows."""
    return {
        name: _over_all([facts.inputs.get(name) or next(iter(facts.inputs.values())) for _, _, facts in known])
        for name in known[0][2].inputs
    }


def _over_all(parts: Sequence[InputFacts]) -> InputFacts:
    """One input over all datasets: the columns are those of the first dataset that names them."""
    columns = next((each.columns for each in parts if each.columns is not None), None)
    counts: dict[str, object] | None = {} if all(each.column_counts == {} for each in parts) else None
    update: dict[str, object] = {"mean": None, "std": None, "columns": columns, "column_counts": counts}
    tokens = [each.tokens for each in parts if each.tokens is not None]
    if len(tokens) == len(parts):
        update |= joined_tokens(tokens)
    return parts[0].model_copy(update=update)


def joined_tokens(tokens: Sequence[TokenEncoding]) -> dict[str, object]:
    """How texts of several datasets are read: by the tokenizer of the first, as long as the longest of all."""
    length = max(each.length for each in tokens)
    return {"tokens": tokens[0].model_copy(update={"length": length}), "shape": (length,)}


def _target(name: str, known: Sequence[Known], findings: Findings) -> TargetFacts:
    """A target over the datasets that have it; a disagreement is a problem at the later one."""
    having = [(place, identity, facts.targets[name]) for place, identity, facts in known if name in facts.targets]
    _, one, first = having[0]
    for i, (place, two, other) in enumerate(having[1:], start=1):
        names = next((target.classes for _, _, target in having[:i] if target.classes is not None), None)
        for what, x, y in _differences(first.model_copy(update={"classes": names}), other):
            findings.problem(
                f"/datasets/{place}",
                "target_mismatch",
                f"the target `{name}` has {what} {y} in {two}, {x} in {one}: targets of one name are one target, so "
                "bring them together or give one of them another name in its manifest",
            )
    if len(having) == 1:
        return first
    warn_of_numbers(name, having, findings)
    named = next((target.classes for _, _, target in having if target.classes is not None), None)
    update: dict[str, object] = {
        "classes": named,
        "statistics": {},
        "labelled": _summed([target.labelled for _, _, target in having]),
    }
    if first.kind == "value":
        mean, std = update["mean"], update["std"] = _pooled([target for _, _, target in having])
        if max(abs(mean), std) > MOST_STATISTIC:
            findings.problem(
                "/datasets",
                "wrong_scale",
                f"over all datasets the values of `{name}` have mean {mean:.3g} and deviation {std:.3g}, "
                f"{MOST_STATISTIC:.0e} at most: use larger units",
            )
    return first.model_copy(update=update)


def _differences(one: TargetFacts, two: TargetFacts) -> list[tuple[str, object, object]]:
    """(what, of one, of two). Classes without names agree with named ones of their number."""
    if one.kind != two.kind:
        return [("the kind", one.kind, two.kind)]
    if one.size != two.size:
        return [("the size", one.size, two.size)]
    if one.classes is not None and two.classes is not None and one.classes != two.classes:
        return [("classes that begin", list(one.classes[:5]), list(two.classes[:5]))]
    return [("the meaning", one.predicts, two.predicts)] if one.predicts != two.predicts else []


def _pooled(targets: Sequence[TargetFacts]) -> tuple[float, float]:
    """(mean, deviation) of the labelled training rows together, from those of each dataset."""
    parts = [(target.labelled.get("train", 0), target.mean or 0.0, target.std or 1.0) for target in targets]
    total = sum(count for count, _, _ in parts)
    if total == 0:
        return 0.0, 1.0
    mean = sum(count * mean for count, mean, _ in parts) / total
    square = sum(count * (std**2 + (own - mean) ** 2) for count, own, std in parts) / total
    return mean, sqrt(square)
