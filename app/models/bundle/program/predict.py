"""`python predict.py ROWS [MODEL]`: answers for csv, jsonl, npz as JSON lines; `--check [MODEL]`: for reference.npz."""

import csv, gzip, json, sys, datetime as dt, typing as t, numpy as np, onnxruntime
from pathlib import Path

HERE, CHECKS, MODEL = Path(__file__).parent, sys.argv[1:2] == ["--check"], (sys.argv[2:] or ["student.onnx"])[0]
CONFIG: dict[str, t.Any] = json.loads((HERE / "config.json").read_text("utf-8"))
CSV, NAMES, HOW = CONFIG["csv"], CONFIG["classes"].items(), {**CONFIG["csv"]["reader"], "restval": ...}
sys.excepthook = lambda kind, error, _: print(f"{kind.__name__}: {error}", file=sys.stderr)


def cell(value: t.Any, text: bool) -> t.Any:  # a category; or a number, NaN where missing, dates and times in seconds
    plain = "" if value is None else f"{value:.0f}" if type(value) is float and value % 1 == 0 else str(value).strip()
    if CSV["decimal"] == "," and (not text or plain.lstrip("+-").replace(",", "", 1).isdigit()):
        plain = plain.replace(",", ".")
    if text or plain in CSV["null_values"]:
        return plain if text else np.nan
    if not (":" in plain or plain[8:9] == "T" or (plain[:4].isdigit() and plain[4:5] == "-")):
        return float({"true": "1", "false": "0"}.get(plain.lower(), plain))
    date = dt.datetime.fromisoformat(f"1970-01-01T{plain}" if plain[2:3] == ":" else plain)
    return date.replace(tzinfo=date.tzinfo or dt.UTC).timestamp()


path = HERE / "reference.npz" if CHECKS else Path(sys.exit(__doc__) if (x := "".join(sys.argv[1:2]))[:1] in "-" else x)
(path.suffix != ".parquet" and (HERE / MODEL).is_file()) or sys.exit(f"{path} is not csv, jsonl, npz, or no {MODEL}")
if path.suffix != ".npz" and (maker := [x for x in ("images.py", "sounds.py") if (HERE / x).is_file()]):
    sys.exit(f"{path} is no npz: `python {maker[0]} rows.npz {path}` makes rows of files, as rows.npz")
if path.suffix == ".npz":
    found: dict[str, t.Any] = {k: np.char.decode(v) if v.dtype.kind == "S" else v for k, v in np.load(path).items()}
    found |= {k: (v - v.dtype.type(0, "us")) / np.timedelta64(1, "s") for k, v in found.items() if v.dtype.kind in "mM"}
else:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding=CSV["encoding"], newline="") as file:
        table = [*(map(json.loads, filter(str.strip, file)) if ".jsonl" in path.name else csv.DictReader(file, **HOW))]
    if odd := [i for i, row in enumerate(table or [{None: 0}]) if None in row or ... in row.values()]:
        sys.exit(f"{path}: expected a value for each column in each row, found none or more or fewer in row {odd[0]}")
    found = {str(k).strip(): np.array([r.get(k) for r in table], object) for k in {k: 0 for r in table for k in r}}
session, fed = onnxruntime.InferenceSession(HERE / MODEL, providers=["CPUExecutionProvider"]), dict[str, t.Any]()
for source in session.get_inputs():
    kind, text = {"float": "float32", "string": "object"}.get(x := source.type[7:-1], x), x == "string"
    keys = [f"inputs/{source.name}"] if CHECKS else CONFIG["inputs"][source.name]["columns"]
    {*keys} <= {*found} or sys.exit(f"expected columns {keys}, found {[*found]}: no {sorted({*keys} - {*found})}")
    cells = [found[key].astype(object) if text else found[key] for key in keys]
    rows = cells[0] if len(source.shape) == 1 else np.column_stack(cells)
    rows = np.vectorize(cell, [object if text else float])(rows, text) if text or rows.dtype.kind in "OU" else rows
    wanted = [len(next(iter(fed.values()), rows)) or 1, *(rows if source.shape[1:] == ["tokens"] else source).shape[1:]]
    [*rows.shape] == wanted or sys.exit(f"`{source.name}`: expected {wanted}, rows first, found {[*rows.shape]}")
    fed[source.name] = rows.astype(kind)
    text or np.allclose(fed[source.name], rows, equal_nan=True) or sys.exit(f"`{source.name}` takes {kind}")
step = 1 if '"dynamic"' in session.get_modelmeta().custom_metadata_map.get("stillhouse", "") else 999
blocks = [session.run(None, {k: v[i : i + step] for k, v in fed.items()}) for i in range(0, len(rows), step)]
answers = {each.name: np.concatenate(parts) for each, *parts in zip(session.get_outputs(), *blocks, strict=True)}
if CHECKS:
    own = "answers/" if MODEL == "student.onnx" else f"answers/{MODEL}/"
    own + min(answers) in found or sys.exit(print(f"no answers of {MODEL} in {path.name}: check student.onnx") or 2)
    for name, mine in answers.items():
        known, axis = found[own + name], 0 if name.endswith((".value", ".vector")) else None
        np.allclose(mine, known, 2e-6, np.ptp(known, axis) * 1e-4) or sys.exit(f"{[name]} differ from the service's")
    sys.exit(print(f"the service's answers for {len(rows)} rows"))
for i in range(len(rows)):
    row = {k: [np.nan] if v[i].ndim > 2 and np.isnan(v[i]).any() else v[i].tolist() for k, v in answers.items()}
    line: dict[str, t.Any] = {name: [None if x != x else x for x in row[name]] for name in answers}
    best = {k: None if None in (v := line[f"{k}.logits"]) else np.argmax(v, -(np.ndim(v) < 3)) for k, _ in NAMES}
    line |= {f"{k}.class": None if best[k] is None else np.array(v, object)[best[k]] for k, v in NAMES}
    print(json.dumps(line, ensure_ascii=False, default=list))
