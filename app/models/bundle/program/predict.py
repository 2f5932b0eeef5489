"""`python predict.py ROWS [MODEL]`: answers for csv, jsonl, npz as JSON lines; `--check [MODEL]`: for reference.npz."""

import csv, gzip, json, sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
import numpy as np, onnxruntime

HERE, CHECKS, MODEL = Path(__file__).parent, sys.argv[1:2] == ["--check"], (sys.argv[2:] or ["student.onnx"])[0]
CONFIG: dict[str, Any] = json.loads((HERE / "config.json").read_text("utf-8"))
CSV, HOW = CONFIG["csv"], CONFIG["csv"]["reader"]


def cell(value: Any, text: bool) -> Any:  # a category; or a number, NaN where missing, dates and times in seconds
    plain = "" if value is None else f"{value:.0f}" if type(value) is float and value % 1 == 0 else str(value).strip()
    if CSV["decimal"] == "," and (not text or plain.lstrip("+-").replace(",", "", 1).isdigit()):
        plain = plain.replace(",", ".")
    if text or plain in CSV["null_values"]:
        return plain if text else np.nan
    try:
        return float({"true": "1", "false": "0"}.get(plain.lower(), plain))
    except ValueError:
        date = datetime.fromisoformat(f"1970-01-01T{plain}" if plain[2:3] == ":" else plain)
        return date.replace(tzinfo=date.tzinfo or UTC).timestamp()


def column(values: Any, text: bool) -> Any:
    if values.dtype.kind in "mM":
        values = (values - np.datetime64(0, "s") if values.dtype.kind == "M" else values) / np.timedelta64(1, "s")
    cells = [cell(each, text) for each in values.ravel().tolist()] if text or values.dtype.kind in "OU" else values
    return np.reshape(np.array(cells, object if text else None), values.shape)


def read(path: Path) -> dict[str, Any]:
    if path.suffix == ".npz":
        return {name: np.char.decode(each) if each.dtype.kind == "S" else each for name, each in np.load(path).items()}
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding=CSV["encoding"], newline="") as file:
        rows = [*(map(json.loads, filter(str.strip, file)) if ".jsonl" in path.name else csv.DictReader(file, **HOW))]
    return {str(k).strip(): np.array([row.get(k) for row in rows], object) for k in {k for row in rows for k in row}}


session = onnxruntime.InferenceSession(HERE / MODEL, providers=["CPUExecutionProvider"])
found, fed = read(HERE / "reference.npz" if CHECKS else Path((sys.argv[1:] or [sys.exit(__doc__)])[0])), {}
for source in session.get_inputs():
    kind = {"float": "float32", "string": "object"}.get(source.type[7:-1], source.type[7:-1])
    keys = [f"inputs/{source.name}"] if CHECKS else CONFIG["inputs"][source.name]["columns"]
    rows = np.stack([column(found[key], kind == "object") for key in keys], axis=1).reshape(-1, *source.shape[1:])
    fed[source.name] = rows.astype(kind)
    assert kind == "object" or np.allclose(fed[source.name], rows, equal_nan=True), f"`{source.name}` takes {kind}"
blocks = [session.run(None, {name: rows[i : i + 999] for name, rows in fed.items()}) for i in range(0, len(rows), 999)]
answers = {each.name: np.concatenate(parts) for each, *parts in zip(session.get_outputs(), *blocks, strict=True)}
if CHECKS:
    known = {name: found.get(f"answers/{MODEL}/{name}", found[f"answers/{name}"]) for name in answers}
    off = [name for name in answers if not np.allclose(answers[name], known[name], 1e-4, 1e-4)]
    sys.exit(f"{off} differ from the service's" if off else print(f"the service's answers for {len(rows)} rows"))
for i in range(len(rows)):
    line: dict[str, Any] = {name: [None if x != x else x for x in answers[name][i].tolist()] for name in answers}
    for task, names in CONFIG["classes"].items():
        line[f"{task}.class"] = None if None in line[f"{task}.logits"] else names[np.argmax(line[f"{task}.logits"])]
    print(json.dumps(line, ensure_ascii=False))
