"""`python texts.py ROWS.npz FILE.csv|FILE.jsonl|FILE.txt`: texts as rows for `predict.py`, in the order of the file.

A txt has one text a line. Words with labels are lists in jsonl; `words` of the npz says of which word each id is, -1 of
none, and the answer of a word is that of its first id. Needs numpy and tokenizers. The ids are those that the service
makes of the same texts.
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

HERE = Path(__file__).parent
sys.excepthook = lambda kind, error, _: print(f"{kind.__name__}: {error}", file=sys.stderr)
csv.field_size_limit(1 << 30)
CONFIG = json.loads((HERE / "config.json").read_text("utf-8"))
((KEY, COLUMNS, TOKENS),) = [
    (each["columns"][0], (each["raw"] or {}).get("columns") or [name], each["transform_in_graph"]["tokens"])
    for name, each in CONFIG["inputs"].items()
]


def texts_of(path: Path) -> list[list[Any]]:
    """One text a row, or a pair; a missing one is empty. Or a list of words."""
    if path.suffix == ".txt":
        return [[line.removesuffix("\r")] for line in path.read_text("utf-8").removesuffix("\n").split("\n")]
    encoding = "utf-8-sig" if path.suffix == ".jsonl" else CONFIG["csv"]["encoding"]
    with path.open(encoding=encoding, newline="") as file:
        if path.suffix == ".jsonl":
            rows: list[dict[str, Any]] = [json.loads(line) for line in file if line.strip()]
        else:
            rows = list(csv.DictReader(file, **CONFIG["csv"]["reader"]))
    if missing := [column for column in COLUMNS if rows and column not in rows[0]]:
        sys.exit(f"{path}: expected columns {COLUMNS}, found {[*rows[0]]}: no {missing}")
    return [[row.get(column) or "" for column in COLUMNS] for row in rows]


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    texts = texts_of(Path(sys.argv[2]))
    if not texts or {len(row) for row in texts} != {len(COLUMNS)}:
        sys.exit(f"{sys.argv[2]}: expected rows of {len(COLUMNS)} texts")
    tokenizer = Tokenizer.from_file(str(HERE / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOKENS["length"])
    words = bool(TOKENS.get("words"))
    found = tokenizer.encode_batch([row[0] if len(row) == 1 else tuple(row) for row in texts], is_pretokenized=words)
    width = -(-max(len(each.ids) for each in found) // 8) * 8
    ids = np.full((len(found), min(width, TOKENS["length"])), TOKENS["padding"], np.int64)
    for row, each in zip(ids, found, strict=True):
        row[: len(each.ids)] = each.ids
    arrays: dict[str, Any] = {KEY: ids}
    if words:
        arrays["words"] = np.full(ids.shape, -1)
        for row, each in zip(arrays["words"], found, strict=True):
            row[: len(each.ids)] = [-1 if word is None else word for word in each.word_ids]
    np.savez(sys.argv[1], **arrays)
    print(f"{sys.argv[1]}: {len(ids)} rows")


main()
