"""What is measured of one network, data set and seed, and its file of results."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Method = Literal["float32", "dynamic", "static", "aware", "float16"]
METHODS: tuple[Method, ...] = ("float32", "dynamic", "static", "aware", "float16")


@dataclass(frozen=True)
class Cell:
    """A file: accuracy on the test split in percent, size, median milliseconds of a row and of 64 in ONNX Runtime.

    `chosen`: whether a job that asks for int8 after training exports this one.
    """

    network: str
    data: str
    seed: int
    method: Method
    accuracy: float
    bytes: int
    one_ms: float
    batch_ms: float
    chosen: bool
    commit: str
    machine: str


class Cells:
    """A file of results, to which each is written as it comes; a further run continues."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        self.all = [Cell(**json.loads(line)) for line in lines]

    def has(self, network: str, data: str, seed: int) -> bool:
        """Whether a network was measured on a data set with a seed."""
        return any((cell.network, cell.data, cell.seed) == (network, data, seed) for cell in self.all)

    def add(self, cells: list[Cell]) -> None:
        """Keep the cells of one network, data set and seed, in the file too."""
        self.all += cells
        with self._path.open("a") as file:
            file.writelines(json.dumps(asdict(cell)) + "\n" for cell in cells)
