"""What is trained for the multi-task table: students, balancers, sharing schemes, teachers, seeds."""

import json
from dataclasses import dataclass
from typing import Any

from tests.engine.harness import SECOND, TEACHER

Json = dict[str, Any]

TASKS = ("left", "right")
TEACHERS = dict(zip(TASKS, (TEACHER, SECOND), strict=True))
TEACHER_MODEL: Json = {
    "family": "convnet",
    "channels": [16, 32, 64],
    "hidden": [128],
    "pooling": "flatten",
    "dropout": 0.3,
}
TEACHER_TRAINING: Json = {"epochs": 14, "learning_rate": 0.003, "schedule": "one_cycle", "seed": 100}
STUDENT: Json = {"family": "convnet", "channels": [8, 16, 16], "hidden": [24], "pooling": "flatten"}
BATCH, EPOCHS, TRAINING_ROWS = 64, 12, 3500
STEPS = EPOCHS * -(-TRAINING_ROWS // BATCH)
TRAINING: Json = {"steps": STEPS, "batch_size": BATCH, "learning_rate": 0.006, "schedule": "one_cycle"}
KD: Json = {"soft_targets": {"method": "kd", "temperature": 4.0, "weight": 0.9}, "supervised": {"weight": 0.1}}

BALANCERS: dict[str, Json] = {
    method: {"method": method}
    for method in (
        *("fixed", "uncertainty", "dwa", "random", "geometric_mean", "stch", "imtl_l", "famo"),
        *("pcgrad", "gradvac", "graddrop", "mgda", "cagrad", "imtl_g", "aligned_mtl", "fairgrad", "config"),
        *("gradnorm", "db_mtl"),
    )
}
"""Every balancer that needs no package under the GPL, with its settings."""
SCHEMES: dict[str, Json] = {
    **{name: {"sharing": name} for name in ("hard", "cross_stitch", "mmoe", "cgc", "mtan")},
    "trunks": {"sharing": {"method": "trunks", "groups": [[name] for name in TASKS]}},
}
"""Every sharing scheme, as fields of the student."""

BALANCING, SHARING = "balancing", "sharing"
ALL_LABELS, FEW_LABELS = "teachers, all labels", "teachers, 500 labelled rows of 3500"
SECTIONS = (BALANCING, SHARING, ALL_LABELS, FEW_LABELS)
PLAIN, COMBINED = "multi-task", "multi-task, one teacher per task"


@dataclass(frozen=True)
class Run:
    """One job: of which section, by which method, from which seed."""

    section: str
    method: str
    seed: int
    spec_json: str


def job(seed: int, *, distilled: bool = False, student: Json | None = None, **changes: Any) -> Json:
    """A multi-task job of both digits with single-task baselines; `distilled` by one teacher per task."""
    tasks: list[Json] = [{"name": name} for name in TASKS]
    if distilled:
        tasks = [{"name": name, "teachers": [{"model": TEACHERS[name]}], "distillation": KD} for name in TASKS]
    return {
        "kind": "multitask",
        "tasks": tasks,
        "student": {**STUDENT, **(student or {})},
        "training": {**TRAINING, "seed": seed},
        "control": False,
        "baselines": True,
        **changes,
    }


def methods(section: str, seed: int, repeats: int) -> dict[str, Json]:
    """The jobs of a section by method. Under all labels one job has all seeds, and a control for each."""
    if section == BALANCING:
        return {name: job(seed, balancing=settings) for name, settings in BALANCERS.items()}
    if section == SHARING:
        return {name: job(seed, student=fields) for name, fields in SCHEMES.items()}
    if section == FEW_LABELS:
        return {PLAIN: job(seed), COMBINED: job(seed, distilled=True)}
    return {COMBINED: job(seed, distilled=True, control=True, repeats=repeats)}


def runs(section: str, seeds: int) -> list[Run]:
    """Everything of a section, method by method, so that a table can be read while it grows."""
    singles = range(1) if section == ALL_LABELS else range(seeds)
    return [
        Run(section, method, seed, json.dumps(methods(section, seed, seeds)[method]))
        for method in methods(section, 0, seeds)
        for seed in singles
    ]
