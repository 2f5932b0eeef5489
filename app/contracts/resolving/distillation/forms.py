"""Do teachers that read files by a form of their own find files, and rows that they can read where they do not?"""

from collections.abc import Mapping, Sequence
from typing import assert_never

from app.contracts.layouts.summary import layers_of
from app.contracts.resolving.data.forms import Files, files_of, inputs_of_files, own_form, reads_files, reads_rows_of
from app.contracts.resolving.distillation.teachers import check_numbers
from app.contracts.resolving.findings import Findings
from app.contracts.resources.facts import DatasetFacts, ModelFacts
from app.contracts.resources.inputs.audio import AudioForm
from app.contracts.resources.inputs.forms import kind_of
from app.contracts.resources.inputs.images import ImageForm
from app.contracts.resources.manifests import MapOutput
from app.contracts.specs.distillation import DistillationSpec, FeatureTerm
from app.contracts.specs.jobs import AnyTrainingJob, DistillJob, MultitaskJob, TrainJob

Datasets = Mapping[str, DatasetFacts | None]
Models = Mapping[str, ModelFacts | None]


def _files(spec: AnyTrainingJob, datasets: Datasets) -> list[Files]:
    """The files of the job's datasets, in its order, as far as they are known."""
    known = (datasets.get(ref.dataset) for ref in spec.dataset_refs())
    return [files_of(facts) for facts in known if facts is not None]


def _teachers(spec: AnyTrainingJob, models: Models) -> list[tuple[str, ModelFacts]]:
    """(pointer, facts) of the teachers that have a form of their own."""
    refs = [(pointer, models.get(ref.model or ref.job or "")) for pointer, ref in spec.teacher_refs()]
    return [(pointer, facts) for pointer, facts in refs if facts is not None and own_form(facts) is not None]


def reading_files(spec: AnyTrainingJob, datasets: Datasets, models: Models) -> list[str]:
    """Pointers of the teachers that make other rows of the files than the datasets do."""
    files = _files(spec, datasets)
    return [
        pointer
        for pointer, facts in _teachers(spec, models)
        if reads_files(facts, files, augmented=False) and not reads_rows_of(facts, files)
    ]


def check_forms(
    spec: AnyTrainingJob, dataset: DatasetFacts | None, datasets: Datasets, models: Models, findings: Findings
) -> None:
    """Problems and warnings of teachers with a form of their own. `dataset`: all of the job's together; `spec` is
    resolved.
    """
    if dataset is None:
        return
    files, augmented = _files(spec, datasets), spec.training.augmentations is not None
    for pointer, facts in _teachers(spec, models):
        if reads_files(facts, files, augmented=augmented):
            _check_maps(facts, files, findings, pointer)
        elif reads_rows_of(facts, files) or _is_resized(facts, files, findings, pointer):
            check_numbers(facts, dataset, findings, pointer)
    for place, facts, term in _feature_terms(spec, models):
        if (
            reads_files(facts, files, augmented=augmented)
            and _has_places(facts, term)
            and _cuts_otherwise(facts, files)
        ):
            findings.warn(
                "places_differ",
                f"`{place}` compares layers place by place, and the teacher's own `form` cuts out another part of an "
                'image than the dataset does: give both the same `fit` and `crop`, or the term `"pool": "mean"`',
            )


def _feature_terms(spec: AnyTrainingJob, models: Models) -> list[tuple[str, ModelFacts, FeatureTerm]]:
    """(pointer, facts of its teacher) of each feature term, as far as they are known."""
    match spec:
        case TrainJob():
            return []
        case DistillJob():
            taught = [("", spec.teachers, spec.distillation)]
        case MultitaskJob():
            own = DistillationSpec()
            taught = [(f"/tasks/{i}", each.teachers, each.distillation or own) for i, each in enumerate(spec.tasks)]
        case _:
            assert_never(spec)
    found = []
    for pointer, teachers, distillation in taught:
        for i, term in enumerate(distillation.features or ()):
            ref = teachers[term.teacher] if teachers and term.teacher < len(teachers) else None
            facts = models.get(ref.model or ref.job or "") if ref is not None else None
            if facts is not None:
                found.append((f"{pointer}/distillation/features/{i}", facts, term))
    return found


def _has_places(facts: ModelFacts, term: FeatureTerm) -> bool:
    """Whether a term compares maps or tokens, not one vector a row."""
    known = layers_of(facts)
    shapes = [known.get(pair.teacher_layer) for pair in term.pairs.values() if pair.pool is None]
    return any(shape is not None and len(shape) > 1 for shape in shapes)


def _is_resized(facts: ModelFacts, files: Sequence[Files], findings: Findings, pointer: str) -> bool:
    """Whether a teacher reads the rows of the dataset in place of files, by `resize` or as those that it was trained on
    here; with a warning or a problem.
    """
    own = own_form(facts)
    assert own is not None
    (name, form), found = own, inputs_of_files(facts, files)
    noun = f"{kind_of(form)} files"
    why = "rows are augmented" if found else f"the dataset has no single input of {noun}, nor one called `{name}`"
    way_out = "leave `views` out" if found else f"upload a dataset of {noun}, or call an input of them `{name}`"
    read = facts.inputs[name]
    if read.form is None and not found:
        return True
    if read.resize is None and read.form is not None:
        findings.problem(
            "/training/views" if found else pointer,
            "view_undefined" if found else "input_mismatch",
            f"the teacher at `{pointer}` reads {noun} by its own `form`, and {why}: {way_out}"
            + (", or give its input `resize`" if isinstance(form, ImageForm) else ""),
        )
        return False
    if found or not _is_stretched(form):
        findings.warn(
            "form_not_used",
            f"the teacher at `{pointer}` reads {noun} by its own `form`, and {why}: it reads the rows of the dataset"
            f"{', resized' if read.resize is not None else ''}; {way_out}, for its own processing",
        )
    return True


def _is_stretched(form: ImageForm | AudioForm) -> bool:
    """Whether a form does no more to an image than to resize it, so that resized rows are its own."""
    return isinstance(form, ImageForm) and form.fit == "stretch" and form.crop is None


def _check_maps(facts: ModelFacts, files: Sequence[Files], findings: Findings, pointer: str) -> None:
    """Scores of pixels are those of the pixels of the student's image: the same part of each must be read."""
    maps = [name for name, output in facts.outputs.items() if isinstance(output.spec, MapOutput)]
    if maps and _cuts_otherwise(facts, files):
        findings.problem(
            pointer,
            "shape_mismatch",
            f"the teacher's `{maps[0]}` is of pixels, and its own `form` cuts out another part of an image than the "
            "dataset does: give both the same `fit`, `crop` and proportions, or leave `form` out",
        )


def _cuts_otherwise(facts: ModelFacts, files: Sequence[Files]) -> bool:
    """Whether a teacher that reads files sees another part of an image than the student, whichever input of the files
    that reads.
    """
    own = own_form(facts)
    assert own is not None
    names = inputs_of_files(facts, files)
    read = (form for each, name in zip(files, names, strict=True) for form in each.read_with(name))
    return any(_part(form) != _part(own[1]) for form in read)


def _part(form: ImageForm | AudioForm | None) -> tuple[object, ...]:
    """What of an image is read, whatever its size."""
    return (form.fit, form.crop, form.size[0] / form.size[1]) if isinstance(form, ImageForm) else ()
