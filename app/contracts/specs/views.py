"""Augmentations of the training rows, each a pure function of (seed, epoch, row, index in the list).

`views.seed` is independent of `training.seed`, so that repeats of a job see the same rows and share one teacher pass.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.contracts.base import Contract

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Alpha = Annotated[float, Field(ge=0.01, le=100.0)]


class ShiftView(Contract):
    """Shift an image by whole pixels, uniform in [-pixels, pixels] along each axis, padded with zeros."""

    kind: Literal["shift"]
    pixels: int = Field(
        ge=1, le=4096, description="Largest shift along each axis, in pixels; less than height and width."
    )


class FlipView(Contract):
    """Mirror an image."""

    kind: Literal["flip"]
    direction: Literal["horizontal", "vertical"] = Field(
        default="horizontal", description="`horizontal` exchanges left and right, `vertical` top and bottom."
    )
    probability: Probability = Field(default=0.5, description="Share of the rows that are flipped in an epoch.")


class CropView(Contract):
    """Pad an image on all sides and crop its old size at a uniform position (He 2016)."""

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

    kind: Literal["cutout"]
    size: int = Field(ge=1, le=4096, description="Side of the square in pixels; less than height or width.")
    probability: Probability = Field(default=1.0, description="Share of the rows that are cut in an epoch.")


class NoiseView(Contract):
    """Add independent normal noise to every number."""

    kind: Literal["noise"]
    std: float = Field(gt=0.0, le=100.0, description="Standard deviation, in units of the preprocessed input.")


class MixupView(Contract):
    """Mix each row with another of the training split: λ·row + (1−λ)·partner, λ ~ Beta(alpha, alpha) (Zhang 2018)."""

    kind: Literal["mixup"]
    alpha: Alpha = Field(
        default=0.2,
        description="Parameter of the Beta distribution: small values leave rows nearly unmixed, 1 is uniform, large "
        "values mix in halves.",
    )
    probability: Probability = Field(default=1.0, description="Share of the rows that are mixed in an epoch.")


class CutmixView(Contract):
    """Replace a box by that of another row of the training split; the box's area is 1−λ (Yun 2019)."""

    kind: Literal["cutmix"]
    alpha: Alpha = Field(default=1.0, description="Parameter of the Beta distribution of λ; 1 is uniform.")
    probability: Probability = Field(default=1.0, description="Share of the rows that are mixed in an epoch.")


PlainView = ShiftView | FlipView | CropView | CutoutView | NoiseView
"""Augmentations of a single row."""

MixingView = MixupView | CutmixView
"""Augmentations that mix in a second row and its target."""

Transform = Annotated[
    ShiftView | FlipView | CropView | CutoutView | NoiseView | MixupView | CutmixView, Field(discriminator="kind")
]


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
