"""Do the augmentations fit the rows? Each says which rows it changes."""

from collections.abc import Mapping, Sequence
from typing import assert_never

from app.contracts.base import MapShape
from app.contracts.resolving.data.channels import warn_of_channels
from app.contracts.resolving.findings import Findings, quoted
from app.contracts.resources.facts import DatasetFacts, InputFacts, ModelFacts
from app.contracts.specs.distillation import DistillationSpec
from app.contracts.specs.jobs import AnyTrainingJob, DistillJob, MultitaskJob, TeacherRef, TrainJob
from app.contracts.specs.views import (
    ColorJitterView,
    CropView,
    CutmixView,
    CutoutView,
    FlipView,
    MixupView,
    NoiseView,
    RandAugmentView,
    ShiftView,
    SpecAugmentView,
    Transform,
    Views,
    WordDropoutView,
)

_SIDES = {"images": "[channels, height, width]", "features": "[channels, bands, frames] or [bands, frames]"}


def undefined_for(views: Views, input_shape: tuple[int, ...]) -> list[tuple[int, str]]:
    """(place in `transforms`, reason) of each transform that does not fit numbers in rows of `input_shape`."""
    reasons = [(i, _reason(transform, input_shape)) for i, transform in enumerate(views.transforms)]
    return [(i, reason) for i, reason in reasons if reason is not None]


def _reason(transform: Transform, shape: tuple[int, ...]) -> str | None:
    match transform.rows:
        case "numbers":
            return None
        case "images" | "features":
            fits = len(shape) == 3 or (len(shape) == 2 and transform.rows == "features")
            found = f"`{transform.kind}` needs rows of shape {_SIDES[transform.rows]}, found {list(shape)}"
            return _too_large(transform, shape[-2], shape[-1]) if fits else found
        case "tokens":
            return f"`{transform.kind}` changes tokens of a text, and the student reads numbers: leave it out"
        case _:
            assert_never(transform.rows)


def _too_large(transform: Transform, height: int, width: int) -> str | None:
    size, least, most = f"on images of {height}x{width}", min(height, width), max(height, width)
    match transform:
        case ShiftView():
            fits = transform.pixels < least
            reason = f"`pixels` must be below {least} {size}, found {transform.pixels}: nothing would be left"
        case CropView():
            fits = transform.padding < least
            reason = f"`padding` must be below {least} {size}, found {transform.padding}"
        case CutoutView():
            fits = transform.size < most
            reason = f"`size` must be below {most} {size}, found {transform.size}: nothing would be left"
        case SpecAugmentView():
            return _too_wide(transform, height, width)
        case FlipView() | CutmixView() | NoiseView() | MixupView() | WordDropoutView():
            return None
        case ColorJitterView() | RandAugmentView():
            return None
        case _:
            assert_never(transform)
    return None if fits else reason


def _too_wide(transform: SpecAugmentView, bands: int, frames: int) -> str | None:
    asked = (
        ("frequency_width", transform.frequency_masks, transform.frequency_width, bands, "bands"),
        ("time_width", transform.time_masks, transform.time_width, frames, "frames"),
    )
    for name, masks, width, most, of in asked:
        if masks and width >= most:
            return f"`{name}` must be below {most} on features of {most} {of}, found {width}: nothing would be left"
    return None


def check_views(
    spec: AnyTrainingJob, dataset: DatasetFacts | None, models: Mapping[str, ModelFacts | None], findings: Findings
) -> None:
    """Problems for augmentations that do not fit rows of numbers, or the terms of the loss; `spec` is resolved."""
    views = spec.training.augmentations
    if views is None:
        return
    read, there = spec.network.inputs, dataset.inputs if dataset is not None else {}
    if read is not None and set(read) != set(there) and any(ref.stored_as is None for _, ref in spec.teacher_refs()):
        findings.problem(
            "/training/views",
            "view_undefined",
            f"teachers see the rows as they are augmented, and the student reads {quoted(read)} alone of "
            f"{quoted(there)}: leave `views` or the student's `inputs` out",
        )
    if spec.network.reads != "tokens":
        _check_views_of_numbers(spec, views, [there[name] for name in read or there if name in there], findings)
        _check_whole_numbers(spec, views, models, findings)
    match spec:
        case TrainJob():
            return
        case DistillJob():
            _check_distillation(spec.teachers or (), spec.distillation, views, findings, "")
        case MultitaskJob():
            for i, task in enumerate(spec.tasks):
                _check_distillation(task.teachers or (), task.distillation, views, findings, f"/tasks/{i}")
        case _:
            assert_never(spec)


