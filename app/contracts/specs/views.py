"""Augmentations of the training rows, each a pure function of (seed, epoch, row, index in the list).

ClassVars of each say which rows it changes, and whether it makes numbers that no row has (`makes_numbers`), which a
model of whole numbers does not take.
`views.seed` is independent of `training.seed`, so that repeats of a job see the same rows and share one teacher pass.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from app.contracts.base import Contract
from app.contracts.specs.families.huggingface_configs import MOST_IDS

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Alpha = Annotated[float, Field(ge=0.01, le=100.0)]
TokenId = Annotated[int, Field(ge=0, le=MOST_IDS)]
RowsOfView = Literal["numbers", "images", "features", "tokens"]
"""The rows that a view changes: `numbers` of any shape, `images` [channels, height, width], `features` over frequency
and time [..., bands, frames], or ids of `tokens`."""


class ShiftView(Contract):
    """Shift an image by whole pixels, uniform in [-pixels, pixels] along each axis, padded with zeros."""

    rows: ClassVar[RowsOfView] = "images"
    makes_numbers: ClassVar[bool] = False
    kind: Literal["shift"]
    pixels: int = Field(
        ge=1, le=4096, description="Largest shift along each axis, in pixels; less than height and width."
    )


class FlipView(Contract):
    """Mirror an image."""

    rows: ClassVar[RowsOfView] = "images"
    makes_numbers: ClassVar[bool] = False
    kind: Literal["flip"]
    direction: Literal["horizontal", "vertical"] = Field(
        default="horizontal", description="`horizontal` exchanges left and right, `vertical` top and bottom."
    )
    probability: Probability = Field(default=0.5, description="Share of the rows that are flipped in an epoch.")


class CropView(Contract):
    """Pad an image on all sides and crop its old size at a uniform position (He 2016)."""

    rows: ClassVar[RowsOfView] = "images"
    makes_numbers: ClassVar[bool] = False
    kind: Literal["crop"]
    padding: int = Field(
        default=4, ge=1, le=4096, description="Number of pixels added on each side; less than height and width."
    )
    fill: Literal["zero", "reflect"] = Field(
        default="zero",
        description="Padding: `zero` in the preprocessed input (the mean, where the dataset standardises), or "
        "`reflect` for the image mirrored at its edge.",
    )


class CutoutView(Contract):
    """Fill a square around a uniform pixel with zeros, clipped at the edges (DeVries 2017)."""

    rows: ClassVar[RowsOfView] = "images"
    makes_numbers: ClassVar[bool] = False
    kind: Literal["cutout"]
    size: int = Field(ge=1, le=4096, description="Side of the square in pixels; less than height or width.")
    probability: Probability = Field(default=1.0, description="Share of the rows that are cut in an epoch.")


class NoiseView(Contract):
    """Add independent normal noise to every number."""

    rows: ClassVar[RowsOfView] = "numbers"
    makes_numbers: ClassVar[bool] = True
    kind: Literal["noise"]
    std: float = Field(gt=0.0, le=100.0, description="Standard deviation, in units of the preprocessed input.")


class MixupView(Contract):
    """Mix each row with another of the training split: λ·row + (1−λ)·partner, λ ~ Beta(alpha, alpha) (Zhang 2018)."""

    rows: ClassVar[RowsOfView] = "numbers"
    makes_numbers: ClassVar[bool] = True
    kind: Literal["mixup"]
    alpha: Alpha = Field(
        default=0.2,
        description="Parameter of the Beta distribution: small values leave rows nearly unmixed, 1 is uniform, large "
        "values mix in halves.",
    )
    probability: Probability = Field(default=1.0, description="Share of the rows that are mixed in an epoch.")


class CutmixView(Contract):
    """Replace a box by that of another row of the training split; the box's area is 1−λ (Yun 2019)."""

    rows: ClassVar[RowsOfView] = "images"
    makes_numbers: ClassVar[bool] = False
    kind: Literal["cutmix"]
    alpha: Alpha = Field(default=1.0, description="Parameter of the Beta distribution of λ; 1 is uniform.")
    probability: Probability = Field(default=1.0, description="Share of the rows that are mixed in an epoch.")


class RandAugmentView(Contract):
    """Change contrast, brightness, colour or rotation of an image by a fixed magnitude, each up or down: a row draws
    some of these and of no change, with equal chances (RandAugment, Cubuk 2020).
    """

    rows: ClassVar[RowsOfView] = "images"
    makes_numbers: ClassVar[bool] = True
    kind: Literal["rand_augment"]
    operations: int = Field(default=2, ge=1, le=4, description="Number of operations of each row, one after the other.")
    magnitude: int = Field(
        default=5,
        ge=1,
        le=10,
        description="Strength from 1 to 10, where 10 is: contrast and colour times 1.9 or 0.1, brightness plus or "
        "minus 0.9 in units of the preprocessed input, rotation by 30 degrees (corners become zero).",
    )


