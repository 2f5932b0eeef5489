"""The jobs of a comparison, as far as it reads them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter

from app.contracts.base import digest_of
from app.contracts.reports.report import Verdict
from app.contracts.specs.jobs import ANY_SPEC, DistillJob, MultitaskJob
from app.db.rows import JobRow

ComparableJob = DistillJob | MultitaskJob
_VERDICTS: TypeAdapter[dict[str, Verdict]] = TypeAdapter(dict[str, Verdict])
_NO_TEST_ROWS = ("name", "metadata")
"""Fields of a manifest that test rows and labels do not depend on."""


@dataclass(frozen=True)
class Candidate:
    """A succeeded job with its spec and what its report says of its students."""

    id: str
    name: str | None
    spec: ComparableJob
    verdicts: Mapping[str, Verdict]
    has_control: bool
    test_rows: frozenset[str]
    """Equal for jobs on the same test rows and labels."""

    @property
    def targets(self) -> dict[str, str]:
        """The dataset's target of each task."""
        if isinstance(self.spec, MultitaskJob):
            return {task.name: task.target or task.name for task in self.spec.tasks}
        return {name: self.spec.target or name for name in self.verdicts}


def candidate(row: JobRow, report: str, manifests: Mapping[str, object]) -> Candidate:
    """A job with its report as JSON text. `manifests` are those of its datasets that still exist, by id."""
    document = json.loads(report)
    # The report's spec has the weights that were used, where a teacher proved weaker than the control.
    spec = ANY_SPEC.validate_python(document.get("spec") or row.resolved_spec or row.spec, strict=False, extra="ignore")
    assert isinstance(spec, ComparableJob)
    digests = document.get("digests") or {}
    return Candidate(
        id=row.id,
        name=row.name,
        spec=spec,
        verdicts=_VERDICTS.validate_python(document.get("verdict") or {}, strict=False),
        has_control=document.get("control") is not None,
        test_rows=frozenset(
            _rows_of(ref.dataset, digests.get(f"dataset/{ref.dataset}"), manifests.get(ref.dataset))
            for ref in spec.dataset_refs()
        ),
    )


def _rows_of(dataset: str, sha256: str | None, manifest: object) -> str:
    """What the rows of a dataset are known by: file and manifest, or its id where one of them is gone."""
    if sha256 is None or not isinstance(manifest, dict):
        return dataset
    return digest_of([sha256, {name: value for name, value in manifest.items() if name not in _NO_TEST_ROWS}])
