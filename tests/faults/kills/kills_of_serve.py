"""`stillhouse serve` with the real engine: every part of it is killed mid-job, and the job still ends once, with the
very student that an undisturbed job gives.
"""

import random
import time
from pathlib import Path
from typing import Any

from tests.faults.campaign.outcome import Outcome
from tests.faults.services.serve import FaultyService, Part

SECONDS = 4.0
"""About how long an undisturbed job trains here: time for four kills."""
PARTS: tuple[Part, ...] = ("child", "fork server", "supervisor", "api")


def killed_serve(seed: int, folder: Path, url: str) -> Outcome:
    """The parts in an order that the seed chooses. `url` is not used: `serve` has a database of its own."""
    with FaultyService(folder / "data") as service:
        dataset = service.dataset(folder)
        teaching = {"kind": "train", "dataset": dataset, "model": {"family": "mlp", "hidden": [64]}}
        teacher = service.succeed(service.submit({**teaching, "training": {"steps": 300}}))["student"]
        probe = service.succeed(service.submit(_distillation(dataset, teacher, 500, seed=1)))
        taken = service.get(f"/v1/jobs/{probe['id']}/report")["seconds"]["training"]
        spec = _distillation(dataset, teacher, int(500 * SECONDS / taken), seed=2)
        job_id, worst = service.submit(spec), 0.0
        for part in random.Random(seed).sample(PARTS, len(PARTS)):
            service.await_checkpoint(job_id)
            began = time.monotonic()
            service.kill(part)
            service.await_checkpoint(job_id)
            worst = max(worst, time.monotonic() - began)
        job = service.succeed(job_id)
        states = [event["state"] for event in service.events(job_id, "state")]
        report = service.get(f"/v1/jobs/{job_id}/report")
        undisturbed = service.succeed(service.submit(spec))
        expected = service.get(f"/v1/jobs/{undisturbed['id']}/report")
    claims = (states.count("starting"), job["attempt"])
    return Outcome(
        kills=len(PARTS),
        lost=int(states[-1] != "succeeded"),
        doubled=int(states.count("succeeded") != 1),
        stale=() if claims == (len(PARTS) + 1,) * 2 else (f"claims and attempts are {claims}",),
        bit_exact=report["bit_exact"] and report["digests"]["student"] == expected["digests"]["student"],
        recovery=worst,
    )


def _distillation(dataset: str, teacher: str, steps: int, seed: int) -> dict[str, Any]:
    return {
        "kind": "distill",
        "dataset": dataset,
        "teachers": [{"model": teacher}],
        "student": {"family": "mlp", "hidden": [32]},
        "training": {"steps": steps, "threads": 1, "seed": seed},
    }
