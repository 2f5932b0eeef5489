"""One task's cut of a safetensors file of ours, without reading a tensor: its header, and which bytes of the whole file
follow it.
"""

import json
import struct
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from app.contracts.base import canonical_json
from app.contracts.layouts.cuts import cut_architecture, cut_tensors
from app.contracts.specs.architectures import Architecture

METADATA_KEY = "stillhouse"
LENGTH_BYTES = 8
_ARCHITECTURE: TypeAdapter[Architecture] = TypeAdapter(Architecture)
_ALIGNMENT = 8


@dataclass(frozen=True)
class Cut:
    """`head` is the new file's length and header; `spans` are the bytes of the old file's data that follow it."""

    head: bytes
    spans: tuple[tuple[int, int], ...]


def header_length(start: bytes) -> int:
    """Length of the header in bytes, from the first `LENGTH_BYTES` of a file."""
    (length,) = struct.unpack("<Q", start)
    return int(length)


class CutFile:
    """The header of a whole student's file. Raises KeyError and ValueError for a file that Stillhouse did not write."""

    def __init__(self, header: bytes) -> None:
        self._tensors: dict[str, Any] = json.loads(header)
        self._notes: dict[str, Any] = json.loads(self._tensors.pop("__metadata__")[METADATA_KEY])
        self._architecture = _ARCHITECTURE.validate_json(json.dumps(self._notes["architecture"]), extra="ignore")

    @property
    def tasks(self) -> list[str]:
        """Names of the outputs, in alphabetical order."""
        return sorted(self._architecture.outputs or {})

    def cut(self, task: str) -> Cut:
        """The file of what one task's output depends on. Raises KeyError for an unknown task."""
        sources = cut_tensors(self._architecture, task)
        names = sorted(sources, key=lambda name: self._tensors[sources[name]]["data_offsets"])
        header: dict[str, Any] = {"__metadata__": {METADATA_KEY: canonical_json(self._metadata(task))}}
        spans: list[tuple[int, int]] = []
        offset = 0
        for name in names:
            entry = self._tensors[sources[name]]
            start, end = entry["data_offsets"]
            header[name] = {**entry, "data_offsets": [offset, offset + end - start]}
            offset += end - start
            if spans and spans[-1][1] == start:
                start = spans.pop()[0]
            spans.append((start, end))
        return Cut(_head(header), tuple(spans))

    def _metadata(self, task: str) -> dict[str, Any]:
        architecture = cut_architecture(self._architecture, task).model_dump(mode="json")
        outputs = {task: self._notes["outputs"][task]}
        card = _card(str(self._notes["card"]), task, self.tasks)
        return {**self._notes, "architecture": architecture, "outputs": outputs, "card": card}


def _card(card: str, task: str, tasks: list[str]) -> str:
    """The whole student's card without the lines of the other tasks."""
    others = tuple(f"- `{name}`: " for name in tasks if name != task)
    title, *rest = [line for line in card.split("\n") if not line.startswith(others)]
    names = ", ".join(f"`{name}`" for name in tasks)
    note = f"The part of a student of {names} that `{task}` reaches: it gives that task's outputs, bit for bit."
    return "\n".join([title, "", note, *rest])


def _head(header: dict[str, Any]) -> bytes:
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return struct.pack("<Q", len(text)) + text
