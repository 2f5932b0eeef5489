"""What a job decides once, from what its runs have found so far, so that a resumed job does the same."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from workers.engine.common.files import read_document, write_document

Decision = TypeVar("Decision", int, bool, list[int], dict[str, str])


class Decisions:
    """Decisions by name, as JSON in a folder of checkpoints."""

    def __init__(self, checkpoints: Path) -> None:
        self._path = checkpoints / "seeds.json"

    def once(self, name: str, decide: Callable[[], Decision]) -> Decision:
        """What an earlier call of this name decided, or else `decide()`, which is kept."""
        document = read_document(self._path) or {}
        if name not in document:
            document[name] = decide()
            write_document(self._path, document)
        decided: Decision = document[name]
        return decided

    def replace(self, name: str, decision: Decision) -> None:
        """Decide otherwise from now on."""
        write_document(self._path, {**(read_document(self._path) or {}), name: decision})
