"""What an exported graph cannot take, or what its check leaves out, told before anything is trained."""

from collections.abc import Mapping, Sequence

from app.contracts.resolving.findings import Findings
from app.contracts.resources.facts import DatasetFacts, InputFacts
from app.contracts.resources.joined_rows import InputPart, fits, joined_form
from app.contracts.specs.jobs import AnyTrainingJob


def check_exports(spec: AnyTrainingJob, datasets: Mapping[str, DatasetFacts | None], findings: Findings) -> None:
    """Add warnings about the rows of a job that exports its student as ONNX, where all datasets are known."""
    facts = {ref.dataset: datasets.get(ref.dataset) for ref in spec.dataset_refs()}
    known = {identity: each for identity, each in facts.items() if each is not None}
    if not spec.formats or len(known) < len(facts):
        return
    unchecked: dict[str, None] = {}
    for name in next(iter(known.values())).inputs:
        if spec.network.inputs is not None and name not in spec.network.inputs:
            continue
        parts = [part for identity, each in known.items() if (part := _part(identity, each, name)) is not None]
        if not parts or len(parts) < len(known):
            continue
        form = joined_form(parts)
        if form.refused is not None:
            findings.warn("rows_not_exportable", refused_message(name, form.refused))
        unchecked |= dict.fromkeys(part.dataset for part in parts if not fits(part.form, form))
    if unchecked:
        findings.warn("rows_not_checked", unchecked_message(list(unchecked)))


def refused_message(name: str, reason: str) -> str:
    """What is said of an input whose rows no graph takes."""
    return f"the student gets no ONNX file, since no graph takes all rows of `{name}`: {reason}"


def unchecked_message(datasets: Sequence[str]) -> str:
    """What is said of datasets whose rows the check of the ONNX file leaves out."""
    names = ", ".join(datasets)
    return (
        f"rows of {names} stand in another shape, layout or precision in their files than the ONNX file takes, "
        "which is that of the first dataset: they are no part of the file's check. Send them in its shape and compare "
        "some answers yourself, or upload all datasets alike"
    )


def _part(identity: str, facts: DatasetFacts, name: str) -> InputPart | None:
    """A single input has any name; None where an older version inspected the dataset."""
    found: InputFacts = facts.inputs.get(name) or next(iter(facts.inputs.values()))
    return None if found.raw is None else InputPart(identity, found.raw, found.encoding, found.may_have_missing)
