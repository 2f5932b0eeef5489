"""Changes of JSON: other types, sizes and names in manifests."""

import copy
from random import Random
from typing import Any

_VALUES: tuple[Any, ...] = (
    None, True, 0, 1, -1, 2, 3, 5, 1.5, 1e308, 2**31, 2**63, "", "x", "label", "a", "../x", "\u0000", "n" * 300,
    [], {}, [1], [0],
    [1, 8, 8], [3, 32, 32], [65536, 65536], ["a"], ["a", "a"], ["b", "a"], {"a": 1},
    "class", "value", "vector", "multilabel",
    "csv", "npz", "safetensors", "images", "parquet", "probabilities", "array", "image", "category",
    "mlp", "convnet", "timm",
    "resnet18", "test_vit", "channels_last", "mean",
)  # fmt: skip


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [path] * bool(path) + [each for key in keys for each in _paths(value[key], (*path, key))]


def changed_json(value: Any, draw: Random) -> Any:
    """The value with one part replaced, removed, renamed or added."""
    changed = copy.deepcopy(value)
    paths = _paths(changed)
    if not paths:
        return draw.choice(_VALUES)
    path = draw.choice(paths)
    parent = changed
    for key in path[:-1]:
        parent = parent[key]
    what = draw.randrange(5)
    if what < 2:
        parent[path[-1]] = copy.deepcopy(draw.choice(_VALUES))
    elif what == 2:
        del parent[path[-1]]
    elif isinstance(parent, dict) and what == 3:
        parent[draw.choice(("x", "y", "label", "", "image", "name", "size", "n" * 200))] = parent.pop(path[-1])
    elif isinstance(parent, dict):
        parent[draw.choice(("scale", "mean", "std", "shape", "columns", "standardize", "extra"))] = draw.choice(_VALUES)
    else:
        parent.append(draw.choice(_VALUES))
    return changed
