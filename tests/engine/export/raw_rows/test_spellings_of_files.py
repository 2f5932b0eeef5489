"""Categories as a person reads them from each file, turned into text -> what the predictions file has.

One input of many columns, one for each kind of value; the export's own check sees a few rows alone.
"""

import csv
import json
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from numpy.typing import NDArray

from tests.engine.export.raw_rows.bare_runs import ROWS, Json, check_against_predictions, dataset_of, stated, trained
from tests.engine.harness import EngineHarness
from workers.engine.data import joining

Table = dict[str, list[Any]]
DRAW = np.random.default_rng(11)
SPEC: Json = {"kind": "train", "model": {"family": "mlp", "hidden": [8]}, "training": {"epochs": 1}}
MIDDAY = datetime(2024, 1, 31, 12, 30)


@pytest.fixture(autouse=True)
def few_checked_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most spellings stand in rows that the check does not see."""
    monkeypatch.setattr(joining, "MOST_KEPT", 3)


def drawn(*values: Any) -> list[Any]:
    """A column of these values."""
    return [values[i] for i in DRAW.integers(0, len(values), size=ROWS)]


def trained_on(harness: EngineHarness, path: Path, columns: Iterable[str], manifest: Json) -> None:
    inputs: Json = {"words": {"kind": "category", "columns": list(columns)}}
    targets: Json = {"y": {"kind": "class", "classes": 2}}
    dataset_of(harness, path, {"inputs": inputs, "targets": targets, **manifest})
    assert trained(harness, SPEC).export["onnx"].rows == 3
    (source,) = stated(harness.outputs() / "student.onnx")["inputs"].values()
    assert source["dtype"] == "string"


def check(harness: EngineHarness, rows: list[list[str]]) -> None:
    check_against_predictions(harness, {"words": np.array(rows, dtype=object)})


def labels() -> list[int]:
    return [int(label) for label in DRAW.integers(0, 2, size=ROWS)]


FIELDS: Table = {
    "text": drawn("red", " red", "green", "  blue ", "süß", "-", ""),
    "quoted": drawn('"a b"', '"say ""so"""', ' "a b"', "plain", ' "plain"'),
    "long": drawn("x" * 300 + "1", "y" * 300, " " + "y" * 300, "short"),
    "control": drawn("a\tb", "a b", "ab"),
    "whole": drawn("1", "2", " 2", "2.0", "03", ""),
    "gaps": drawn("1.0", "2.0", "NA", "", "?"),
    "large": drawn("1e+16", "10000000000000000", "1e3", "0.1"),
    "flag": drawn("True", "FALSE", "false", " true"),
    "day": drawn("2024-01-31", "2024-02-01 00:00:00", "2024-02-01", "None"),
    "y": list(map(str, labels())),
}


@pytest.mark.parametrize(("delimiter", "decimal"), [(",", "."), (";", ",")])
def test_fields_of_a_csv(delimiter: str, decimal: str, harness: EngineHarness) -> None:
    """As the module csv reads them, with spaces behind the delimiter or without, and numbers as data frames do."""
    fields = {**FIELDS, "decimals": drawn(f"0{decimal}50", f"0{decimal}5", f" 12{decimal}5", "7", f"7{decimal}0")}
    path = harness.folder / "rows.csv"
    rows = zip(*fields.values(), strict=True)
    path.write_text("\n".join(map(delimiter.join, [tuple(fields), *rows])) + "\n")
    options: Json = {"delimiter": delimiter, "decimal": decimal, "null_values": ["?"]}
    names = [name for name in fields if name != "y"]
    trained_on(harness, path, names, {"format": "csv", "csv": options})
    for skips_spaces in (False, True):
        with path.open(newline="") as file:
            read = list(csv.DictReader(file, delimiter=delimiter, skipinitialspace=skips_spaces))
        check(harness, [[row[name] for name in names] for row in read])
    frame = [{**row, **{name: frame_number(row[name]) for name in ("whole", "gaps")}} for row in read]
    check(harness, [[row[name] for name in names] for row in frame])


def frame_number(field: str) -> str:
    """What a data frame makes of a field of a column of numbers with gaps."""
    return "nan" if field in ("", "NA", "?") else str(float(field))


def test_values_of_json(harness: EngineHarness) -> None:
    table: Table = {
        "text": drawn("red", " red", "green", "a\nb", "\ud800", "NA", None),
        "whole": drawn(1, 2, 3, None),
        "float": drawn(0.1, 1.0, 1, 1e16, -0.0, 1e-7, 123456789.125),
        "flag": drawn(True, False, None),
        "sure": drawn(True, False),
        "digits": drawn("1", "1.0", "01", "1e3", " 1"),
        "pair": [[first, second] for first, second in zip(drawn(1, 2.5), drawn(0.1, 7), strict=True)],
        "y": labels(),
    }
    path = harness.folder / "rows.jsonl"
    path.write_text(
        "".join(json.dumps(dict(zip(table, row, strict=True))) + "\n" for row in zip(*table.values(), strict=True))
    )
    trained_on(harness, path, [name for name in table if name != "y"], {"format": "jsonl"})
    read = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [[row[name] for name in table if name != "y"] for row in read]
    texts = [[str(each) for value in row for each in (value if isinstance(value, list) else [value])] for row in rows]
    check(harness, [[text if text != "\ud800" else "\\ud800" for text in row] for row in texts])


