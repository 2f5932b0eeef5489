"""The forms by which the teachers of a job read the files of its datasets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.contracts.resolving.data.forms import Files, Form, own_form, reads_files
from app.contracts.resources.inputs.audio import AudioInput
from app.contracts.resources.inputs.encoded_names import encoded_name
from app.contracts.resources.inputs.images import ImageInput
from app.contracts.resources.manifests import DatasetManifest
from app.contracts.wire.orders import DatasetInput, Order


@dataclass(frozen=True)
class FileReading:
    """How a teacher reads the files of a job's datasets: `names` are the inputs of each dataset, in the job's order."""

    names: tuple[str, ...]
    form: Form

    @property
    def key(self) -> str:
        """The name of the rows: teachers that read the same files by the same form read the same rows."""
        return encoded_name(self.names[0], self.form)


def file_readings(order: Order, datasets: Sequence[DatasetInput]) -> dict[str, FileReading]:
    """The teachers of a job that read files by a form of their own, by their keys in the order."""
    job = order.training_job
    if job is None:
        return {}
    files = [files_of_manifest(each.manifest) for each in datasets]
    augmented = job.training.augmentations is not None
    found = {}
    for name in dict.fromkeys(ref.model or ref.job or "" for _, ref in job.teacher_refs()):
        facts = order.models[name].facts if name in order.models else None
        own = own_form(facts) if facts is not None else None
        if facts is not None and own is not None and (names := reads_files(facts, files, augmented=augmented)):
            found[name] = FileReading(names, own[1])
    return found


def forms_of_dataset(readings: Mapping[str, FileReading], place: int) -> dict[str, tuple[str, Form]]:
    """(input, form) of the rows that teachers read of the dataset at this place of a job, by their keys."""
    return {each.key: (each.names[place], each.form) for each in readings.values()}


def files_of_manifest(manifest: DatasetManifest) -> Files:
    """The inputs of a dataset that are files, as `files_of` says it of its facts."""
    inputs = manifest.inputs.items()
    return Files(
        {name: spec.form if isinstance(spec, ImageInput | AudioInput) else None for name, spec in inputs},
        {name: spec.columns or (name,) for name, spec in inputs},
    )
