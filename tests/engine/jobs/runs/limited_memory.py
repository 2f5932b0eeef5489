"""Jobs in a process whose address space is limited.

Run as `python -m tests.engine.jobs.runs.limited_memory FOLDER SPECS MEGABYTES`. The limit is what the process uses
after a warm-up job, and so many megabytes more. It prints a line of JSON for each job.
"""

import json
import resource
import sys
from pathlib import Path
from typing import Any

import torch

from app.contracts.problems import UserError
from tests.engine.harness import EngineHarness, blobs

ROWS, HIDDEN, BATCH = 3000, 8192, 2048
TRAIN: dict[str, Any] = {
    "kind": "train",
    "target": "label",
    "model": {"family": "mlp", "hidden": [HIDDEN]},
    "training": {"steps": 3, "batch_size": BATCH, "learning_rate": 1e-3, "optimizer": "sgd"},
}


def harness(folder: Path) -> EngineHarness:
    folder.mkdir(parents=True, exist_ok=True)
    made = EngineHarness(folder)
    made.dataset(blobs(rows=ROWS))
    return made


def main(folder: Path, specs: list[dict[str, Any]], megabytes: int) -> None:
    torch.set_num_threads(1)
    made = harness(folder)
    made.run(TRAIN | {"training": TRAIN["training"] | {"micro_batch_size": 64, "steps": 1}}, "warm")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for number, spec in enumerate(specs):
        print(json.dumps(_run(made, spec, f"job-{number}")), flush=True)


def _run(made: EngineHarness, spec: dict[str, Any], job: str) -> dict[str, Any]:
    try:
        outcome = made.run(spec, job)
    except UserError as error:
        return {"code": error.code, "message": error.message}
    return {"report": outcome.report, "warnings": made.log.warnings, "sha256": made.digest(job)}


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]))