def _check_views_of_numbers(
    spec: AnyTrainingJob, views: Views, inputs: Sequence[InputFacts], findings: Findings
) -> None:
    shape = (spec.model if isinstance(spec, TrainJob) else spec.student).input_shape
    for place, reason in undefined_for(views, shape) if shape is not None else ():
        findings.problem(f"/training/views/transforms/{place}", "view_undefined", reason)
    _check_maps(views, spec.network.map_shapes, shape, findings)
    _check_features(views, inputs, findings)
    _check_channels(views, inputs, shape, findings)


def _check_features(views: Views, inputs: Sequence[InputFacts], findings: Findings) -> None:
    """Pixels have no frequencies: masks across a whole image are no view of it. Features of sounds are not turned."""
    raw = [each.raw for each in inputs if each.raw is not None]
    of_images, of_sounds = any(each.image is not None for each in raw), any(each.audio is not None for each in raw)
    for place, transform in enumerate(views.transforms):
        reason = None
        if of_images and transform.rows == "features":
            reason = f"`{transform.kind}` masks frequencies and times of sounds, found images: use `cutout`"
        elif of_sounds and (isinstance(transform, ColorJitterView | RandAugmentView) or _is_upside_down(transform)):
            reason = f"`{transform.kind}` changes images, found sounds: use `spec_augment`"
        if reason is not None:
            findings.problem(f"/training/views/transforms/{place}", "view_undefined", reason)


def _is_upside_down(transform: Transform) -> bool:
    return isinstance(transform, FlipView) and transform.direction == "vertical"


def _check_maps(views: Views, maps: Mapping[str, MapShape], shape: tuple[int, ...] | None, findings: Findings) -> None:
    """Labels of pixels move with the image, where they have its size; they are not mixed."""
    for name, sides in maps.items():
        for place, transform in enumerate(views.transforms):
            reason = _misfit_of_maps(transform, name, sides, shape)
            if reason is not None:
                findings.problem(f"/training/views/transforms/{place}", "view_undefined", reason)


def _misfit_of_maps(transform: Transform, name: str, sides: MapShape, shape: tuple[int, ...] | None) -> str | None:
    match transform:
        case NoiseView() | ColorJitterView() | CutoutView() | FlipView() | SpecAugmentView() | WordDropoutView():
            return None
        case RandAugmentView():
            return f"`rand_augment` turns images, and the map `{name}` does not turn with them: leave it out"
        case MixupView() | CutmixView():
            return f"`{transform.kind}` mixes two rows, and the pixels of the map `{name}` have one label: leave it out"
        case ShiftView() | CropView():
            if shape is None or shape[1:] == sides:
                return None
            return (
                f"`{transform.kind}` moves images by whole pixels, and the map `{name}` has {sides[0]}x{sides[1]} for "
                f"images of {'x'.join(map(str, shape[1:]))}: leave it out, or upload maps of the images' size"
            )
        case _:
            assert_never(transform)


def _check_channels(
    views: Views, inputs: Sequence[InputFacts], shape: tuple[int, ...] | None, findings: Findings
) -> None:
    """Warn of transforms of images where the last side of a single input may have the channels."""
    of_images = [each.kind for each in views.transforms if each.rows == "images"]
    if of_images and len(inputs) == 1 and shape is not None and len(shape) == 3:
        warn_of_channels(inputs[0], shape, f"the view `{of_images[0]}`", findings)


def _check_whole_numbers(
    spec: AnyTrainingJob, views: Views, models: Mapping[str, ModelFacts | None], findings: Findings
) -> None:
    """Some views make numbers that a teacher of integer inputs does not take."""
    facts = [models.get(ref.model or ref.job or "") for _, ref in spec.teacher_refs()]
    if not any(each is not None and each.reads_whole_numbers for each in facts):
        return
    for place, transform in enumerate(views.transforms):
        if transform.makes_numbers:
            findings.problem(
                f"/training/views/transforms/{place}",
                "view_undefined",
                f"a teacher reads whole numbers, and `{transform.kind}` makes others: leave it out",
            )


def _check_distillation(
    teachers: tuple[TeacherRef, ...],
    distillation: DistillationSpec | None,
    views: Views,
    findings: Findings,
    pointer: str,
) -> None:
    if any(teacher.stored_as is not None for teacher in teachers):
        findings.warn(
            "columns_ignore_views",
            "teacher outputs in the dataset are of the rows as they are, not augmented: leave `views` out",
        )
    if views.mixing is None or distillation is None:
        return
    for i, term in enumerate(distillation.soft_targets or ()):
        if term.needs_labels:
            findings.problem(
                f"{pointer}/distillation/soft_targets/{i}/method",
                "view_undefined",
                f"`{term.method}` needs one label of each row, and `{views.mixing.kind}` gives it two: use another",
            )
    if distillation.combine != "weights":
        findings.problem(
            f"{pointer}/distillation/combine",
            "view_undefined",
            f"teachers are weighed by the label of a row, and `{views.mixing.kind}` gives it two: use `weights`",
        )
