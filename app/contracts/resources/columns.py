"""Columns that an upload's manifest uses twice. Checked where a manifest is sent: stored ones are read as they are."""

from collections import Counter
from collections.abc import Iterator
from typing import assert_never

from app.contracts.problems import Problem, listed
from app.contracts.resources.inputs.maps import MapTarget
from app.contracts.resources.inputs.tagging import TokenClassTarget
from app.contracts.resources.manifests import (
    ClassTarget,
    DatasetManifest,
    MultilabelTarget,
    TargetSpec,
    TeacherTarget,
    ValueTarget,
    VectorTarget,
)
from app.contracts.specs.supervision.metrics import CLASS_KINDS


def column_problems(manifest: DatasetManifest) -> list[Problem]:
    """`duplicate_column` of inputs that list a column twice, `target_among_inputs` of inputs that list a target's."""
    return [*_duplicates(manifest), *_targets_among_inputs(manifest)]


def _duplicates(manifest: DatasetManifest) -> Iterator[Problem]:
    for name, spec in manifest.inputs.items():
        doubled = [column for column, count in Counter(spec.columns or ()).items() if count > 1]
        if doubled:
            yield Problem(
                pointer=f"/inputs/{name}/columns",
                code="duplicate_column",
                detail=f"expected every column once, found {listed(doubled)} more than once: list it once",
            )


def _targets_among_inputs(manifest: DatasetManifest) -> Iterator[Problem]:
    """A target that is several numbers of an input, all of them, is a reconstruction, and allowed."""
    for name, spec in manifest.inputs.items():
        inputs = set(spec.columns or (name,))
        for target, what in manifest.targets.items():
            shared = inputs.intersection(columns_of(target, what))
            reconstructs = what.kind not in (*CLASS_KINDS, "value") and shared == inputs
            if shared and not reconstructs:
                names = listed((each[:60] for each in sorted(shared)), most=5)
                yield Problem(
                    pointer=f"/inputs/{name}" + ("/columns" if spec.columns else ""),
                    code="target_among_inputs",
                    detail=f"expected columns that are known before the answer, found {names} of the "
                    f"target `{target}`: a model would copy it. Leave it out of the input, or drop the target",
                )


def columns_of(name: str, target: TargetSpec) -> tuple[str, ...]:
    """The columns (or npz keys) that a target reads."""
    match target:
        case ClassTarget() | TokenClassTarget() | MapTarget() | ValueTarget():
            return (target.column or name,)
        case MultilabelTarget() | VectorTarget() | TeacherTarget():
            return target.columns or (name,)
        case _:
            assert_never(target)
