"""The checks of a dataset that end in warnings. Each is bounded in time: it takes a sample of many rows and says so."""

from collections.abc import Callable, Iterable

from app.contracts.resources.manifests import DatasetManifest
from app.contracts.resources.statistics import DataWarning
from workers.engine.data.dataset import Dataset
from workers.engine.data.quality.categories import categories
from workers.engine.data.quality.class_labels import class_labels
from workers.engine.data.quality.constants import constants
from workers.engine.data.quality.coverage import coverage
from workers.engine.data.quality.duplicates import duplicates
from workers.engine.data.quality.offsets import offsets
from workers.engine.data.quality.predictors import predictors
from workers.engine.data.quality.row_weights import row_weights
from workers.engine.data.quality.scales import scales
from workers.engine.data.quality.sentinels import sentinels
from workers.engine.data.quality.split_sizes import split_sizes, splits_by_name
from workers.engine.data.texts.warnings import texts

Check = Callable[[Dataset, DatasetManifest], Iterable[DataWarning]]
CHECKS: tuple[Check, ...] = (
    class_labels,
    constants,
    coverage,
    split_sizes,
    splits_by_name,
    categories,
    row_weights,
    sentinels,
    offsets,
    scales,
    texts,
    duplicates,
    predictors,
)


def warnings_of(dataset: Dataset, manifest: DatasetManifest) -> tuple[DataWarning, ...]:
    """The warnings of all checks, in their order."""
    return tuple(warning for check in CHECKS for warning in check(dataset, manifest))
