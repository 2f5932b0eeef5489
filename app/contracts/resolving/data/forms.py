"""Which models read the files of a dataset by a form of their own, and which input of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from app.contracts.resources.facts import DatasetFacts, InputFacts, ModelFacts
from app.contracts.resources.inputs.audio import AudioForm
from app.contracts.resources.inputs.forms import kind_of
from app.contracts.resources.inputs.images import ImageForm

Form = ImageForm | AudioForm
Forms = Mapping[str, Form | None]
"""By input of a dataset: what its files become; None for an input of no files."""
Columns = Mapping[str, tuple[str, ...]]
"""By input of a dataset: the columns that it is read from."""
_UNKNOWN: Final[Columns] = MappingProxyType({})


@dataclass(frozen=True)
class Files:
    """The inputs of a dataset, those of files with their forms."""

    forms: Forms
    columns: Columns

    def read_with(self, name: str) -> tuple[Form, ...]:
        """The forms of all inputs of files that are read from the columns of one, its own among them."""
        alike = (form for each, form in self.forms.items() if self.columns[each] == self.columns[name])
        return tuple(form for form in alike if form is not None)


def files_of(dataset: DatasetFacts) -> Files:
    """The inputs of a dataset that are files."""
    return Files(
        {name: form_of_files(facts) for name, facts in dataset.inputs.items()},
        {
            name: (facts.raw.columns if facts.raw is not None else ()) or (name,)
            for name, facts in dataset.inputs.items()
        },
    )


def form_of_files(facts: InputFacts) -> Form | None:
    """What the files of an input become; None for an input of no files."""
    return None if facts.raw is None else facts.raw.image or facts.raw.audio


def own_form(model: ModelFacts) -> tuple[str, Form] | None:
    """(the model's input, the form by which it makes rows of files): its manifest's, or that of the files on which it
    was trained here. None for a model that reads rows of a dataset.
    """
    declared = next(((name, each.form) for name, each in model.inputs.items() if each.form is not None), None)
    if declared is not None or len(model.raw_inputs) != 1:
        return declared
    ((name, raw),) = model.raw_inputs.items()
    form = raw.image or raw.audio
    return None if form is None or name not in model.inputs else (name, form)


def input_of_files(model: ModelFacts, forms: Forms, columns: Columns = _UNKNOWN) -> str | None:
    """The input of a dataset whose files a model reads by its own form: the one of its input's name, else the only one
    of its kind. None where there is none, or several are of the kind. Those that read one column are the same files:
    of them it is the one of the model's form, else the first. `columns`: left out, each input has its own.
    """
    own = own_form(model)
    if own is None:
        return None
    name, form = own
    alike = [each for each, found in forms.items() if found is not None and kind_of(found) == kind_of(form)]
    if name in forms:
        return name if name in alike else None
    if len({columns.get(each, (each,)) for each in alike}) != 1:
        return None
    return next((each for each in alike if forms[each] == form), alike[0])


def inputs_of_files(model: ModelFacts, datasets: Sequence[Files]) -> tuple[str, ...]:
    """The input of files of each of a job's datasets; empty where one of them has none for the model."""
    names = [input_of_files(model, files.forms, files.columns) for files in datasets]
    found = tuple(name for name in names if name is not None)
    return found if len(found) == len(names) else ()


def reads_rows_of(model: ModelFacts, datasets: Sequence[Files]) -> bool:
    """Whether the datasets make the same rows of their files as the model's own form does, in an input where the model
    finds rows: that of its input's name, or a dataset's only one.
    """
    own, names = own_form(model), inputs_of_files(model, datasets)
    if own is None or not names:
        return own is None
    return all(
        files.forms[name] == own[1] and (name == own[0] or len(files.forms) == 1)
        for files, name in zip(datasets, names, strict=True)
    )


def reads_files(model: ModelFacts, datasets: Sequence[Files], *, augmented: bool) -> tuple[str, ...]:
    """The input of each of a job's datasets whose files a teacher reads by its own form; empty for one that reads the
    rows of the datasets, as all do where rows are `augmented`: it answers for a row as the student sees it. Models that
    were trained here on the rows that the datasets make read these.
    """
    is_declared = any(each.form is not None for each in model.inputs.values())
    if augmented or (not is_declared and reads_rows_of(model, datasets)):
        return ()
    return inputs_of_files(model, datasets)
