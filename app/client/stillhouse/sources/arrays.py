"""Datasets from numpy arrays, sent as npz."""

import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, cast

from stillhouse.errors import Unreadable
from stillhouse.sources.converting import reading
from stillhouse.sources.inference import (
    array_input,
    class_target,
    float_target,
    is_missing,
    is_split,
    text_input,
    whole_number_target,
)
from stillhouse.sources.upload import JSON, FilePart, Upload, Wishes, named

Arrays = Mapping[str, Any]
_EXACT: Final = 1 << 53
"""Up to here every whole number is one of float64."""


def dataset_of_arrays(arrays: Arrays, wishes: Wishes) -> Upload:
    """A dataset of arrays by name, with equally many rows.

    Unless `inputs` and `targets` say otherwise, arrays of one dimension are targets and the others inputs; one named
    `split` that holds `train`, `validation` and `test` says the split of each row.
    """
    made = as_arrays(arrays)
    lengths = {name: len(array) for name, array in made.items()}
    if len(set(lengths.values())) != 1:
        raise Unreadable(f"expected arrays with equally many rows, found {lengths}: give each row one entry in each")
    if not any(lengths.values()):
        raise Unreadable(f"expected arrays with at least one row, found {lengths}: give them rows")
    inferred: JSON = {"name": "arrays", "format": "npz", **_inferred(made, wishes)}
    return Upload(wishes.completed(inferred), (FilePart("arrays.npz", lambda: npz(made)),))


def _inferred(arrays: Arrays, wishes: Wishes) -> JSON:
    said_inputs, said_targets = named(wishes.inputs), named(wishes.targets)
    split = "split" if "split" in arrays and is_split(arrays["split"]) and wishes.splits is None else None
    taken = {
        split,
        *(said_inputs or {}),
        *(said_targets or {}),
        wishes.splits if isinstance(wishes.splits, str) else "",
    }
    free = [name for name in arrays if name not in taken]
    inputs = {name: {} for name in free if arrays[name].ndim > 1} if said_inputs is None else said_inputs
    targets = {name: {} for name in free if arrays[name].ndim == 1} if said_targets is None else said_targets
    found: JSON = {
        "inputs": {name: _completed(name, spec, arrays, _input) for name, spec in inputs.items()},
        "targets": {name: _completed(name, spec, arrays, _target) for name, spec in targets.items()},
    }
    if not found["inputs"]:
        raise Unreadable(
            f"expected an array of two or more dimensions as input, found {sorted(arrays)}: name the inputs, such as "
            'inputs=["x"]'
        )
    return found | ({"splits": {"column": split}} if split else {})


def _completed(name: str, spec: JSON, arrays: Arrays, infer: Any) -> JSON:
    """What is said of an input or a target, over what its array says where its kind is not given."""
    if "kind" in spec:
        return spec
    column = spec.get("column") or (spec.get("columns") or [name])[0]
    if column not in arrays:
        raise Unreadable(f"expected an array `{column}`, found {sorted(arrays)}: correct the name")
    with reading(f"`{column}`"):
        return {**infer(name, arrays[column]), **spec}


def _input(name: str, array: Any) -> JSON:
    if array.dtype.kind == "U":
        return text_input(name, array.tolist())
    return array_input(array.shape[1:], array.dtype.name)


def _target(name: str, array: Any) -> JSON:
    kind = array.dtype.kind
    if array.ndim > 1:
        return {"kind": "multilabel" if kind in "biu" else "vector"}
    if kind == "U":
        return class_target(name, sorted({str(each) for each in array.tolist()} - {""}))
    if kind == "b":
        return {"kind": "class", "classes": 2}
    if kind in "iu":
        import numpy

        return whole_number_target(int(array.min()), int(array.max()), len(numpy.unique(array)))
    if kind == "f":
        import numpy

        missing = numpy.isnan(array)
        return float_target(array[~missing], bool(missing.any()))
    return {"kind": "value"}


def as_arrays(arrays: Arrays) -> dict[str, Any]:
    """The values as arrays that npz holds without pickling. Raises Unreadable."""
    for name in arrays:
        if not isinstance(name, str):
            raise Unreadable(f"expected names of arrays as texts, found {name!r}: rename it")
    return {name: _array(name, values) for name, values in arrays.items()}


def _array(name: str, values: Any) -> Any:
    """The values as an array that npz holds without pickling. Raises Unreadable."""
    try:
        import numpy
    except ModuleNotFoundError:
        raise Unreadable("expected numpy to make an npz file, found none: pip install numpy") from None
    with reading(f"`{name}`"):
        if _has_mask(values):
            raise Unreadable(
                f"expected `{name}` without a mask, found masked entries, which an upload cannot carry: fill them with "
                "NaN, or with -1 where they are classes, such as `array.filled(-1)`"
            )
        array = _without_objects(numpy.asarray(_on_host(values)))
    if array.dtype.kind not in "biufUM" or array.ndim == 0:
        raise Unreadable(
            f"expected `{name}` to be an array of numbers or texts, found {array.dtype} {list(array.shape)}: convert it"
        )
    return array


def _on_host(values: Any) -> Any:
    """A tensor as what numpy reads: numpy has no bfloat16, whose values float32 has too. Other values as they are."""
    if not hasattr(values, "detach"):
        return values
    tensor = values.detach().cpu()
    return tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor


def _has_mask(values: Any) -> bool:
    import numpy

    return isinstance(values, numpy.ma.MaskedArray) and bool(numpy.ma.getmaskarray(values).any())


def _without_objects(array: Any) -> Any:
    """An array of objects as one of texts or numbers, where they are that or missing: "" and NaN are missing then."""
    import numpy

    if array.dtype.kind != "O":
        return array
    entries = [each.item() if isinstance(each, numpy.generic) else each for each in array.ravel().tolist()]
    known = [each for each in entries if not is_missing(each)]
    if all(isinstance(each, str) for each in known):
        return numpy.array(["" if is_missing(each) else each for each in entries], str).reshape(array.shape)
    if not all(isinstance(each, float) or (isinstance(each, int) and abs(each) <= _EXACT) for each in known):
        return array
    return numpy.array([numpy.nan if is_missing(each) else each for each in entries], float).reshape(array.shape)


@contextmanager
def npz(arrays: Arrays) -> Iterator[BinaryIO]:
    """The arrays as an npz file, always with the same bytes."""
    import numpy

    with tempfile.TemporaryFile() as target:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            for name, array in arrays.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                    numpy.lib.format.write_array(member, numpy.asanyarray(array), allow_pickle=False)
        target.seek(0)
        yield cast(BinaryIO, target)
