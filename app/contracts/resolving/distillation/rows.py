"""The rows that a teacher given as columns has outputs for: it teaches these alone, and is measured on these alone."""

from app.contracts.resolving.findings import Findings
from app.contracts.resources.facts import DatasetFacts

FEW = 0.5
"""Share of the training rows below which a teacher has outputs for few of them."""


def check_rows(columns: str, dataset: DatasetFacts, findings: Findings, pointer: str) -> None:
    """A teacher without any output in the training split is a problem, rows without an output are a warning."""
    having = dataset.targets[columns].labelled
    if not having:  # facts of an older version
        return
    counts = {split: (having.get(split, 0), rows) for split, rows in dataset.splits.items() if rows}
    known, rows = counts.get("train", (0, 0))
    if rows and not known:
        findings.problem(
            pointer,
            "teacher_without_outputs",
            f"the teacher `{columns}` has no output for any of the {rows} training rows, so that nothing would be "
            "learned from it: write its outputs for them, choose `splits` by which rows that have one are trained on, "
            "or leave the teacher out",
        )
        return
    missing = [f"{total - count} of {total} {split}" for split, (count, total) in counts.items() if count < total]
    if not missing:
        return
    few = f", and teaches only {known} of {rows} training rows" if known < FEW * rows else ""
    findings.warn(
        "teacher_rows_missing",
        f"the teacher `{columns}` has no output for {', '.join(missing)} rows{few}. It teaches the rows that have one, "
        "and its metrics and the fidelity are measured on those alone: write its outputs for the others where that is "
        "not meant",
    )
