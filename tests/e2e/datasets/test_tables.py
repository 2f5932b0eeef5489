"""A table as a spreadsheet writes it, through the HTTP API and a real worker."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.conftest import Client

CSV = {"delimiter": ";", "decimal": ",", "encoding": "latin-1", "null_values": ["?"]}
SPLITS = {"fractions": {"train": 0.6, "validation": 0.2, "test": 0.2}, "group": "Käufer"}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 sales of 50 buyers: the price follows from colour and size; some colours and weights are missing."""
    draw = np.random.default_rng(0)
    lines = ["Farbe; Größe; Gewicht; Käufer; Preis"]
    for i in range(300):
        colour, size = draw.choice(["grün", "rot", "?"]), draw.choice(["1,0", "2,0", "3,0"])
        price = {"grün": 10.0, "rot": 20.0, "?": 30.0}[colour] * float(size[0]) + draw.normal() * 0.1
        weight = "" if i % 7 == 0 else f"{draw.normal():.2f}".replace(".", ",")
        lines.append(f"{colour}; {size}; {weight}; {i % 50}; " + f"{price:.2f}".replace(".", ","))
    path = tmp_path_factory.mktemp("table") / "verkauf.csv.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode("latin-1")))
    return path


def manifest(**changes: Any) -> dict[str, Any]:
    target = {"price": {"kind": "value", "column": "Preis"}}
    return {"name": "sales", "format": "csv", "csv": CSV, "splits": SPLITS, "targets": target, **changes}


def test_a_student_of_categories_is_trained_and_keeps_them(client: Client, file: Path) -> None:
    inputs = {"x": {"kind": "category", "columns": ["Farbe", "Größe"]}}
    dataset = client.upload("datasets", manifest(inputs=inputs), file)
    assert dataset["state"] == "ready", dataset["rejection"]
    assert dataset["encodings"]["x"]["categories"] == [["grün", "rot"], ["1", "2", "3"]]
    assert sum(dataset["splits"].values()) == 300
    assert dataset["column_counts"]["x"]["Farbe"]["train"]["missing"] > 20
    assert dataset["column_counts"]["x"]["Größe"]["train"] == {"missing": 0, "unseen": 0}
    training = {"epochs": 20, "batch_size": 16, "learning_rate": 0.05, "threads": 1}
    spec = {"kind": "train", "dataset": dataset["id"], "model": {"family": "mlp", "hidden": [16]}, "training": training}
    job = client.finish(spec)
    assert client.report(job)["student"]["tasks"]["price"]["r2"] > 0.9
    student = client.get(f"/v1/models/{job['student']}")
    assert student["inputs"]["x"]["encoding"]["categories"] == dataset["encodings"]["x"]["categories"]
    assert student["inputs"]["x"]["columns"] == ["Farbe", "Größe"]


def test_missing_numbers_are_refused_with_the_way_out_and_filled_where_it_is_taken(client: Client, file: Path) -> None:
    inputs: dict[str, Any] = {"x": {"kind": "array", "columns": ["Gewicht", "Größe"]}}
    refused = client.upload("datasets", manifest(inputs=inputs), file)
    assert refused["state"] == "rejected"
    assert "the column `Gewicht` is missing" in refused["rejection"]["message"]
    assert '"missing": "mean"' in refused["rejection"]["message"]
    inputs["x"]["missing"] = "indicator"
    filled = client.upload("datasets", manifest(inputs=inputs), file)
    assert filled["state"] == "ready", filled["rejection"]
    assert filled["encodings"]["x"]["fill"][0] == pytest.approx(0.0, abs=0.2)


def test_a_compressed_file_is_taken_for_tables_alone(client: Client, file: Path) -> None:
    answer = client.http.post(
        "/v1/datasets",
        files={
            "manifest": (None, '{"name": "d", "format": "npz", "inputs": {"x": {"kind": "array"}}}'),
            "file": ("d.npz", file.read_bytes()),
        },
    )
    assert answer.status_code == 422
    assert "csv or jsonl as gzip or zstd" in answer.json()["detail"]
