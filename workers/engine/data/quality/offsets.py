"""Inputs so far from zero, or so close to it, that float32 rounds away their differences."""

from collections.abc import Iterator

import torch

from app.contracts.resources.inputs.arrays import ArrayInput
from app.contracts.resources.manifests import DatasetManifest
from app.contracts.resources.statistics import DataWarning
from workers.engine.data.dataset import Dataset


def offsets(dataset: Dataset, manifest: DatasetManifest) -> Iterator[DataWarning]:
    """A warning `large_offset` for each input that float32 cannot hold and that is not centred before the cast."""
    for name, raw in dataset.numbers.items():
        spec = manifest.inputs[name]
        if raw.dtype == torch.float64 and isinstance(spec, ArrayInput) and spec.standardize is False:
            yield DataWarning(
                code="large_offset",
                message=f"input `{name}` has numbers so far from zero, or so close to it, that float32, in which "
                "networks compute, rounds away their differences: set `standardize: true` for it in the manifest, "
                "which centres it before",
            )
