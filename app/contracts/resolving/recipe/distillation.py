"""The temperature and weights of a distillation that a spec leaves out.

Those of `kd` and `mse` were measured on 14 tasks. Other methods have the weights of most published settings, which were
not measured here.
"""

from dataclasses import dataclass

from app.contracts.resolving.data.targets import Goal
from app.contracts.resolving.findings import Findings
from app.contracts.specs.distillation import DEFAULT_TERMS, DistillationSpec, KdTerm, SoftTargetTerm, SupervisedTerm
from app.contracts.specs.searches import WeightSearch

TEMPERATURE = 2.0
FEW_LABELS = 0.5
"""Share of labelled training rows below which teachers have most of the weight."""
_EQUAL, _MOSTLY_SOFT = (0.5, 0.5), (0.9, 0.1)
_WARM = "a temperature of 2 shows what a teacher knows of the other classes without blurring the first"


@dataclass(frozen=True)
class _Weights:
    """Weights of the soft targets together, and of the loss on labels."""

    soft: float
    labels: float
    because: str


def with_terms(spec: DistillationSpec, goal: Goal, rows: int, findings: Findings, pointer: str) -> DistillationSpec:
    """The distillation with its terms, temperatures and weights chosen where they were left out.

    `rows` is the number of training rows. A task that names features and no soft targets has features alone. Where only
    one of the two sides has a weight below 1, the other gets the rest, so that they sum to 1.
    """
    terms = spec.soft_targets or (() if spec.features else (DEFAULT_TERMS[goal.kind],))
    usual = _usual(terms, goal, rows, spec.allow_chance_teacher)
    soft, labels = _soft_weights(spec.supervised, usual), _label_weights(terms, usual)
    own = findings if spec.soft_targets is not None else Findings()
    filled = tuple(_term(term, soft, len(terms), own, f"{pointer}/soft_targets/{i}") for i, term in enumerate(terms))
    if filled and spec.soft_targets is None:
        document = filled[0].model_dump(mode="json", include={"method", "temperature", "weight"})
        warm = f"; {_WARM}" if "temperature" in document else ""
        findings.choose(f"{pointer}/soft_targets", document, f"{soft.because}{warm}")
    supervised = spec.supervised
    if supervised.weight is None:
        supervised = supervised.model_copy(update={"weight": labels.labels})
        findings.choose(f"{pointer}/supervised/weight", labels.labels, labels.because)
    return spec.model_copy(update={"soft_targets": filled or None, "supervised": supervised})


def _term(term: SoftTargetTerm, weights: _Weights, terms: int, findings: Findings, pointer: str) -> SoftTargetTerm:
    """A term with its temperature, and with its share of the weight of all of them."""
    if isinstance(term, KdTerm) and term.temperature is None:
        term = term.model_copy(update={"temperature": TEMPERATURE})
        findings.choose(f"{pointer}/temperature", TEMPERATURE, _WARM)
    if term.weight is None:
        term = term.model_copy(update={"weight": weights.soft / terms})
        findings.choose(f"{pointer}/weight", weights.soft / terms, weights.because)
    return term


def _soft_weights(supervised: SupervisedTerm, usual: _Weights) -> _Weights:
    """What the soft targets get, beside a weight of the labels that was given."""
    given = supervised.weight
    if given is None or given >= 1.0:
        return usual
    return _Weights(_rest(given), given, f"what `supervised.weight` {given:g} leaves of 1")


def _label_weights(terms: tuple[SoftTargetTerm, ...], usual: _Weights) -> _Weights:
    """What the loss on labels gets, beside weights of the soft targets that were given."""
    given = [term.weight for term in terms]
    if not given or any(weight is None or isinstance(weight, WeightSearch) for weight in given):
        return usual
    total = sum(term.share for term in terms)
    if total >= 1.0:
        return usual
    return _Weights(total, _rest(total), f"what the soft targets' weight {total:g} leaves of 1")


def _rest(weight: float) -> float:
    return round(1.0 - weight, 12)


def _usual(terms: tuple[SoftTargetTerm, ...], goal: Goal, rows: int, is_unchecked: bool) -> _Weights:
    """The weights where neither side was given. `is_unchecked`: whether a teacher may be no better than chance."""
    if goal.labelled == 0:
        return _Weights(*_MOSTLY_SOFT, f"`{goal.name}` has no labels: the soft targets alone teach")
    if goal.labelled < FEW_LABELS * rows:
        because = f"labels on {goal.labelled} of {rows} training rows: teachers teach on the others as well"
        return _Weights(*_MOSTLY_SOFT, because)
    methods = {term.method for term in terms}
    if methods == {"kd"}:
        because = f"labels on {goal.labelled} of {rows} training rows: labels and teachers count alike"
        return _Weights(*_EQUAL, because)
    if methods == {"mse"} and is_unchecked:
        return _Weights(
            *_EQUAL, "`allow_chance_teacher` allows a weak teacher, which should not have most of the weight"
        )
    if methods == {"mse"}:
        return _Weights(*_MOSTLY_SOFT, "a teacher that is better than chance has less noise than the labels")
    named = ", ".join(f"`{method}`" for method in sorted(methods)) or "feature terms"
    return _Weights(*_MOSTLY_SOFT, f"usual for {named}, and not measured here")
