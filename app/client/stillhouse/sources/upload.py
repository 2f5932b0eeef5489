"""An upload: a manifest and the files that go with it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from stillhouse.documents import JSON as JSON
from stillhouse.errors import Unreadable


@dataclass(frozen=True)
class FilePart:
    """A file of an upload. `open` gives it as a context; `bytes` is None where its size is not known before."""

    name: str
    open: Callable[[], AbstractContextManager[BinaryIO]]
    bytes: int | None = None


@dataclass(frozen=True)
class Upload:
    """A manifest with its files."""

    manifest: JSON
    files: tuple[FilePart, ...]

    @property
    def bytes(self) -> int | None:
        """Size of all files; None where it is not known before."""
        sizes = [each.bytes for each in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)


Fields = str | Sequence[str] | Mapping[str, Mapping[str, Any]]
"""Inputs or targets: names, or names with what is known of them, as in a manifest."""


@dataclass(frozen=True)
class Wishes:
    """What the caller says about a dataset; the rest is inferred. `manifest` has the last word, field by field."""

    name: str | None = None
    format: str | None = None
    inputs: Fields | None = None
    targets: Fields | None = None
    splits: str | Mapping[str, Any] | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def completed(self, inferred: JSON) -> JSON:
        """The manifest of what was inferred and what was said."""
        splits: Mapping[str, Any] | None = {"column": self.splits} if isinstance(self.splits, str) else self.splits
        said = {"name": self.name, "format": self.format, "splits": splits}
        known = {key: value for key, value in said.items() if value is not None}
        return {"name": "unnamed", **inferred, **known, **self.manifest}


def named(fields: Fields | None) -> dict[str, JSON] | None:
    """Names with what is said of them; None where nothing was said. Raises Unreadable."""
    if fields is None:
        return None
    if isinstance(fields, str):
        return {fields: {}}
    if isinstance(fields, Mapping):
        return {name: _spec(name, spec) for name, spec in fields.items()}
    if not isinstance(fields, Sequence | set | frozenset) or not all(isinstance(name, str) for name in fields):
        raise Unreadable(f"expected names, or names with what each is, found {type(fields).__name__}: list the names")
    return {name: {} for name in fields}


def _spec(name: str, spec: object) -> JSON:
    if spec is None:
        return {}
    if not isinstance(spec, Mapping):
        raise Unreadable(
            f"expected what is known of `{name}` as a mapping, found {type(spec).__name__}: write such as "
            '{"kind": "value"}, or {} where all is inferred'
        )
    return dict(spec)
