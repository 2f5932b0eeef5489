"""Objects beside the weights of a checkpoint, such as the `argparse.Namespace` of a training script, that are not read.

A class of the file is never imported. Its name becomes a class of its own that keeps what the pickle gives to an object
and does nothing, so that the rest of the file can be read. Functions are refused.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor

from app.contracts.problems import UserError

Form = Literal["object", "dictionary", "list"]
"""What the pickle fills: attributes, keys (subclasses of dict), or items (subclasses of list)."""

ADVICE = "save it with `torch.save(model.state_dict(), path)`, or as safetensors"
MAX_CLASSES = 256
_MODULE = "unread"
_CLASS = re.compile(r"[A-Za-z_]\w*(\.\w+)*\._*[A-Z]\w*")
"""The path of a class as they are named; functions and modules begin with a small letter."""
_MAX_NAME = 200
_PYTHON = "bool bytes float frozenset int object range slice str tuple"
_DATES = "date datetime time timedelta timezone"
_NUMPY = "bool bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 str_ dtype ndarray"
_CONSTRUCTORS: Mapping[str, Form] = {
    **{f"builtins.{name}": "object" for name in _PYTHON.split()},
    **{f"datetime.{name}": "object" for name in _DATES.split()},
    **{f"numpy.{name}": "object" for name in _NUMPY.split()},
    **{
        f"numpy.{core}.multiarray.{name}": "object" for core in ("core", "_core") for name in ("scalar", "_reconstruct")
    },
    **{f"numpy.random._pickle.__{name}_ctor": "object" for name in ("bit_generator", "generator", "randomstate")},
    "numpy.random.bit_generator.__pyx_unpickle_SeedSequence": "object",
    "functools.partial": "object",
    "builtins.dict": "dictionary",
    "collections.defaultdict": "dictionary",
    "builtins.list": "list",
    "collections.deque": "list",
}
"""Plain values whose classes, or what makes them, have names in small letters."""
_FILLED = re.compile(rf"Can only (\w+).* but got <class '{_MODULE}\.([\w.]+)'>")
"""torch's refusal to set keys of, or append to, an object of another class than dict and list."""


class Unread:
    """An object of a class that is not imported. `held` are those of its arguments and states that may hold tensors."""

    path: ClassVar[str]
    held: list[Any]

    def __new__(cls, *arguments: Any) -> "Unread":
        made = super().__new__(cls)
        made.held = []
        made._hold(arguments)
        return made

    def __setstate__(self, state: Any) -> None:
        self._hold((state,))

    def _hold(self, values: Iterable[Any]) -> None:
        self.held += [value for value in values if isinstance(value, dict | list | tuple | set | Tensor | Unread)]


class _Dictionary:
    """A subclass of dict, read as an OrderedDict."""

    def __new__(cls, *_: Any) -> Any:
        return OrderedDict()


class _List:
    """A subclass of list, read as a list."""

    def __new__(cls, *_: Any) -> Any:
        return []


_BASES: Mapping[Form, type] = {"object": Unread, "dictionary": _Dictionary, "list": _List}


def stand_ins(names: Iterable[str], forms: Mapping[str, Form]) -> list[tuple[type, str]]:
    """A class for each name of a class that is not read, as `torch.serialization.safe_globals` takes them.

    `forms` says of which form the objects are, where it is known. Raises UserError `code_carrying_format` for
    functions.
    """
    ordered = sorted(names)
    for name in ordered:
        if name not in _CONSTRUCTORS and (len(name) > _MAX_NAME or not _CLASS.fullmatch(name)):
            raise carries(name)
    if len(ordered) > MAX_CLASSES:
        raise carries(ordered[0])
    return [(_stand_in(name, forms.get(name, _CONSTRUCTORS.get(name, "object"))), name) for name in ordered]


def _stand_in(name: str, form: Form) -> type:
    return type(name, (_BASES[form],), {"path": name, "__module__": _MODULE, "__qualname__": name})


def other_form(message: str) -> tuple[str, Form] | None:
    """(name, form) of the class that turned out to be a dictionary or a list; None for any other refusal of torch."""
    filled = _FILLED.search(message)
    if filled is None:
        return None
    return filled[2], "dictionary" if filled[1].startswith("SETITEM") else "list"


def carries(name: str | None) -> UserError:
    """The refusal of a file that needs this class or function."""
    what = f"`{name}`" if name is not None and re.fullmatch(r"[\w.]{1,200}", name) else "more than tensors and numbers"
    return UserError(
        "code_carrying_format",
        f"the file has {what}, and only tensors and numbers are read (a pickled model?): {ADVICE}",
    )


def holding_tensors(loaded: Any) -> list[str]:
    """The classes of objects that were not read and hold tensors which are nowhere else, such as a pickled model."""
    seen: set[int] = set()
    objects = [value for value in _walked([loaded], seen) if isinstance(value, Unread)]
    found: dict[str, None] = {}
    for each in objects:
        if any(isinstance(value, Tensor) for value in _walked(each.held, seen, inside=True)):
            found[each.path] = None
    return list(found)


def _walked(values: Iterable[Any], seen: set[int], *, inside: bool = False) -> Iterator[Any]:
    """The values and those within containers, and within objects that were not read with `inside`, each once."""
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple | set):
            waiting += value
        elif inside and isinstance(value, Unread):
            waiting += value.held
