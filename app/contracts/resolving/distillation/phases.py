"""Do the phases of a task's terms cover its training, and does the training last to their end?"""

from collections.abc import Sequence

from app.contracts.resolving.data.targets import Goal
from app.contracts.resolving.findings import Findings
from app.contracts.specs.distillation import DistillationSpec
from app.contracts.specs.phases import Phase
from app.contracts.specs.training import TrainingSpec


def check_phases(terms: Sequence[tuple[float, Phase | None]], findings: Findings, pointer: str) -> None:
    """Warn of steps in which no term counts; `terms` are (weight, phase)."""
    spans = sorted((p.begin, p.end) for p in (phase or Phase() for weight, phase in terms if weight > 0.0))
    reached, gaps = 0.0, []
    for begin, end in [*spans, (1.0, 1.0)]:
        if begin > reached:
            gaps.append(f"{100 * reached:.3g} % to {100 * begin:.3g} %")
        reached = max(reached, end)
    if spans and gaps:
        findings.warn(
            "phases_with_a_gap", f"`{pointer.strip('/')}`: no term counts from {', '.join(gaps)} of the steps"
        )


def check_annealing(spec: DistillationSpec, goal: Goal, rows: int, findings: Findings, pointer: str) -> None:
    """Annealing needs labels; rows without one count less and less. `rows` is the number of training rows."""
    if spec.anneal is None:
        return
    if goal.labelled == 0:
        findings.problem(
            f"{pointer}/anneal",
            "labels_needed",
            f"`anneal` moves the weight from teachers to labels, and `{goal.name}` has none: leave it out",
        )
    elif goal.labelled < rows:
        findings.warn(
            "anneal_without_labels",
            f"`{goal.name}` has labels on {goal.labelled} of {rows} training rows: as the teachers are annealed, the "
            "others teach less and less",
        )


def check_stopping(spec: DistillationSpec, training: TrainingSpec, findings: Findings, pointer: str) -> None:
    """Phases are shares of all steps, and early stopping would leave the later ones out."""
    terms = (*(spec.soft_targets or ()), *(spec.features or ()), spec.supervised)
    changing = spec.anneal is not None or any(term.phase is not None for term in terms)
    if training.early_stopping is not None and changing:
        findings.problem(
            "/training/early_stopping",
            "not_with_phases",
            f"weights in `{pointer.strip('/')}` go by the share of all steps (`phase`, `anneal`), and early stopping "
            "would leave the later ones out: leave one of the two out",
        )
