"""Small real jobs of every kind, for a service: the data, the teachers, and specs that a seed chooses."""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests.faults.services.api_and_workers import ApiAndWorkers

Json = dict[str, Any]
KINDS: Final = ("train", "distill", "multitask", "combination")
OPTIMIZERS: Final[tuple[Json, ...]] = (
    {"optimizer": "sgd", "momentum": 0.9, "clip_norm": 1.0},
    {"optimizer": "adam", "weight_decay": 0.01},
    {"optimizer": "adamw", "weight_decay": 0.1},
)
SCHEDULES: Final[tuple[Json, ...]] = (
    {"schedule": "constant", "warmup": 4},
    {"schedule": "cosine"},
    {"schedule": "one_cycle"},
    {"schedule": "step"},
)
VIEWS: Final[Json] = {"seed": 3, "transforms": [{"kind": "noise", "std": 0.2}]}
STEPS: Final = 14
"""Two epochs of the training split, 70 % of the rows, in batches of `BATCH`."""
ROWS, BATCH = 600, 60
_STUDENT: Final[Json] = {"family": "mlp", "hidden": [16], "dropout": 0.1}


def described(seed: int) -> Json:
    """The training of a round: optimizers, schedules and views go round with different periods, so that twelve rounds
    see every pair of the first two, and twenty-four all three.
    """
    views = {"views": VIEWS} if (seed // 12 + seed) % 2 else {}
    chosen = {**OPTIMIZERS[seed % 3], **SCHEDULES[seed % 4], **views}
    return {"steps": STEPS, "batch_size": BATCH, "learning_rate": 0.02, "threads": 1, "seed": seed, **chosen}


class TrainingInputs:
    """A dataset and a trained teacher on a running service."""

    def __init__(self, service: ApiAndWorkers, folder: Path) -> None:
        self._service = service
        self._dataset = self._uploaded(folder)
        teaching = {"steps": 60, "batch_size": BATCH, "learning_rate": 0.01, "threads": 1}
        job = service.succeed(service.submit(self._train({"family": "mlp", "hidden": [32]}, teaching)))
        self._teacher = str(job["student"])

    def _uploaded(self, folder: Path) -> str:
        random = np.random.default_rng(0)
        x = random.normal(size=(ROWS, 8)).astype(np.float32)
        file = folder / "rows.npz"
        label, side = (x[:, :3].argmax(axis=1)).astype(np.int64), (x[:, 3] > 0).astype(np.int64)
        np.savez(file, x=x, label=label, side=side, size=x.sum(axis=1))
        manifest = {
            "name": "rows",
            "format": "npz",
            "inputs": {"x": {"kind": "array"}},
            "targets": {
                "label": {"kind": "class", "classes": 3},
                "side": {"kind": "class", "classes": 2},
                "size": {"kind": "value"},
            },
        }
        return str(self._service.upload("datasets", json.dumps(manifest), file)["id"])

    def _train(self, model: Json, training: Json) -> Json:
        return {"kind": "train", "dataset": self._dataset, "target": "label", "model": model, "training": training}

    def spec(self, kind: str, training: Json) -> Json:
        """A job of this kind."""
        if kind == "train":
            return self._train(_STUDENT, training)
        common: Json = {"kind": kind, "dataset": self._dataset, "student": _STUDENT, "training": training}
        if kind == "distill":
            return common | {"target": "label", "teachers": [{"model": self._teacher}], "repeats": 1}
        teachers = {"teachers": [{"model": self._teacher}]} if kind == "combination" else {}
        tasks = [{"name": "label", **teachers}, {"name": "side"}, {"name": "size"}]
        relation = {"matrix": [[2, 1, 1], [0, 1, 1], [1, 0, 3]]}
        plain = {"kind": "multitask", "baselines": False, "repeats": 1}
        return common | plain | {"tasks": tasks, "balancing": {"method": "pcgrad"}, "relation": relation}
