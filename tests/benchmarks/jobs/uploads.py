"""Datasets of the benchmarks of jobs."""

import json
from pathlib import Path
from typing import Any

import httpx


def upload_dataset(http: httpx.Client, manifest: dict[str, Any], file: Path) -> str:
    """The id of a dataset of this file, once it is ready."""
    with file.open("rb") as body:
        made = http.post("/v1/datasets", files={"manifest": (None, json.dumps(manifest).encode()), "file": body})
    made.raise_for_status()
    found = http.get(f"/v1/datasets/{made.json()['id']}?wait=60").json()
    assert found["state"] == "ready", found["rejection"]
    return str(found["id"])
