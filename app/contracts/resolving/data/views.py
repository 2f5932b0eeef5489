"""Do the views fit the rows: pictures [channels, height, width] take all, other arrays noise and mixup."""

from app.contracts.resolving.findings import Findings
from app.contracts.specs.distillation import DistillationSpec
from app.contracts.specs.jobs import DistillJob, MultitaskJob, TeacherRef, TrainJob
from app.contracts.specs.views import CropView, CutoutView, MixupView, NoiseView, ShiftView, Transform, Views


def undefined_for(views: Views, input_shape: tuple[int, ...]) -> list[tuple[int, str]]:
    """(place in `transforms`, reason) of each transform that does not fit rows of `input_shape`."""
    reasons = [(i, _reason(transform, input_shape)) for i, transform in enumerate(views.transforms)]
    return [(i, reason) for i, reason in reasons if reason is not None]


def _reason(transform: Transform, shape: tuple[int, ...]) -> str | None:
    if isinstance(transform, NoiseView | MixupView):
        return None
    if len(shape) != 3:
        return f"`{transform.kind}` needs rows of shape [channels, height, width], found {list(shape)}"
    return _too_large(transform, shape[1], shape[2])


def _too_large(transform: Transform, height: int, width: int) -> str | None:
    found = f"on pictures of {height}x{width}"
    if isinstance(transform, ShiftView) and transform.pixels >= min(height, width):
        return f"`pixels` must be below {min(height, width)} {found}, found {transform.pixels}: nothing would be left"
    if isinstance(transform, CropView) and transform.padding >= min(height, width):
        return f"`padding` must be below {min(height, width)} {found}, found {transform.padding}"
    if isinstance(transform, CutoutView) and transform.size >= max(height, width):
        return f"`size` must be below {max(height, width)} {found}, found {transform.size}: nothing would be left"
    return None


def check_views(spec: TrainJob | DistillJob | MultitaskJob, findings: Findings) -> None:
    """Problems for views that do not fit the rows or what is learned from them; `spec` is resolved."""
    views = spec.training.views
    if views is None:
        return
    shape = (spec.model if isinstance(spec, TrainJob) else spec.student).input_shape
    for place, reason in undefined_for(views, shape) if shape is not None else ():
        findings.problem(f"/training/views/transforms/{place}", "view_undefined", reason)
    if isinstance(spec, DistillJob):
        _check_taught(spec.teachers or (), spec.distillation, views, findings, "")
    elif isinstance(spec, MultitaskJob):
        for i, task in enumerate(spec.tasks):
            _check_taught(task.teachers or (), task.distillation, views, findings, f"/tasks/{i}")


def _check_taught(
    teachers: tuple[TeacherRef, ...],
    distillation: DistillationSpec | None,
    views: Views,
    findings: Findings,
    pointer: str,
) -> None:
    if any(teacher.columns is not None for teacher in teachers):
        findings.warn(
            "columns_ignore_views",
            "outputs that stand in the dataset speak of rows as they are, not as views show them",
        )
    if views.mixing is None or distillation is None:
        return
    for i, term in enumerate(distillation.soft_targets or ()):
        if term.needs_labels:
            findings.problem(
                f"{pointer}/distillation/soft_targets/{i}/method",
                "view_undefined",
                f"`{term.method}` looks at the label of a row, and `{views.mixing.kind}` gives it two: use another",
            )
    if distillation.combine != "weights":
        findings.problem(
            f"{pointer}/distillation/combine",
            "view_undefined",
            f"teachers are weighed by the label of a row, and `{views.mixing.kind}` gives it two: use `weights`",
        )
