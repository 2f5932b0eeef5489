"""A child's events, read from its spool as they come."""

from pathlib import Path

from pydantic import ValidationError

from app.contracts.events import CHILD_EVENT
from app.queue.ledger import Event

MOST_BYTES = 4 << 20
"""Most that one look takes; the rest waits for the next."""


class Spool:
    """`events.jsonl` of one attempt. The child appends whole lines and never waits for a reader."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> list[Event]:
        """The events since the last look. A line that is no event is passed over: a child is not trusted."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                piece = file.read(MOST_BYTES)
        except FileNotFoundError:
            return []
        whole = piece.rfind(b"\n") + 1
        self._offset += whole
        found: list[Event] = []
        for line in piece[:whole].splitlines():
            try:
                found.append(CHILD_EVENT.validate_json(line))
            except ValidationError:
                continue
        return found
