"""A model's own form: of images or of sounds, told apart by their fields, and nothing beside tokens or constants."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from app.contracts.resources.inputs.audio import AudioForm
from app.contracts.resources.inputs.encoded_names import encoded_name, encoding_part, is_encoded_name, own_name
from app.contracts.resources.inputs.forms import row_of
from app.contracts.resources.inputs.images import ImageForm, ImageInput
from app.contracts.resources.manifests import ModelInputSpec


def parsed(**fields: Any) -> ModelInputSpec:
    return ModelInputSpec.model_validate_json(json.dumps(fields))


def test_a_form_is_of_sounds_where_it_has_a_length_and_else_of_images() -> None:
    image, sound = parsed(form={"size": [4, 6]}).form, parsed(form={"seconds": 0.5, "features": "samples"}).form
    assert (image, sound) == (ImageForm(size=(4, 6)), AudioForm(seconds=0.5, features="samples"))
    assert image is not None
    assert sound is not None
    assert (row_of(image), row_of(sound)) == ((3, 4, 6), (1, 8_000))
    assert parsed(form={"size": [4, 6]}).transform.form == image, "what an inspection keeps of it"


def test_bilinear_is_the_filter_that_is_left_out_also_in_documents() -> None:
    named, left_out = parsed(form={"size": [4, 6], "filter": "bilinear"}), parsed(form={"size": [4, 6]})
    assert named == left_out
    assert named.model_dump_json() == left_out.model_dump_json()
    image = {"kind": "image", "size": [4, 6]}
    both = [ImageInput.model_validate_json(json.dumps(each)) for each in ({**image, "filter": "bilinear"}, image)]
    assert both[0].model_dump_json() == both[1].model_dump_json()


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"form": {}}, ("form", "image", "size")),
        ({"form": {"seconds": 1.0, "size": [4, 4]}}, ("form", "sound", "size")),
        ({"form": {"size": [4, 4], "kind": "image"}}, ("form", "image", "kind")),
        ({"form": {"size": [4, 4], "crop": 0.4}}, ("form", "image", "crop")),
        ({"form": {"size": [4, 4]}, "constant": 1.0}, ()),
        ({"form": {"size": [4, 4]}, "columns": ["a"]}, ()),
    ],
)
def test_what_is_wrong_with_a_form_is_told_at_its_place(fields: dict[str, Any], place: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        parsed(**fields)
    assert [each["loc"] for each in caught.value.errors()] == [place]


def test_documents_without_the_new_fields_stay_as_they_were() -> None:
    image = ImageInput(kind="image", size=(4, 4))
    assert image.model_dump(mode="json").keys() == {"size", "channels", "fit", "kind", "column"}
    assert image.form.model_dump(mode="json").keys() == {"size", "channels", "fit"}
    assert parsed(scale=2.0).model_dump(mode="json") == {"scale": 2.0, "mean": 0.0, "std": 1.0}


def test_rows_by_another_form_have_a_name_that_no_manifest_gives() -> None:
    one, other = (encoded_name("photo", ImageForm(size=(4, 4), crop=crop)) for crop in (0.9, 0.8))
    assert one != other
    assert (own_name(one), encoding_part("photo"), is_encoded_name(one)) == ("photo", "", True)
