"""The targets of a dataset that are mask images."""

from collections.abc import Set

from app.contracts.problems import UserError
from app.contracts.resources.inputs.images import ImageInput
from app.contracts.resources.inputs.maps import MapTarget, is_of_masks, labelled_image
from app.contracts.resources.manifests import DatasetManifest
from workers.engine.common.row_storage import RowStorage
from workers.engine.data.dataset import TargetColumn
from workers.engine.data.formats.common import EncodedFiles
from workers.engine.data.formats.read import Files, read_columns
from workers.engine.data.formats.written import FileColumns
from workers.engine.data.labels.maps import classes_of


def _mask_specs(manifest: DatasetManifest) -> dict[str, MapTarget]:
    return {
        name: spec
        for name, spec in manifest.targets.items()
        if isinstance(spec, MapTarget) and is_of_masks(manifest.format)
    }


def mask_columns(manifest: DatasetManifest) -> set[str]:
    """The columns of mask images."""
    return {spec.column or name for name, spec in _mask_specs(manifest).items()}


def rows_columns(files: Files, manifest: DatasetManifest, columns: set[str], texts: Set[str]) -> FileColumns:
    """Some columns of a dataset's files, with one number or text for each of its rows: masks are files, and no rows."""
    masks = mask_columns(manifest)
    return read_columns(files, manifest.format, columns | masks, texts, manifest.csv, masks=masks)


def mask_targets(manifest: DatasetManifest, file: FileColumns, storage: RowStorage | None) -> dict[str, TargetColumn]:
    """The maps that are mask images, in the places of the images that they label. Raises UserError."""
    found = {}
    for name, target in _mask_specs(manifest).items():
        spec = manifest.inputs[labelled_image(name, target, manifest.inputs)]
        assert isinstance(spec, ImageInput)
        masks, images = file.encoded[target.column or name], file.encoded[spec.column]
        found[name] = _mask_column(name, target, masks, images, spec, storage)
    return found


def _mask_column(
    name: str,
    target: MapTarget,
    masks: EncodedFiles,
    images: EncodedFiles,
    spec: ImageInput,
    storage: RowStorage | None,
) -> TargetColumn:
    """The labels of mask images, brought to the size of the maps as the images of the input `spec` are to theirs.

    Raises the UserErrors of `mask_rows`, and `shape_mismatch` where the maps have other proportions.
    """
    size, names = classes_of(target)
    shape = target.shape or spec.size
    if shape[0] * spec.size[1] != shape[1] * spec.size[0]:
        raise UserError(
            "shape_mismatch",
            f"the maps of `{name}` have `shape` {list(shape)}, and the images `size` {list(spec.size)}, of other "
            "proportions, so that other parts of an image would be cut out: leave `shape` out",
        )
    from workers.engine.data.labels.masks import mask_rows  # Pillow is imported where there are images

    form = spec.form.model_copy(update={"size": shape, "channels": 1})
    values = mask_rows(name, target, masks, images, form, storage)
    return TargetColumn("map", size, values, (values >= 0).any(1), names, shape=shape)
