"""What a client may ask for, and which of it fits its rows."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from app.contracts.resolving.data.views import undefined_for
from app.contracts.specs.views import Views
from tests.engine.data.augment.images import MANY, SHAPE, TRANSFORMS, views_of

FLIP = {"kind": "flip"}


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda each: each["kind"])
def test_every_transform_is_taken_and_comes_back_the_same(transform: dict[str, Any]) -> None:
    views = views_of(transform, seed=2**31 - 1)
    assert Views.model_validate_json(views.model_dump_json()) == views
    assert views.transforms[0].kind == transform["kind"]


@pytest.mark.parametrize(
    "transform",
    [
        {"kind": "shift"},
        {"kind": "shift", "pixels": 0},
        {"kind": "shift", "pixels": 4097},
        {"kind": "shift", "pixels": 1.5},
        {"kind": "flip", "probability": -0.1},
        {"kind": "flip", "probability": 1.1},
        {"kind": "flip", "direction": "diagonal"},
        {"kind": "crop", "padding": 0},
        {"kind": "crop", "padding": 4097},
        {"kind": "crop", "fill": "edge"},
        {"kind": "cutout"},
        {"kind": "cutout", "size": 0},
        {"kind": "cutout", "size": 4097},
        {"kind": "noise", "std": 0.0},
        {"kind": "noise", "std": 100.1},
        {"kind": "mixup", "alpha": 0.0},
        {"kind": "mixup", "alpha": 100.1},
        {"kind": "cutmix", "alpha": 0.001},
        {"kind": "cutmix", "probability": 2.0},
        {"kind": "color_jitter", "contrast": 1.1},
        {"kind": "color_jitter", "contrast": 0.0, "brightness": 0.0, "saturation": 0.0},
        {"kind": "rand_augment", "magnitude": 11},
        {"kind": "rand_augment", "operations": 0},
        {"kind": "spec_augment", "frequency_width": 5},
        {"kind": "spec_augment", "frequency_width": 0, "time_width": 1},
        {"kind": "spec_augment", "frequency_width": 5, "time_width": 1, "time_masks": 17},
        {"kind": "spec_augment", "frequency_width": 5, "time_width": 1, "time_masks": 0, "frequency_masks": 0},
        {"kind": "word_dropout", "probability": 0.0},
        {"kind": "word_dropout", "probability": 1.0},
        {"kind": "word_dropout", "token": -1},
        {"kind": "rotate"},
        {"kind": "flip", "pixels": 1},
    ],
    ids=json.dumps,
)
def test_what_is_out_of_bounds_or_unknown_is_refused(transform: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        views_of(transform)


def test_up_to_eight_transforms_and_a_seed_of_31_bits() -> None:
    assert len(views_of(*[FLIP] * 8).transforms) == 8
    with pytest.raises(ValidationError):
        views_of(*[FLIP] * 9)
    for seed in (-1, 2**31):
        with pytest.raises(ValidationError):
            views_of(FLIP, seed=seed)


def test_mixing_comes_last_and_once() -> None:
    mixing = views_of(FLIP, {"kind": "cutmix"})
    assert mixing.mixing == mixing.transforms[1]
    assert mixing.plain == mixing.transforms[:1]
    assert views_of(FLIP).mixing is None
    for transforms in ([{"kind": "mixup"}, FLIP], [{"kind": "mixup"}, {"kind": "cutmix"}]):
        with pytest.raises(ValidationError, match="comes last, once"):
            views_of(*transforms)


def test_pictures_take_every_transform() -> None:
    for transform in TRANSFORMS:
        assert undefined_for(views_of(transform), SHAPE) == []
    assert undefined_for(views_of(*MANY), SHAPE) == []


@pytest.mark.parametrize("shape", [(784,), (5, 4), (2, 3, 4, 4)])
def test_other_arrays_take_noise_and_mixup_alone(shape: tuple[int, ...]) -> None:
    plain = views_of(
        FLIP, {"kind": "noise", "std": 1.0}, {"kind": "shift", "pixels": 1}, {"kind": "crop"},
        {"kind": "cutout", "size": 2}, {"kind": "mixup"},
    )  # fmt: skip
    found = undefined_for(plain, shape)
    assert [place for place, _ in found] == [0, 2, 3, 4]
    assert found[0][1] == f"`flip` needs rows of shape [channels, height, width], found {list(shape)}"
    assert [place for place, _ in undefined_for(views_of({"kind": "cutmix"}), shape)] == [0]


@pytest.mark.parametrize(
    ("field", "most"),
    [({"kind": "shift", "pixels": 0}, 9), ({"kind": "crop", "padding": 0}, 9), ({"kind": "cutout", "size": 0}, 11)],
    ids=lambda value: value["kind"] if isinstance(value, dict) else None,
)
def test_what_would_leave_nothing_of_a_picture_is_undefined(field: dict[str, Any], most: int) -> None:
    """On 12 x 10 pixels; the largest number that is defined, and one more."""
    name = next(key for key in field if key != "kind")
    assert undefined_for(views_of(field | {name: most}), SHAPE) == []
    ((place, reason),) = undefined_for(views_of(field | {name: most + 1}), SHAPE)
    assert place == 0
    assert f"`{name}` must be below {most + 1}" in reason


MASKS = {"kind": "spec_augment", "frequency_width": 11, "time_width": 9}


@pytest.mark.parametrize(
    ("shape", "changes", "reason"),
    [
        ((1, 12, 10), {}, None),
        ((12, 10), {}, None),
        ((12, 10), {"frequency_width": 12}, "`frequency_width` must be below 12 on features of 12 bands"),
        ((12, 10), {"frequency_width": 12, "frequency_masks": 0}, None),
        ((1, 12, 10), {"time_width": 10}, "`time_width` must be below 10 on features of 10 frames"),
        ((120,), {}, "`spec_augment` needs rows of shape [channels, bands, frames] or [bands, frames], found [120]"),
        ((2, 3, 12, 10), {}, "`spec_augment` needs rows of shape"),
    ],
)
def test_masks_fit_features_over_frequency_and_time(
    shape: tuple[int, ...], changes: dict[str, Any], reason: str | None
) -> None:
    found = undefined_for(views_of(MASKS | changes), shape)
    assert len(found) == (reason is not None)
    assert reason is None or found[0][1].startswith(reason)


def test_numbers_are_no_tokens() -> None:
    ((place, reason),) = undefined_for(views_of({"kind": "word_dropout"}), (12,))
    assert place == 0
    assert "the student reads numbers" in reason
