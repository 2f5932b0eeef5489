"""What an exported graph cannot take, or what its check leaves out, told before anything is trained."""

from collections.abc import Mapping, Sequence

from app.contracts.resolving.findings import Findings
from app.contracts.resources.facts import DatasetFacts, InputFacts
from app.contracts.resources.joined_rows import InputPart, fits, joined_form
from app.contracts.specs.jobs import AnyTrainingJob

REFUSED = "rows_not_exportable"
UNCHECKED = "rows_not_checked"


def check_exports(spec: AnyTrainingJob, datasets: Mapping[str, DatasetFacts | None], findings: Findings) -> None:
    """Add warnings about the rows of a job that exports its student as ONNX, where all datasets are known."""
    facts = {ref.dataset: datasets.get(ref.dataset) for ref in spec.dataset_refs()}
    known = {identity: each for identity, each in facts.items() if each is not None}
    if not spec.formats or len(known) < len(facts):
        return
    unchecked: dict[str, None] = {}
    for name in next(iter(known.values())).inputs:
        parts = [part for identity, each in known.items() if (part := _part(identity, each, name)) is not None]
        if not parts or len(parts) < len(known):
            continue
        form = joined_form(parts)
        is_read = spec.network.inputs is None or name in spec.network.inputs
        if is_read and form.refused is not None:
            findings.warn(REFUSED, refused_message(name, form.refused))
        unchecked |= dict.fromkeys(part.dataset for part in parts if not fits(part.form, form))
    if unchecked:
        findings.warn(UNCHECKED, unchecked_message(list(unchecked)))


def refused_message(name: str, reason: str) -> str:
    """What is said of an input whose rows no graph takes."""
    return f"the student gets no ONNX file, since no graph takes all rows of `{name}`: {reason}"


def unchecked_message(datasets: Sequence[str]) -> str:
    """What is said of datasets whose rows the check of the ONNX file leaves out."""
    names = ", ".join(datasets)
    return (
        f"the ONNX file takes rows as the first dataset has them, and rows of {names} have another shape or layout in "
        "their files: they are no part of the file's check. Bring them into the shape of the first before you send "
        "them, or upload all in one shape"
    )


def _part(identity: str, facts: DatasetFacts, name: str) -> InputPart | None:
    """A single input has any name; None where an older version inspected the dataset."""
    found: InputFacts = facts.inputs.get(name) or next(iter(facts.inputs.values()))
    return None if found.raw is None else InputPart(identity, found.raw, found.encoding, found.may_have_missing)
