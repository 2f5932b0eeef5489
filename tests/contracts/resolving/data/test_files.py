"""Which input of a dataset a model with a form reads the files of."""

import pytest

from app.contracts.resolving.data.forms import Files, Form, inputs_of_files, reads_files, reads_rows_of
from app.contracts.resources.inputs.audio import AudioForm, LogMel
from app.contracts.resources.inputs.images import ImageForm
from app.contracts.resources.manifests import InputTransform
from tests.contracts.resolving.test_resolve import teacher

WAVE = AudioForm(seconds=0.5, features="samples")
MEL = AudioForm(seconds=0.5, features=LogMel())
PHOTO = ImageForm(size=(8, 8))
HEARS = teacher().model_copy(update={"inputs": {"own": InputTransform(form=WAVE)}})


@pytest.mark.parametrize(
    ("columns", "read"),
    [
        ({"mel": "a", "wave": "a"}, ("wave",)),
        ({"mel": "a", "wave": "b"}, ()),
        ({"mel": "a", "own": "b"}, ("own",)),
        ({"mel": "a", "photo": "b"}, ("mel",)),
    ],
    ids=["one column", "two columns", "by name", "one of the kind"],
)
def test_inputs_of_one_column_are_the_same_files(columns: dict[str, str], read: tuple[str, ...]) -> None:
    forms: dict[str, Form] = {"mel": MEL, "wave": WAVE, "own": MEL, "photo": PHOTO}
    files = Files({name: forms[name] for name in columns}, {name: (column,) for name, column in columns.items()})
    assert inputs_of_files(HEARS, [files]) == read
    assert reads_files(HEARS, [files], augmented=False) == read
    assert not reads_rows_of(HEARS, [files]), "no input of its name has its rows"


def test_all_forms_of_a_column_are_told_together() -> None:
    files = Files({"mel": MEL, "wave": WAVE, "x": None}, {"mel": ("a",), "wave": ("a",), "x": ("b",)})
    assert files.read_with("mel") == (MEL, WAVE)
    assert reads_rows_of(HEARS, [Files({"wave": WAVE}, {"wave": ("a",)})]), "a single input has any name"
