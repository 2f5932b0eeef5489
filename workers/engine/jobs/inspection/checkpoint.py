"""Which state_dict of a checkpoint is the model: training scripts save it beside optimizers, counters and averages.

In this order: the one that the manifest's `key` names; the only one; among several, the only one whose names fit the
architecture; of those that fit, the first of `state_dict`, `model_state_dict`, `model`; any, where all are equal. Else
the file is refused. What was taken among several is a warning of the model.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from app.contracts.problems import UserError, listed
from workers.engine.jobs.inspection.unread import ADVICE, Unread, carries, holding_tensors
from workers.engine.models.parameter_names import COUNTER

CONVENTIONAL = ("state_dict", "model_state_dict", "model")
"""Last components of the paths that are taken first, in this order."""
MAX_DEPTH = 4
_NO_MODEL = re.compile(
    r"optimi[sz]er|^optim(?!al|um|i[sz]ed)|sched|^(grad_)?scaler|rng|^callbacks$|^loops$", re.IGNORECASE
)
"""Keys that are searched only where nothing else is found: states of a training run, which are no model's."""
_INTEGERS = (torch.int64, torch.int32, torch.uint8, torch.bool)
_SHOWN = 10

Fits = Callable[[Iterable[str]], bool]
Notes = tuple[dict[str, str], ...]


def state_dict_of(loaded: Any, key: str | None, fits: Fits) -> tuple[dict[str, Tensor], Notes]:
    """(the tensors of the model, what is to be said about the choice).

    `fits` says whether these names are those of the architecture. Numbers, texts and anything else beside tensors are
    left out. Raises UserError `unreadable`, `unknown_key`, `several_state_dicts`, or `code_carrying_format` where the
    weights are in an object that is not read.
    """
    objects = holding_tensors(loaded)
    tensors, notes = _chosen(loaded, key, fits, objects)
    if objects and not fits(tensors):
        raise carries(objects[0])
    if objects:
        message = f"the file has objects of {listed(objects)}, whose tensors were not read: only state_dicts are"
        notes = (*notes, {"code": "objects_left_out", "message": message})
    return tensors, notes


def _chosen(loaded: Any, key: str | None, fits: Fits, objects: Sequence[str]) -> tuple[dict[str, Tensor], Notes]:
    found = _found(loaded, fits)
    if key is not None:
        return _named(loaded, key, found), ()
    if not found:
        if objects or isinstance(loaded, Unread):
            raise carries(objects[0] if objects else loaded.path)
        raise UserError(
            "unreadable",
            f"expected a state_dict (names to tensors), alone or below a key, found none: {ADVICE}",
        )
    if len(found) == 1:
        return next(iter(found.values())), ()
    path = _preferred(found, fits)
    if path is None:
        raise UserError(
            "several_state_dicts",
            f"the file has several state_dicts, {_listed(found)}: say in the manifest which one is the model, as "
            f'`"key": "{next(path for path in found if path)}"`',
        )
    others = _listed(other for other in found if other != path)
    message = f"the file has several state_dicts: {_shown(path)} was taken, not {others}; `key` in the manifest chooses"
    return found[path], ({"code": "state_dict_chosen", "message": message},)


def _found(loaded: Any, fits: Fits) -> dict[str, dict[str, Tensor]]:
    """State_dicts by path: those with weights, else any; in states of the training run only those that fit."""
    if not isinstance(loaded, dict):
        return {}
    found = dict(_candidates(loaded, "", 0))
    weights = {path: tensors for path, tensors in found.items() if any(map(_is_weight, tensors.values()))}
    if found:
        return weights or found
    return {path: tensors for path, tensors in _candidates(loaded, "", 0, everywhere=True) if fits(tensors)}


def _is_weight(value: Tensor) -> bool:
    """Not an index, a mask or the state of a generator of random numbers."""
    return value.dim() > 0 and (value.is_floating_point() or value.is_complex())


def _tensors(value: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The tensors of a dictionary without counters, as the `n_averaged` of torch's AveragedModel."""
    return {
        name: each
        for name, each in value.items()
        if isinstance(name, str) and isinstance(each, Tensor) and not _is_counter(name, each)
    }


def _is_counter(name: str, value: Tensor) -> bool:
    return value.dim() == 0 and value.dtype in _INTEGERS and not name.endswith(COUNTER)


def _candidates(
    value: dict[Any, Any], path: str, depth: int, *, everywhere: bool = False
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """(dotted path, tensors) of every dictionary that holds a tensor with a dimension: numbers may be tensors too."""
    tensors = _tensors(value)
    if any(each.dim() > 0 for each in tensors.values()):
        yield path, tensors
    if depth == MAX_DEPTH:
        return
    for name, inner in value.items():
        if isinstance(name, str) and isinstance(inner, dict) and (everywhere or not _NO_MODEL.search(name)):
            yield from _candidates(inner, f"{path}.{name}" if path else name, depth + 1, everywhere=everywhere)


def _named(loaded: Any, key: str, found: Mapping[str, object]) -> dict[str, Tensor]:
    value = _below(loaded, key)
    if isinstance(value, Unread):
        raise carries(value.path)
    tensors = _tensors(value) if isinstance(value, dict) else {}
    if not tensors:
        there = f"the file has {_listed(found)}" if found else "the file has no state_dict"
        raise UserError("unknown_key", f"there is no state_dict at `key` `{key}`: {there}")
    return tensors


def _below(value: Any, key: str) -> Any:
    """The value at a dotted path, whose components may contain dots themselves; None where there is none."""
    if not isinstance(value, dict):
        return None
    if key in value:
        return value[key]
    for end in (place for place, character in enumerate(key) if character == "."):
        inner = _below(value.get(key[:end]), key[end + 1 :])
        if inner is not None:
            return inner
    return None


def _preferred(found: Mapping[str, Mapping[str, Tensor]], fits: Fits) -> str | None:
    """The path of the state_dict to take among several; None where it is not certain."""
    pool = [path for path, tensors in found.items() if fits(tensors)]
    if len(pool) == 1:
        return pool[0]
    pool = pool or list(found)
    for name in CONVENTIONAL:
        named = [path for path in pool if path.rpartition(".")[2] == name]
        if named:
            return min(named, key=lambda path: path.count("."))
    first = found[pool[0]]
    return pool[0] if all(_equal(first, found[path]) for path in pool[1:]) else None


def _equal(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(_same(value, two[name]) for name, value in one.items())


def _same(one: Tensor, two: Tensor) -> bool:
    """Equal dense tensors; others, and views of more numbers than they store, are not compared."""
    plain = all(
        each.layout == torch.strided and each.numel() * each.element_size() <= each.untyped_storage().nbytes()
        for each in (one, two)
    )
    return plain and torch.equal(one, two)


def _shown(path: str) -> str:
    return f"`{path}`" if path else "the tensors at the top"


def _listed(paths: Iterable[str]) -> str:
    ordered = [_shown(path) for path in paths]
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(ordered[:_SHOWN]) + more
