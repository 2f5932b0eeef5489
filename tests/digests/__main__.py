"""Trains the fixed jobs over HTTP and writes the digests of what they gave, to compare two commits on one machine.

python -m tests.digests digests.json

A change that claims to keep behaviour must keep every line of the file. Bits depend on the machine and the versions, so
the file is not kept in the repository.
"""

import hashlib
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load
from sklearn.datasets import load_digits

from tests.demo.console import say
from tests.demo.service import Curl, Service
from tests.digests.specs import DATASETS, SPECS, TEACHER
from tests.engine.plain_training import plain_spec


def write_rows(path: Path) -> None:
    """Write scikit-learn's 1797 digits: `x` (1797, 64) uint8, `digit`, `even` (1797,) int64, `ink` (1797,) float32."""
    images, digits = load_digits(return_X_y=True)
    np.savez(
        path,
        x=images.astype(np.uint8),
        digit=digits.astype(np.int64),
        even=(digits % 2 == 0).astype(np.int64),
        ink=images.sum(1).astype(np.float32),
    )


def digest_of_arrays(arrays: dict[str, Any]) -> str:
    """SHA-256 of named arrays: names, dtypes, shapes and bytes."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype.str} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def digests_of_job(curl: Curl, url: str, job: str) -> dict[str, str]:
    """The digests of a job's student (the file, its tensors) and of the predictions of every party."""
    weights = curl(f"{url}/v1/jobs/{job}/student/weights", show=False)
    found = {"file": hashlib.sha256(weights).hexdigest(), "tensors": digest_of_arrays(load(weights))}
    predictions = np.load(io.BytesIO(curl(f"{url}/v1/jobs/{job}/predictions?split=test", show=False)))
    return {**found, "predictions": digest_of_arrays(dict(predictions))}


def filled(spec: Any, teacher: str) -> Any:
    """The spec with the teacher's id wherever it says `$TEACHER`."""
    return plain_spec(json.loads(json.dumps(spec).replace("$TEACHER", teacher)))


def main(target: Path) -> None:
    """Train everything, one job after the other, and write the digests."""
    found: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory(prefix="stillhouse-digests-") as name:
        work = Path(name)
        rows = work / "rows.npz"
        write_rows(rows)
        with Service(work / "data") as service:
            curl = Curl(service)
            datasets = {each: curl.upload("datasets", DATASETS[each], rows)["id"] for each in DATASETS}
            teacher = curl.follow(curl.submit({**TEACHER, "dataset": datasets["digits"]}))
            found["teacher"] = digests_of_job(curl, service.url, teacher["id"])
            for label, (dataset, spec) in SPECS.items():
                job = curl.submit({**filled(spec, teacher["student"]), "dataset": datasets[dataset], "name": label})
                curl.follow(job)
                found[label] = digests_of_job(curl, service.url, job["id"])
                say(f"{label}: {found[label]['tensors'][:16]}")
    target.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