def moments(unit: str, zone: str | None = None) -> pa.Array:
    whole = [MIDDAY, MIDDAY + timedelta(seconds=1), datetime(2024, 2, 1), None]
    fine = [MIDDAY + timedelta(microseconds=500), MIDDAY] if unit in ("us", "ns") else []
    return pa.array(drawn(*whole, *fine), pa.timestamp(unit, tz=zone))


def test_values_of_parquet(harness: EngineHarness) -> None:
    nanoseconds = [1_706_659_200_000_000_001, 1_706_659_200_000_000_002, 1_706_659_200_000_000_000]
    columns = {
        "text": pa.array(drawn("red", " red", "green ", "NA", None)),
        "words": pa.array(drawn("red", "green", None)).dictionary_encode(),
        "single": pa.array(drawn(0.1, 1.0, 1e16, 2.5, None), pa.float32()),
        "half": pa.array(np.array(drawn(0.1, 1.0, 300.0), np.float16)),
        "double": pa.array(drawn(0.1, 1e16, -0.0, 1e-7, 1e300)),
        "price": pa.array(drawn(Decimal("1.50"), Decimal("2.00"), Decimal("0.10"), None), pa.decimal128(9, 2)),
        "whole": pa.array(drawn(1, 2, None)),
        "identity": pa.array(drawn(2**53 + 1, 2**53 + 3, None)),
        "flag": pa.array(drawn(True, False, None)),
        "sure": pa.array(drawn(True, False)),
        "day": pa.array(drawn(date(2024, 1, 31), date(2024, 2, 1), None)),
        "seconds": moments("s"),
        "microseconds": moments("us"),
        "nanoseconds": pa.array(drawn(*nanoseconds), pa.timestamp("ns")),
        "zone": moments("ms", "Europe/Berlin"),
        "utc": moments("ns", "UTC"),
        "clock": pa.array(drawn(time(10, 1), time(23, 59, 59), None)),
        "length": pa.array(drawn(timedelta(seconds=3661), timedelta(days=2), None)),
        "pair": pa.array([[each, 1.0] for each in drawn(0.1, 2.0)], pa.list_(pa.float32(), 2)),
        "y": pa.array(labels()),
    }
    path = harness.folder / "rows.parquet"
    pa.parquet.write_table(pa.table(columns), path)
    trained_on(harness, path, [name for name in columns if name != "y"], {"format": "parquet"})
    table = pa.parquet.read_table(path)
    values = [table.column(name).to_pylist() for name in columns if name not in ("pair", "y")]
    pairs = np.array(table.column("pair").to_pylist()).T.tolist()
    own = [table.column(name).cast(pa.string()).to_pylist() for name in columns if name not in ("pair", "y")]
    for read, as_text in ((values, str), (values, as_iso), (own, str)):
        check(harness, [[as_text(value) for value in row] for row in zip(*read, *pairs, strict=True)])


def as_iso(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


ARRAYS: dict[str, NDArray[Any]] = {
    "text": np.array(drawn("red", " red", "green", "")),
    "bytes": np.array(drawn(b"red", b"green")),
    "half": np.array(drawn(0.1, 1.0, 300.0), np.float16),
    "single": np.array(drawn(0.1, 1e16, 1.0, np.nan), np.float32),
    "double": np.array(drawn(0.1, 1e16, -0.0, 1e-7)),
    "byte": np.array(drawn(0, 7, 255), np.uint8),
    "flag": np.array(drawn(True, False)),
    "day": np.array(drawn("2024-01-31", "2024-02-01", "NaT"), "datetime64[D]"),
    "moment": np.array(drawn("2024-01-31T10:00", "2024-02-01"), "datetime64[s]"),
    "fine": np.array(drawn("2024-01-31T10:00:00.5", "2024-02-01"), "datetime64[ns]"),
    "length": np.array(drawn(3, 3661), "timedelta64[s]"),
    "pair": np.array(drawn([0.1, 2.0], [0.5, 3.0]), np.float32),
}


def test_arrays_of_numpy(harness: EngineHarness) -> None:
    """Each value as numpy writes it and as Python does, which has nanoseconds as numbers alone."""
    path = harness.folder / "rows.npz"
    np.savez(path, y=np.array(labels()), **ARRAYS)  # type: ignore[arg-type]
    trained_on(harness, path, ARRAYS, {"format": "npz"})
    arrays = [np.char.decode(array) if array.dtype.kind == "S" else array for array in ARRAYS.values()]
    columns = [column for array in arrays for column in array.reshape(ROWS, -1).T]
    rows = list(zip(*columns, strict=True))
    check(harness, [[str(value) for value in row] for row in rows])
    check(harness, [[str(value if value.dtype == "datetime64[ns]" else value.item()) for value in row] for row in rows])
