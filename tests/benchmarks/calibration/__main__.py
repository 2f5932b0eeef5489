"""python -m tests.benchmarks.calibration [--count 240] [--only NAME]: train the pools of networks that are missing.

A pool is `FOLDER/NAME.npz`; a further call continues, also with a higher count.
"""

import argparse
from pathlib import Path

import torch

from tests.benchmarks.calibration.networks import pool
from tests.benchmarks.calibration.scenarios import SCENARIOS

POOLS = Path(".cache/pools")


def main() -> None:
    """Train and keep every pool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=240, help="networks of each pool")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="only this scenario; may be repeated")
    parser.add_argument("--pools", type=Path, default=POOLS, help=f"folder of the pools ({POOLS})")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name in asked.only or SCENARIOS:
        pool(SCENARIOS[name], asked.count, asked.pools / f"{name}.npz", lambda text: print(text, flush=True))


if __name__ == "__main__":
    main()
