"""The views that the recipe `best` chooses for images. Sounds have none: pitch is no place."""

from collections.abc import Sequence

from app.contracts.resolving.findings import Findings
from app.contracts.resolving.recipe.training import is_complete, passes
from app.contracts.resources.facts import DatasetFacts
from app.contracts.specs.jobs import AnyTrainingJob
from app.contracts.specs.training import TrainingSpec
from app.contracts.specs.views import CropView, Views

LEAST_SIDE = 24
"""Height and width in pixels below which a shift by one is too much: it cost mlps 4 points on images of 8x8."""
MOST_CHANNELS = 4
SHARE = 14
"""Height or width, whichever is smaller, relative to the largest shift."""


def with_views(
    spec: AnyTrainingJob, training: TrainingSpec, dataset: DatasetFacts, own: Sequence[str], findings: Findings
) -> TrainingSpec:
    """The settings of a job with views chosen where they were left out and suit its rows. `spec` is resolved but for
    its settings, `training` are those with everything else chosen; `own`: pointers of the teachers that read files by a
    form of their own, and so no augmented rows.

    Shifts alone: mirrored digits or letters are others. A spec that names everything else, as one that an earlier
    version resolved, keeps its rows as they are.
    """
    shape = spec.network.input_shape
    asked = spec.training
    is_asked = asked.recipe == "best" and asked.views is None and not is_complete(asked)
    if (
        not is_asked
        or shape is None
        or not _is_image(shape)
        or _has_sounds(dataset)
        or not _see_the_same(spec, dataset)
        or any(sides != shape[1:] for sides in spec.network.map_shapes.values())
    ):
        return training
    if own:
        findings.warn(
            "views_not_chosen",
            f"shifts were not chosen for the images, as the teacher at `{own[0]}` reads their files by its own `form`, "
            "and could not read them shifted: give `views` where shifts matter more",
        )
        return training
    views = Views(transforms=(CropView(kind="crop", padding=max(1, min(shape[1:]) // SHARE), fill="reflect"),))
    findings.choose("/training/views", views, _because(spec, training, dataset.splits.get("train", 0)))
    return training.model_copy(update={"views": views})


def _is_image(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[0] <= MOST_CHANNELS and min(shape[1:]) >= LEAST_SIDE


def _has_sounds(dataset: DatasetFacts) -> bool:
    """Whether rows may be features of sounds, whose sides are frequency and time."""
    return any(each.raw is not None and each.raw.audio is not None for each in dataset.inputs.values())


def _see_the_same(spec: AnyTrainingJob, dataset: DatasetFacts) -> bool:
    """Whether every teacher can be run on the rows as the student sees them."""
    refs = [ref for _, ref in spec.teacher_refs()]
    read = spec.network.inputs
    return all(ref.stored_as is None for ref in refs) and (not refs or read is None or set(read) == set(dataset.inputs))


def _because(spec: AnyTrainingJob, training: TrainingSpec, rows: int) -> str:
    reason = "shifted images are new rows for a small network"
    count = sum(1 for _ in spec.teacher_refs())
    if count == 0:
        return reason
    runs = f"{passes(training, rows):.0f} times over the {rows} training rows instead of once"
    return f"{reason}, and teachers see the same ones: they run {runs}"
