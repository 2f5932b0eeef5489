"""Results as JSON lines: each is written as it comes, so that a stopped campaign continues where it was."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cell:
    """One figure: of which data set, settings and seed, and where it was measured."""

    data: str
    setting: str
    seed: int
    figure: float
    steps: int
    seconds: float
    commit: str
    machine: str


class Cells:
    """The cells of a file. A cell that is already there is not measured again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        self._found = {_key(cell): cell for cell in (Cell(**json.loads(line)) for line in lines)}

    def __contains__(self, key: tuple[str, str, int]) -> bool:
        return key in self._found

    def has(self, data: str) -> bool:
        """Whether there is a cell of a data set."""
        return any(name == data for name, _, _ in self._found)

    def add(self, cell: Cell) -> None:
        """Keep a cell, in the file too."""
        self._found[_key(cell)] = cell
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(cell)) + "\n")

    def of(self, data: str, setting: str, seeds: Sequence[int]) -> list[Cell]:
        """The cells of these seeds that are there, in the order of the seeds."""
        keys = [(data, setting, seed) for seed in seeds]
        return [self._found[key] for key in keys if key in self._found]

    def forget(self, data: str) -> None:
        """Remove the cells of a data set, in the file too."""
        self._found = {key: cell for key, cell in self._found.items() if cell.data != data}
        self._path.write_text("".join(json.dumps(asdict(cell)) + "\n" for cell in self._found.values()))


def _key(cell: Cell) -> tuple[str, str, int]:
    return cell.data, cell.setting, cell.seed
