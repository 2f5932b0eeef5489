"""Augmentation of training rows as a pure function of (seed, epoch, row); one file for each family of transforms."""

from workers.engine.data.augment.apply import AugmentedInputs, augment
from workers.engine.data.augment.digest import augmentation_key
from workers.engine.data.augment.partners import MixingPartners

__all__ = ["AugmentedInputs", "MixingPartners", "augment", "augmentation_key"]
