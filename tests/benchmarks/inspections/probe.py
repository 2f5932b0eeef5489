"""Inspects one file as a worker's child does, and prints the peak of the process's memory in MiB.

python probe.py models|datasets MANIFEST FILE FOLDER, by the interpreter of any checkout.
"""

import importlib
import resource
import sys
from typing import Any

import torch

from app.contracts.resources.manifests import DatasetManifest, ModelManifest
from app.contracts.specs.jobs import InspectJob
from app.contracts.wire.orders import DatasetInput, ModelInput, Order
from workers.engine.jobs.inspection.inspect import inspect

IDENTITY = "00000000-0000-7000-8000-000000000000"


def _order(kind: str, manifest: str, path: str, folder: str) -> Order:
    given: dict[str, Any] = {"job": "job", "attempt": 1, "device": "cpu", "threads": 1, "cache_bytes": 0}
    given |= {"attempt_dir": folder, "checkpoints_dir": folder, "cache_dir": folder}
    upload: dict[str, Any] = {"id": IDENTITY, "path": path, "sha256": "0" * 64}
    if kind == "models":
        model = ModelInput(manifest=ModelManifest.model_validate_json(manifest), **upload)
        return Order(spec=InspectJob(model=f"mdl_{IDENTITY}"), models={IDENTITY: model}, **given)
    dataset = DatasetInput(manifest=DatasetManifest.model_validate_json(manifest), **upload)
    return Order(spec=InspectJob(dataset=f"ds_{IDENTITY}"), datasets={IDENTITY: dataset}, **given)


def main() -> None:
    """Inspect and print."""
    importlib.import_module("workers.child")  # what a child has imported before it has its order
    torch.set_num_threads(1)
    outcome = inspect(_order(*sys.argv[1:]), lambda event: None)
    assert outcome.rejection is None, outcome.rejection
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
