"""The packages that build networks: imported on first use, with what a CPU build of torch needs for it."""

import importlib
import importlib.util
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

import torch

from app.contracts.problems import UserError

_OF_FAMILIES = {"huggingface": "transformers"}
"""Packages that are not called as their family."""
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@cache
def package(name: str) -> ModuleType:
    """A package, or a module of it. Raises UserError `library_missing` where it is not installed."""
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        extras = "`text` or `vision`" if name.startswith("transformers") else "`vision`"
        raise UserError(
            "library_missing",
            f"this worker has no package `{name}`: install the extra {extras} (`pip install 'stillhouse[vision]'`)",
        )
    _define_missing_operators()
    return importlib.import_module(name)


def package_version(name: str) -> str:
    """Such as `timm 1.0.31`, of the package that builds a family, without importing it."""
    name = _OF_FAMILIES.get(name, name)
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name} (not installed)"


@cache
def _define_missing_operators() -> torch.library.Library | None:
    """Declare the operators that `import torchvision` expects, where its compiled part does not load.

    Wheels of torchvision on PyPI are built for CUDA: beside a CPU build of torch the compiled part is not loaded, and
    the import fails because the operators `nms` and `qnms`, which no classification network uses, are unknown. The
    library is kept: its operators go with it.
    """
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return None
    try:
        for compiled in Path(found.origin).parent.glob("_C*.so"):
            torch.ops.load_library(str(compiled))  # type: ignore[no-untyped-call]
    except OSError:
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            library.define(operator + _SCHEMA)  # type: ignore[no-untyped-call]
        return library
    return None
