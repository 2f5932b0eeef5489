"""A data folder with one of each: a dataset, a trained model, its job, a refused upload, a cancelled job."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from tests.demo.digits import write_article
from tests.demo.service import Service
from tests.e2e.conftest import Client

_CLASS: Final = {"kind": "class", "classes": 10}
_DATASET: Final[dict[str, Any]] = {
    "name": "random rows",
    "format": "npz",
    "inputs": {"x": {"kind": "array", "shape": [10]}},
    "targets": {"y1": _CLASS, "y2": _CLASS},
}


def fill(data: Path, settings: Mapping[str, str]) -> dict[str, list[str]]:
    """Ids by their first letters. The service that makes them, over these settings, has ended afterwards."""
    file = data.parent / "rows.npz"
    write_article(file)
    with Service(data, settings={**settings, "STILLHOUSE_THREADS": "1"}) as service:
        headers = {"Authorization": f"Bearer {service.key}"}
        with httpx.Client(base_url=service.url, headers=headers, timeout=90) as http:
            client = Client(http)
            dataset = client.upload("datasets", _DATASET, file)["id"]
            refused = client.upload("datasets", {**_DATASET, "targets": {"y3": _CLASS}}, file)["id"]
            spec = {"kind": "train", "dataset": dataset, "target": "y1", "model": {"family": "mlp", "hidden": [4]}}
            trained = client.finish({**spec, "training": {"epochs": 1}, "exports": ["onnx"]})
            stopped = client.submit({**spec, "training": {"epochs": 10_000}})["id"]
            assert http.post(f"/v1/jobs/{stopped}/cancel").status_code == 200
            client.get(f"/v1/jobs/{stopped}?wait=30")
    return {"ds": [dataset, refused], "mdl": [trained["student"]], "job": [trained["id"], stopped]}