class ColorJitterView(Contract):
    """Change contrast, brightness and saturation of an image, in this order, each by an amount that is uniform between
    the largest up and the largest down (torchvision's ColorJitter). Where nothing moves, maps of pixels keep their
    labels.
    """

    rows: ClassVar[RowsOfView] = "images"
    makes_numbers: ClassVar[bool] = True
    kind: Literal["color_jitter"]
    contrast: Probability = Field(default=0.4, description="Largest change a of x · (1 ± a).")
    brightness: Probability = Field(
        default=0.4, description="Largest change a of x ± a, in units of the preprocessed input."
    )
    saturation: Probability = Field(
        default=0.4,
        description="Largest change a of g + (1 ± a) · (x − g), with g the mean of the channels at a pixel: none of an "
        "image of one channel.",
    )

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not (self.contrast or self.brightness or self.saturation):
            raise ValueError("`contrast`, `brightness` and `saturation` are 0: set one of them, or leave the view out")
        return self


class SpecAugmentView(Contract):
    """Fill bands of frequencies and spans of time of log-mel features with zeros (SpecAugment, Park 2019): each mask
    has a uniform width from 0 to the largest, at a uniform place. Zero is the mean, where the dataset standardises.
    """

    rows: ClassVar[RowsOfView] = "features"
    makes_numbers: ClassVar[bool] = False
    kind: Literal["spec_augment"]
    frequency_masks: int = Field(default=2, ge=0, le=16, description="Number of masked bands of each row.")
    frequency_width: int = Field(
        ge=1, le=4096, description="Largest width of a masked band, in mels; less than a row has."
    )
    time_masks: int = Field(default=2, ge=0, le=16, description="Number of masked spans of time of each row.")
    time_width: int = Field(
        ge=1, le=4096, description="Largest width of a masked span, in frames; less than a row has."
    )

    @model_validator(mode="after")
    def _masks_something(self) -> Self:
        if self.frequency_masks == 0 and self.time_masks == 0:
            raise ValueError("`frequency_masks` and `time_masks` are 0: set one of them, or leave the view out")
        return self


class WordDropoutView(Contract):
    """Replace tokens of a text by the mask token, each by itself (masking of Tang 2019; word dropout of Bowman 2016).
    Special tokens and padding stay. Teachers read the same tokens, so that theirs must be those of the student.
    """

    rows: ClassVar[RowsOfView] = "tokens"
    makes_numbers: ClassVar[bool] = False
    kind: Literal["word_dropout"]
    probability: float = Field(
        default=0.1,
        ge=2**-16,
        lt=1.0,
        description="Share of the tokens that are replaced in an epoch, in steps of 1/65,536.",
    )
    token: TokenId | None = Field(
        default=None,
        description="The id that replaces them. Left out: the mask token of the student's tokenizer, else its unknown "
        "token. Rows that are ids already need it.",
    )
    keep: Annotated[tuple[TokenId, ...], Field(max_length=65_536)] = Field(
        default=(),
        description="Ids that are never replaced, beside padding and the special tokens of the student's tokenizer.",
    )


PlainView = (
    ShiftView
    | FlipView
    | CropView
    | CutoutView
    | NoiseView
    | ColorJitterView
    | RandAugmentView
    | SpecAugmentView
    | WordDropoutView
)
"""Augmentations of a single row."""

MixingView = MixupView | CutmixView
"""Augmentations that mix in a second row and its target."""

Transform = Annotated[PlainView | MixingView, Field(discriminator="kind")]


class Views(Contract):
    """Augmentations of the training rows, in this order, drawn again in each epoch. Other splits are not augmented."""

    seed: int = Field(
        default=0, ge=0, le=2**31 - 1, description="Seed of all random draws of the augmentations, and of nothing else."
    )
    transforms: Annotated[tuple[Transform, ...], Field(max_length=8)] = Field(
        description="Augmentations, applied in this order to the preprocessed input; `mixup` or `cutmix` comes last, "
        "once. An empty list: none, where the recipe `best` would choose some."
    )

    @model_validator(mode="after")
    def _mixing_comes_last(self) -> Self:
        # A crop or cutout after it would change the share of each row, which λ would no longer describe.
        for i, transform in enumerate(self.transforms[:-1]):
            if isinstance(transform, MixingView):
                raise ValueError(f"`mixup` or `cutmix` comes last, once: found `{transform.kind}` at {i}")
        return self

    @property
    def mixing(self) -> MixingView | None:
        """The last transform, where it is one that mixes."""
        last = self.transforms[-1:]
        return last[0] if last and isinstance(last[0], MixingView) else None

    @property
    def plain(self) -> tuple[PlainView, ...]:
        """All transforms that come before mixing."""
        return tuple(transform for transform in self.transforms if not isinstance(transform, MixingView))
