"""`python ids.py ROWS.npz FILE.jsonl`: lists of ids as rows for `predict.py`, filled up, in the order of the file.

Needs numpy. The answers of `predict.py` beyond the length of a list are those of padding, and mean nothing.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

CONFIG = json.loads((Path(__file__).parent / "config.json").read_text("utf-8"))
((KEY, COLUMNS, TOKENS, WIDTH),) = [
    (each["columns"][0], each["raw"]["columns"] or [name], each["raw"]["tokens"], each["raw"]["shape"][0])
    for name, each in CONFIG["inputs"].items()
]


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with Path(sys.argv[2]).open(encoding="utf-8-sig") as file:
        rows = [json.loads(line)[COLUMNS[0]] for line in file if line.strip()]
    ids = np.full((len(rows), WIDTH), TOKENS["padding"], np.int64)
    for i, row in enumerate(rows):
        if not 1 <= len(row) <= WIDTH or not all(type(x) is int and 0 <= x < TOKENS["vocabulary"] for x in row):
            sys.exit(f"{sys.argv[2]}: expected 1 to {WIDTH} ids below {TOKENS['vocabulary']}, found others in row {i}")
        ids[i, : len(row)] = row
    arrays: dict[str, Any] = {KEY: ids}
    np.savez(sys.argv[1], **arrays)
    print(f"{sys.argv[1]}: {len(ids)} rows")


main()
