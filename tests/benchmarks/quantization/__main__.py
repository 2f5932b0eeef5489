"""python -m tests.benchmarks.quantization: what students lose and gain in 8 and 16 bits.

Results go to a file of cells as they come; a further call continues. TABLE.md is written from it, and no test depends
on it.
"""

import argparse
from pathlib import Path

import torch

from tests.benchmarks.quantization.cells import Cells
from tests.benchmarks.quantization.document import document
from tests.benchmarks.quantization.measure import cells_of
from tests.benchmarks.quantization.sets import NETWORKS, SETS

TABLE = Path(__file__).parent / "TABLE.md"
CELLS = Path(".cache/quantization.jsonl")


def main() -> None:
    """Measure what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cells", type=Path, default=CELLS, help=f"the file of results ({CELLS})")
    parser.add_argument("--only", action="append", choices=[*NETWORKS], help="measure only this network")
    parser.add_argument("--table", action="store_true", help="only write the table")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cells = Cells(asked.cells)
    for seed in range(0 if asked.table else asked.seeds):
        for data in SETS:
            for network in asked.only or NETWORKS:
                if not cells.has(network, data.name, seed):
                    cells.add(cells_of(network, data, seed))
                    print(f"{network}, {data.name}, seed {seed}", flush=True)
    TABLE.write_text(document(cells.all))
    print(TABLE)


if __name__ == "__main__":
    main()
