"""Are the terms of a task defined for its target: kind, classes, labels, scale, and the store of scores?"""

from collections.abc import Sequence

from app.contracts.base import members, method_of
from app.contracts.resolving.data.targets import Goal
from app.contracts.resolving.findings import Findings, quoted
from app.contracts.resources.facts import OutputFacts
from app.contracts.specs.distillation import DistillationSpec, LogitTerm, SoftTargetTerm
from app.contracts.specs.stores import StoreSpec
from app.contracts.specs.supervision.metrics import CLASS_KINDS


def check_terms(
    terms: Sequence[SoftTargetTerm],
    goal: Goal,
    outputs: Sequence[OutputFacts | None],
    findings: Findings,
    pointer: str,
) -> None:
    """Problems for terms that are not defined for a goal; `outputs` are its teachers', None where unknown."""
    for i, term in enumerate(terms):
        place = f"{pointer}/soft_targets/{i}"
        if goal.kind not in term.kinds:
            able = [method_of(each) for each in members(SoftTargetTerm) if goal.kind in each.kinds]
            findings.problem(
                f"{place}/method",
                "method_undefined",
                f"`{term.method}` is not defined for {goal.kind} targets: use {quoted(able)}",
            )
            continue
        _check_classes(term, goal, findings, place)
        _check_labels(term, goal, findings, place)
        _check_scale(term, outputs, findings, place)


def _check_classes(term: SoftTargetTerm, goal: Goal, findings: Findings, place: str) -> None:
    if goal.kind in CLASS_KINDS and goal.size < term.min_classes:
        findings.problem(
            f"{place}/method",
            "too_few_classes",
            f"`{term.method}` needs {term.min_classes} classes or more: {term.min_classes_reason}; use `kd`",
        )
    if not isinstance(term, LogitTerm) or not term.standardize:
        return
    if goal.kind not in CLASS_KINDS or goal.size < 3:
        findings.problem(
            f"{place}/standardize",
            "too_few_classes",
            "standardised logits of two classes are always +1 and -1 times one number, so only the sign would be "
            "left: standardise with three classes or more",
        )


def _check_labels(term: SoftTargetTerm, goal: Goal, findings: Findings, place: str) -> None:
    if term.needs_labels and not term.counts_unlabelled and goal.labelled == 0:
        findings.problem(
            f"{place}/method",
            "labels_needed",
            f"`{term.method}` looks at the labels of a row, and `{goal.name}` has none: use another method",
        )


def _check_scale(term: SoftTargetTerm, outputs: Sequence[OutputFacts | None], findings: Findings, place: str) -> None:
    energies = any(o is not None and o.spec.kind == "class" and o.spec.output == "energies" for o in outputs)
    if term.needs_logit_scale and energies:
        findings.problem(
            f"{place}/method",
            "method_undefined",
            f"`{term.method}` compares logits by their size, and energies have a scale of their own: use `kd`",
        )


def check_store(store: StoreSpec, terms: Sequence[SoftTargetTerm], findings: Findings, pointer: str) -> None:
    """Terms that need every score of a row are refused where only the largest are kept."""
    if store.top_k is None:
        return
    for i, term in enumerate(terms):
        if term.compares_all_scores:
            findings.problem(
                f"{pointer}/soft_targets/{i}/method",
                "needs_all_scores",
                f"`{term.method}` here compares every score of a row, and `store.top_k` keeps the largest only: leave "
                "one of the two out",
            )


def check_combination(spec: DistillationSpec, goal: Goal, teachers: int, findings: Findings, pointer: str) -> None:
    """Weighing teachers by labels needs labels, classes, and more than one teacher."""
    if spec.combine == "weights":
        return
    if goal.kind != "class" or goal.labelled == 0:
        findings.problem(
            f"{pointer}/combine",
            "labels_needed",
            f"`{spec.combine}` weighs teachers by class labels, which `{goal.name}` has not: leave `combine` out",
        )
    elif teachers < 2:
        findings.problem(f"{pointer}/combine", "too_few_teachers", "there is one teacher: nothing to weigh")
